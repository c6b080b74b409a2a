//! Unknown and duplicate fields of a JSON body, and whether it has zero values that Go leaves out, found in one pass
//! over its bytes.
//!
//! Paths are worded as upstream's strict decoder words them: `spec.containers[0].foo`. Malformed JSON ends the
//! search with what was found so far; saying what is wrong with it is the decoder's part.
use super::{Schema, Type, zeros};
use std::{borrow::Cow, collections::HashSet};

/// Objects nested deeper are not looked into; serde_json refuses them anyway.
const DEPTH_MAX: usize = 128;
/// More findings than this are not reported.
const FINDINGS_MAX: usize = 256;

/// Paths of fields, each once, in the order of appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub unknown: Vec<String>,
    pub duplicate: Vec<String>,
    /// There is something for [`super::leave_out_zeros`] to do.
    pub zeros: bool,
}

impl Checked {
    pub fn is_clean(&self) -> bool {
        self.unknown.is_empty() && self.duplicate.is_empty()
    }
}

/// Fields of `json` that `schema` does not have, and fields that stand there twice.
pub fn check_fields(schema: Schema, json: &[u8]) -> Checked {
    let mut checker = Checker { json, at: 0, path: Vec::with_capacity(16), found: Checked::default() };
    // The error only ends the walk.
    let _ = checker.value(Some(Type::Object(schema)));
    checker.found
}

/// Members of objects that stand there twice, where no schema is known.
pub fn check_duplicates(json: &[u8]) -> Vec<String> {
    let mut checker = Checker { json, at: 0, path: Vec::with_capacity(16), found: Checked::default() };
    // The error only ends the walk.
    let _ = checker.anything();
    checker.found.duplicate
}

enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

struct Checker<'a> {
    json: &'a [u8],
    at: usize,
    path: Vec<Step<'a>>,
    found: Checked,
}

struct Malformed;

/// The keys of one object: few, as a rule, so that a list does; a set takes over when there are many.
#[derive(Default)]
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    const FEW: usize = 16;

    /// Whether `key` is new.
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.contains(&key) || self.many.contains(&key) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        true
    }
}

impl<'a> Checker<'a> {
    fn peek(&mut self) -> Result<u8, Malformed> {
        while let Some(byte) = self.json.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(Malformed)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek()? == byte {
            self.at += 1;
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// The raw text between the quotes, and whether it has escapes.
    fn string(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.json.get(self.at).ok_or(Malformed)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        let raw = self.json.get(start..self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok((raw, escaped))
    }

    fn key(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let start = self.at;
        let (raw, escaped) = self.string()?;
        if !escaped {
            return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| Malformed);
        }
        let quoted = self.json.get(start..self.at).ok_or(Malformed)?;
        serde_json::from_slice(quoted.trim_ascii()).map(Cow::Owned).map_err(|_| Malformed)
    }

    /// `type_` is `None` where nothing is known: the value is skipped.
    fn value(&mut self, type_: Option<Type>) -> Result<(), Malformed> {
        match (self.peek()?, type_) {
            (b'{', Some(Type::Object(schema))) if !schema.is_any() && self.path.len() < DEPTH_MAX => {
                self.object(schema)
            }
            (b'{', Some(Type::Map(values))) if self.path.len() < DEPTH_MAX => self.map(|c| c.value(Some(values.get()))),
            (b'[', Some(Type::List(items))) if self.path.len() < DEPTH_MAX => self.list(|c| c.value(Some(items.get()))),
            _ => self.skip(),
        }
    }

    /// A value whose members may have any name.
    fn anything(&mut self) -> Result<(), Malformed> {
        match self.peek()? {
            b'{' if self.path.len() < DEPTH_MAX => self.map(Self::anything),
            b'[' if self.path.len() < DEPTH_MAX => self.list(Self::anything),
            _ => self.skip(),
        }
    }

    /// Consumes the separator after a member; `false` at the end.
    fn more(&mut self, end: u8) -> Result<bool, Malformed> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            _ if byte == end => Ok(false),
            _ => Err(Malformed),
        }
    }

