//! One object as the cache holds it, and the splice that puts its resource version in.
//!
//! Stored values carry no `metadata.resourceVersion` (the store's revision is the truth); the splice
//! finds the top-level `metadata` object with a scan that skips strings and nesting, and copies the
//! bytes once.
use super::facts::{Facts, Fields, Labels};
use crate::Revision;
use bytes::Bytes;
use std::sync::Arc;

const FIELD: &[u8] = b"\"resourceVersion\":\"";

/// One object at one revision.
pub struct Entry {
    /// Full storage key, such as `/registry/pods/default/web`.
    pub key: Arc<str>,
    /// The object's resource version.
    pub revision: Revision,
    /// Storage-version JSON with `metadata.resourceVersion`.
    pub json: Bytes,
    labels: Labels,
    fields: Fields,
    prefix_len: u16,
    /// Where the digits of the resource version start in `json`.
    version_at: u32,
}

impl Entry {
    /// `stored` has no resource version; it is copied once.
    ///
    /// # Errors
    /// A text, when `stored` is not a JSON object with a `metadata` object.
    pub fn new(
        key: Arc<str>,
        prefix_len: usize,
        revision: Revision,
        stored: &[u8],
        facts: Facts,
    ) -> Result<Entry, String> {
        let stored = facts.json.as_deref().unwrap_or(stored);
        let (json, version_at) = splice(stored, revision)?;
        Ok(Entry {
            key,
            revision,
            json,
            labels: facts.labels,
            fields: facts.fields,
            prefix_len: u16::try_from(prefix_len).unwrap_or(u16::MAX),
            version_at,
        })
    }

    /// Empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.rest().rsplit_once('/').map(|(namespace, _)| namespace).unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.rest().rsplit('/').next().unwrap_or_default()
    }

    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Value of the selectable field at this position; empty when absent.
    pub fn field(&self, position: usize) -> &str {
        self.fields.get(position)
    }

    /// The same state under another resource version, as a DELETED event carries it.
    pub fn at_revision(&self, revision: Revision) -> Entry {
        let start = self.version_at as usize;
        let end = start + digits(self.revision);
        let mut json = Vec::with_capacity(self.json.len() + digits(revision) - (end - start));
        json.extend_from_slice(self.json.get(..start).unwrap_or_default());
        push_decimal(&mut json, revision);
        json.extend_from_slice(self.json.get(end..).unwrap_or_default());
        Entry {
            key: self.key.clone(),
            revision,
            json: json.into(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            prefix_len: self.prefix_len,
            version_at: self.version_at,
        }
    }

    /// Memory this entry accounts for, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Entry>() + self.json.len() + self.labels.heap_bytes() + self.fields.heap_bytes()
    }

    fn rest(&self) -> &str {
        self.key.get(self.prefix_len as usize..).unwrap_or_default()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}

/// The object with `"resourceVersion":"<revision>"` as first field of its metadata, and where the
/// digits start.
fn splice(stored: &[u8], revision: Revision) -> Result<(Bytes, u32), String> {
    let open = metadata_open(stored).ok_or("not a JSON object with a metadata object")?;
    let (head, tail) = stored.split_at(open + 1);
    let empty = tail.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let mut json = Vec::with_capacity(stored.len() + FIELD.len() + digits(revision) + 1 + usize::from(!empty));
    json.extend_from_slice(head);
    json.extend_from_slice(FIELD);
    let version_at = u32::try_from(json.len()).map_err(|_| "object too large")?;
    push_decimal(&mut json, revision);
    json.extend_from_slice(if empty { b"\"" } else { b"\"," });
    json.extend_from_slice(tail);
    Ok((json.into(), version_at))
}

/// Index of the `{` that opens the top-level `metadata`.
fn metadata_open(json: &[u8]) -> Option<usize> {
    let mut at = skip_whitespace(json, 0);
    if json.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    loop {
        at = skip_whitespace(json, at);
        let name_start = at;
        at = skip_string(json, at)?;
        let name = json.get(name_start..at)?;
        at = skip_whitespace(json, at);
        if json.get(at) != Some(&b':') {
            return None;
        }
        at = skip_whitespace(json, at + 1);
        if name == b"\"metadata\"" {
            return (json.get(at) == Some(&b'{')).then_some(at);
        }
        at = skip_whitespace(json, skip_value(json, at)?);
        if json.get(at) != Some(&b',') {
            return None;
        }
        at += 1;
    }
}

fn skip_whitespace(json: &[u8], mut at: usize) -> usize {
    while json.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Past the string whose opening quote is at `at`.
fn skip_string(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Past the value that starts at `at`.
fn skip_value(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match json.get(at)? {
            b'"' => at = skip_string(json, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                let literal = json.get(at..)?.iter().position(|byte| b",:}] \n\r\t".contains(byte))?;
                at += literal.max(1);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

fn push_decimal(target: &mut Vec<u8>, number: u64) {
    use std::io::Write;
    // Writing into a Vec cannot fail.
    let _ = write!(target, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stored: &str, revision: Revision) -> Result<Entry, String> {
        Entry::new(
            "/registry/pods/default/web".into(),
            "/registry/pods/".len(),
            revision,
            stored.as_bytes(),
            Facts::default(),
        )
    }

    #[test]
    fn the_version_lands_in_the_top_level_metadata() {
        for (stored, expect) in [
            (r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"resourceVersion":"7","name":"a"}}"#),
            (r#"{"metadata":{}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#),
            (r#"{ "kind" : "Pod", "metadata" : { } }"#, r#"{ "kind" : "Pod", "metadata" : {"resourceVersion":"7" } }"#),
            (
                r#"{"kind":"P\"od\\","n":-1.5e3,"t":true,"spec":{"metadata":{"x":[{"metadata":{}}]},"e":[]},"metadata":{"a":1}}"#,
                r#"{"kind":"P\"od\\","n":-1.5e3,"t":true,"spec":{"metadata":{"x":[{"metadata":{}}]},"e":[]},"metadata":{"resourceVersion":"7","a":1}}"#,
            ),
        ] {
            assert_eq!(entry(stored, 7).map(|e| String::from_utf8_lossy(&e.json).into_owned()).as_deref(), Ok(expect));
        }
    }

    #[test]
    fn what_is_not_an_object_with_metadata_is_refused() {
        for stored in [
            "",
            "[]",
            "{}",
            "{",
            r#"{"a"}"#,
            r#"{"a":"#,
            r#"{"a":1}"#,
            r#"{"metadata":1}"#,
            r#"{"a":"x\"#,
            r#"{"a":]}"#,
        ] {
            assert!(entry(stored, 7).is_err(), "{stored}");
        }
    }

    #[test]
    fn names_come_from_the_key_and_a_later_version_replaces_the_digits() {
        let entry = entry(r#"{"metadata":{"name":"web"}}"#, 9).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((entry.namespace(), entry.name()), ("default", "web"));
        let later = entry.at_revision(1000);
        assert_eq!(later.revision, 1000);
        assert_eq!(&later.json[..], br#"{"metadata":{"resourceVersion":"1000","name":"web"}}"#);
        assert_eq!(&later.at_revision(3).json[..], br#"{"metadata":{"resourceVersion":"3","name":"web"}}"#);
    }
}
