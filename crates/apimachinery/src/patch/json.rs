//! JSON patch (RFC 6902), refusing what does not fit in `evanphx/json-patch`'s words.
//!
//! Like that library it accepts negative array indices, which count from the end.
use super::Error;
use crate::codec::json_syntax;
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
    let operations = match serde_json::from_slice(patch) {
        Ok(Value::Array(operations)) => operations,
        Ok(Value::Null) => Vec::new(),
        Ok(other) => {
            return Err(Error::Decode(format!("error decoding patch: {}", wrong_type(&other, "[]interface {}"))));
        }
        Err(e) => {
            let why = json_syntax::error(patch).unwrap_or_else(|| e.to_string());
            return Err(Error::Decode(format!("error decoding patch: {why}")));
        }
    };
    if let Some(other) = operations.iter().find(|operation| !operation.is_object()) {
        return Err(wrong_type(other, "jsonpatch.Operation"));
    }
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

fn wrong_type(value: &Value, wanted: &str) -> Error {
    let kind = json_syntax::kind(value);
    Error::Decode(format!("json: cannot unmarshal {kind} into Go value of type {wanted}"))
}

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), Error> {
    let op = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    if !["add", "remove", "replace", "move", "copy", "test"].contains(&op) {
        return Err(Error::Apply(format!("Unexpected kind: {op}")));
    }
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let from = || {
        text("from")
            .ok_or_else(|| missing(format!("{op} operation failed to decode from: operation, missing from field")))
    };
    let path = || text("path").ok_or_else(|| missing(format!("{op} operation failed to decode path")));
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match op {
        "add" => add(document, path()?, value(), "add operation does not apply: doc is missing path: \"", "\""),
        "remove" => {
            let path = path()?;
            let taken = remove(document, path, "remove operation does not apply: doc is missing path: \"", "\"")?;
            taken.map(drop).map_err(|e| Error::Apply(format!("error in remove for path: '{path}': {e}")))
        }
        "replace" => replace(document, path()?, value()),
        "move" => {
            let from = from()?;
            let taken = remove(document, from, "move operation does not apply: doc is missing from path: ", "")?;
            let key = from.rsplit('/').next().unwrap_or_default();
            let taken = taken.map_err(|e| Error::Apply(format!("error in move for path: '{key}': {e}")))?;
            add(document, path()?, taken, "move operation does not apply: doc is missing destination path: ", "")
        }
        "copy" => {
            let from = from()?;
            let taken = get(document, from, "copy operation does not apply: doc is missing from path: ")?
                .map_err(|e| Error::Apply(format!("error in copy for from: '{from}': {e}")))?
                .clone();
            *copied += taken.to_string().len();
            if *copied > COPY_BYTES_MAX {
                return Err(Error::Apply(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the \
                     limit {COPY_BYTES_MAX}"
                )));
            }
            add(document, path()?, taken, "copy operation does not apply: doc is missing destination path: ", "")
        }
        _ => test(document, path()?, operation.get("value")),
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

fn not_a_number(token: &str) -> Error {
    Error::Apply(format!("strconv.Atoi: parsing {token:?}: invalid syntax"))
}

fn out_of_range(token: &str) -> Error {
    Error::Apply(format!("Unable to access invalid index: {token}: invalid index referenced"))
}

/// An index that lies within or just after the list.
fn index(token: &str, length: usize) -> Result<usize, Error> {
    let number: i64 = token.parse().map_err(|_| not_a_number(token))?;
    let length = i64::try_from(length).map_err(|_| out_of_range(token))?;
    let at = if number < 0 { number + length } else { number };
    if !(0..=length).contains(&at) {
        return Err(out_of_range(token));
    }
    usize::try_from(at).map_err(|_| out_of_range(token))
}

/// The outer error is a missing parent; the inner one an index that does not fit. A missing member is null.
fn get<'a>(document: &'a mut Value, path: &str, missing_text: &str) -> Result<Result<&'a Value, Error>, Error> {
    if path.is_empty() {
        return Ok(Ok(document));
    }
    let Some((container, key)) = parent(document, path) else { return Err(missing(format!("{missing_text}{path}"))) };
    match container {
        Value::Object(map) => Ok(Ok(map.get(&key).unwrap_or(&Value::Null))),
        Value::Array(list) => Ok(index(&key, list.len()).and_then(|at| list.get(at).ok_or_else(|| out_of_range(&key)))),
        _ => Err(missing(format!("{missing_text}{path}"))),
    }
}

fn add(document: &mut Value, path: &str, value: Value, before: &str, after: &str) -> Result<(), Error> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    match parent(document, path) {
        Some((Value::Object(map), key)) => {
            map.insert(key, value);
        }
        Some((Value::Array(list), key)) if key == "-" => list.push(value),
        Some((Value::Array(list), key)) => {
            let within = |e: Error| Error::Apply(format!("error in add for path: '{path}': {e}"));
            if key.parse::<i64>().is_err() {
                let why = format!("value was not a proper array index: '{key}': {}", not_a_number(&key));
                return Err(within(Error::Apply(why)));
            }
            let at = index(&key, list.len()).map_err(within)?;
            list.insert(at, value);
        }
        _ => return Err(missing(format!("{before}{path}{after}"))),
    }
    Ok(())
}

/// The outer error is a missing parent, the inner one a missing member.
fn remove(document: &mut Value, path: &str, before: &str, after: &str) -> Result<Result<Value, Error>, Error> {
    match parent(document, path) {
        Some((Value::Object(map), key)) => {
            Ok(map.remove(&key).ok_or_else(|| missing(format!("Unable to remove nonexistent key: {key}"))))
        }
        Some((Value::Array(list), key)) => Ok(index(&key, list.len())
            .and_then(|at| if at < list.len() { Ok(list.remove(at)) } else { Err(out_of_range(&key)) })),
        _ => Err(missing(format!("{before}{path}{after}"))),
    }
}

/// Like the library, sets members that were not there; list items must be.
fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), Error> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    match parent(document, path) {
        Some((Value::Object(map), key)) => {
            map.insert(key, value);
            Ok(())
        }
        Some((list, key)) => match child(list, &key) {
            Some(place) => {
                *place = value;
                Ok(())
            }
            None => Err(missing(format!("replace operation does not apply: doc is missing key: {path}"))),
        },
        None => Err(missing(format!("replace operation does not apply: doc is missing path: {path}"))),
    }
}

fn test(document: &mut Value, path: &str, wanted: Option<&Value>) -> Result<(), Error> {
    let found = get(document, path, "test operation does not apply: is missing path: ")?
        .map_err(|e| Error::Apply(format!("error in test for path: '{path}': {e}")))?;
    if same(found, wanted.unwrap_or(&Value::Null)) {
        return Ok(());
    }
    Err(Error::Apply(format!("testing value {path} failed: test failed")))
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