    fn open(&mut self, end: u8) -> Result<bool, Malformed> {
        self.at += 1;
        if self.peek()? == end {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    fn object(&mut self, schema: Schema) -> Result<(), Malformed> {
        let mut seen = 0u128;
        let mut more = self.open(b'}')?;
        while more {
            self.peek()?;
            let key = self.key()?;
            self.expect(b':')?;
            let mut may_be_left_out = false;
            let type_ = match schema.field_index(key.as_bytes()) {
                Some((index, field)) => {
                    let bit = 1u128 << (index & 127);
                    if seen & bit != 0 {
                        let path = self.path_to(&key);
                        report(&mut self.found.duplicate, path);
                    }
                    seen |= bit;
                    may_be_left_out = !self.found.zeros && zeros::may_be_left_out(field);
                    Some(field.type_())
                }
                None => {
                    let path = self.path_to(&key);
                    report(&mut self.found.unknown, path);
                    None
                }
            };
            self.path.push(Step::Key(key));
            self.peek()?;
            let start = self.at;
            self.value(type_)?;
            if may_be_left_out && self.json.get(start..self.at).is_some_and(zeros::is_zero_text) {
                self.found.zeros = true;
            }
            self.path.pop();
            more = self.more(b'}')?;
        }
        Ok(())
    }

    fn map(&mut self, mut value: impl FnMut(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        let mut seen = Seen::default();
        let mut more = self.open(b'}')?;
        while more {
            self.peek()?;
            let key = self.key()?;
            self.expect(b':')?;
            if !seen.insert(key.clone()) {
                let path = self.path_to(&key);
                report(&mut self.found.duplicate, path);
            }
            self.path.push(Step::Key(key));
            value(self)?;
            self.path.pop();
            more = self.more(b'}')?;
        }
        Ok(())
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        let mut more = self.open(b']')?;
        let mut index = 0;
        while more {
            self.path.push(Step::Index(index));
            item(self)?;
            self.path.pop();
            index += 1;
            more = self.more(b']')?;
        }
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Malformed> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(Malformed)?;
                    self.at += 1;
                }
                b',' | b':' => {
                    if depth == 0 {
                        return Err(Malformed);
                    }
                    self.at += 1;
                    continue;
                }
                _ => {
                    let rest = self.json.get(self.at..).ok_or(Malformed)?;
                    let length = rest
                        .iter()
                        .position(|b| matches!(b, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r' | b'"'))
                        .unwrap_or(rest.len());
                    self.at += length.max(1);
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn path_to(&self, key: &str) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => out.push_str(&format!("[{index}]")),
                Step::Key(key) => push_key(&mut out, key),
            }
        }
        push_key(&mut out, key);
        out
    }
}

fn push_key(out: &mut String, key: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(key);
}

fn report(list: &mut Vec<String>, path: String) {
    if list.len() < FINDINGS_MAX && !list.contains(&path) {
        list.push(path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn check(json: &str) -> (String, String) {
        let found = check_fields(super::super::of("", "v1", "Pod").unwrap(), json.as_bytes());
        (found.unknown.join(" "), found.duplicate.join(" "))
    }

    #[test]
    fn paths() {
        let cases = [
            (r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[]}}"#, "", ""),
            (r#"{"foo":1,"spec":{"bar":{"baz":[1,{"x":"}"}]},"nodeName":"n"}}"#, "foo spec.bar", ""),
            (
                r#"{"spec":{"containers":[{"name":"a"},{"foo":1,"env":[{"nmae":"b"}]}]}}"#,
                "spec.containers[1].foo spec.containers[1].env[0].nmae",
                "",
            ),
            (r#"{"spec":{"nodeName":"a","nodeName":"b"},"spec":{}}"#, "", "spec.nodeName spec"),
            (r#"{"metadata":{"labels":{"a":"1","a":"2","a":"3"}}}"#, "", "metadata.labels.a"),
            (r#"{ "spec" : { "\u0066oo" : "\"" , "nodeName" : null } }"#, "spec.foo", ""),
            (r#"{"spec":{"volumes":[{"name":"v","emptyDir":{"medum":""}}]}}"#, "spec.volumes[0].emptyDir.medum", ""),
            (r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{},"f:a":{}}}]}}"#, "", ""),
            (r#"{"spec":5,"status":[{"a":1}],"x":tr"#, "x", ""),
        ];
        for (json, unknown, duplicate) in cases {
            assert_eq!(check(json), (unknown.to_owned(), duplicate.to_owned()), "{json}");
        }
    }

    #[test]
    fn duplicates_without_a_schema() {
        let json = r#"{"spec":{"a":1,"b":[{"c":1,"c":2}],"a":2},"x":{"y":{}}}"#;
        assert_eq!(check_duplicates(json.as_bytes()), ["spec.b[0].c", "spec.a"]);
        let many: Vec<String> = (0..40).map(|i| format!("\"k{}\":0", i % 39)).collect();
        assert_eq!(check_duplicates(format!("{{{}}}", many.join(",")).as_bytes()), ["k0"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in "[\\[\\]{}\",:a\\\\ 0-9]{0,60}") {
            check(&text);
            check_duplicates(text.as_bytes());
        }

        #[test]
        fn nesting_is_survived(depth in 0usize..5000) {
            check(&"{\"spec\":".repeat(depth));
            check(&"[".repeat(depth));
        }
    }
}
