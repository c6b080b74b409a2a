//! JSON patch (RFC 6902), refusing what does not fit in `evanphx/json-patch`'s words.
//!
//! Like that library it accepts negative array indices, which count from the end.
use super::Error;
use serde_json::Value;

/// Upstream refuses longer patches.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// All `copy` operations of one patch may add this many bytes at most, roughly.
const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies `patch` to `document`; on error the document may be half changed.
///
/// # Errors
/// When the patch is malformed, too long, or does not apply.
pub fn json_patch(document: &mut Value, patch: &[u8]) -> Result<(), Error> {
    let operations: Vec<Value> =
        serde_json::from_slice(patch).map_err(|e| Error::Decode(format!("error decoding patch: {e}")))?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(Error::TooManyOperations(operations.len()));
    }
    let mut copied = 0;
    for operation in &operations {
        apply(document, operation, &mut copied)?;
    }
    Ok(())
}

fn missing(text: String) -> Error {
    Error::Apply(format!("{text}: missing value"))
}

fn text<'a>(operation: &'a Value, key: &str) -> Result<&'a str, Error> {
    operation.get(key).and_then(Value::as_str).ok_or_else(|| missing(format!("operation missing {key} field")))
}

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), Error> {
    let op = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    let path = text(operation, "path")?;
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match op {
        "add" => add(document, path, value(), "add operation does not apply: doc is missing path"),
        "remove" => remove(document, path, "remove operation does not apply: doc is missing path", "remove").map(drop),
        "replace" => replace(document, path, value()),
        "move" => {
            let from = text(operation, "from")?;
            if path != from && path.starts_with(&format!("{from}/")) {
                return Err(Error::Apply(format!(
                    "error in move for path: '{path}': a value cannot be moved into itself"
                )));
            }
            let taken = remove(document, from, "move operation does not apply: doc is missing from path", "move")?;
            add(document, path, taken, "move operation does not apply: doc is missing destination path")
        }
        "copy" => {
            let from = text(operation, "from")?;
            let Some(found) = find(document, from) else {
                return Err(missing(format!("copy operation does not apply: doc is missing from path: \"{from}\"")));
            };
            let taken = found.clone();
            *copied += taken.to_string().len();
            if *copied > COPY_BYTES_MAX {
                return Err(Error::Apply(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPY_BYTES_MAX}"
                )));
            }
            add(document, path, taken, "copy operation does not apply: doc is missing destination path")
        }
        "test" => test(document, path, operation.get("value")),
        other => Err(Error::Apply(format!("Unexpected kind: {other}"))),
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The parent container and the last token of a path other than the root's.
fn parent<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.strip_prefix('/').map(|_| path)?.rsplit_once('/')?;
    let mut at = document;
    for token in parent.split('/').skip(1) {
        at = child(at, &unescape(token))?;
    }
    (at.is_object() || at.is_array()).then(|| (at, unescape(last)))
}

fn child<'a>(value: &'a mut Value, token: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => {
            let index = index(token, list.len()).ok()?;
            list.get_mut(index)
        }
        _ => None,
    }
}

fn find<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    if path.is_empty() {
        return Some(document);
    }
    let (container, key) = parent(document, path)?;
    child(container, &key)
}

/// An index that lies within or just after the list.
fn index(token: &str, length: usize) -> Result<usize, Error> {
    let invalid = || Error::Apply(format!("Unable to access invalid index: {token}: invalid index referenced"));
    let number: i64 = token.parse().map_err(|_| {
        Error::Apply(format!(
            "value was not a proper array index: '{token}': strconv.Atoi: parsing \"{token}\": invalid syntax"
        ))
    })?;
    let length = i64::try_from(length).map_err(|_| invalid())?;
    let at = if number < 0 { number + length } else { number };
    if !(0..=length).contains(&at) {
        return Err(invalid());
    }
    usize::try_from(at).map_err(|_| invalid())
}

fn add(document: &mut Value, path: &str, value: Value, missing_text: &str) -> Result<(), Error> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let Some((container, key)) = parent(document, path) else {
        return Err(missing(format!("{missing_text}: \"{path}\"")));
    };
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let at =
                index(&key, list.len()).map_err(|e| Error::Apply(format!("error in add for path: '{path}': {e}")))?;
            list.insert(at, value);
        }
        _ => return Err(missing(format!("{missing_text}: \"{path}\""))),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str, missing_text: &str, op: &str) -> Result<Value, Error> {
    let Some((container, key)) = parent(document, path) else {
        return Err(missing(format!("{missing_text}: \"{path}\"")));
    };
    let within = |e: Error| Error::Apply(format!("error in {op} for path: '{path}': {e}"));
    match container {
        Value::Object(map) => {
            map.remove(&key).ok_or_else(|| within(missing(format!("Unable to remove nonexistent key: {key}"))))
        }
        Value::Array(list) => {
            let at = index(&key, list.len()).map_err(within)?;
            if at < list.len() {
                return Ok(list.remove(at));
            }
            Err(within(Error::Apply(format!("Unable to access invalid index: {key}: invalid index referenced"))))
        }
        _ => Err(missing(format!("{missing_text}: \"{path}\""))),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), Error> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let Some((container, key)) = parent(document, path) else {
        return Err(missing(format!("replace operation does not apply: doc is missing path: {path}")));
    };
    match child(container, &key) {
        Some(place) => {
            *place = value;
            Ok(())
        }
        None => Err(missing(format!("replace operation does not apply: doc is missing key: {path}"))),
    }
}

fn test(document: &mut Value, path: &str, wanted: Option<&Value>) -> Result<(), Error> {
    let failed = || Error::Apply(format!("testing value {path} failed: test failed"));
    let wanted = wanted.unwrap_or(&Value::Null);
    if path.is_empty() {
        return if same(document, wanted) { Ok(()) } else { Err(failed()) };
    }
    let Some((container, key)) = parent(document, path) else {
        return Err(missing(format!("test operation does not apply: is missing path: {path}")));
    };
    let found = child(container, &key).map_or(&Value::Null, |v| v);
    if same(found, wanted) { Ok(()) } else { Err(failed()) }
}

/// Equality where `1` and `1.0` are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}
