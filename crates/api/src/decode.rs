//! Why a body cannot be decoded, in upstream's words.
//!
//! The typed decoder says where in the text it stopped; clients are told the field and the Go type, so the body is
//! walked again with the schema to find the first value of the wrong type. Only failures pay for that.
use apimachinery::{
    ApiError,
    codec::json_syntax,
    quantity,
    schema::{Schema, Type},
};
use serde_json::Value;

/// Deeper than this nothing is looked for.
const DEPTH_MAX: usize = 64;

/// The answer to a body that is no `kind`.
pub fn error(kind: &str, version: &str, schema: Option<Schema>, json: &[u8], cause: &serde_json::Error) -> ApiError {
    let why = explain(schema, json).unwrap_or_else(|| cause.to_string());
    ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

fn explain(schema: Option<Schema>, json: &[u8]) -> Option<String> {
    let value: Value = match serde_json::from_slice(json) {
        Ok(value) => value,
        Err(e) => return Some(json_syntax::error(json).unwrap_or_else(|| format!("json: {e}"))),
    };
    let schema = schema?;
    let Value::Object(_) = value else {
        return Some(format!(
            "json: cannot unmarshal {} into Go value of type {}",
            json_syntax::kind(&value),
            go_struct(schema)
        ));
    };
    let mut path = Vec::new();
    mismatch(&value, Type::Object(schema), "", &mut path, 0)
}

fn go_struct(schema: Schema) -> &'static str {
    schema.short_name().strip_prefix("api.").unwrap_or(schema.short_name())
}

fn last_part(schema: Schema) -> &'static str {
    let name = schema.short_name();
    name.rsplit('.').next().unwrap_or(name)
}

fn go_type(type_: Type) -> String {
    match type_ {
        Type::String => "string".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Double => "float64".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Duration => "v1.Duration".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::RawExtension => "runtime.RawExtension".into(),
        Type::FieldsV1 => "v1.FieldsV1".into(),
        Type::Any => "interface {}".into(),
        Type::Object(schema) => {
            let parts: Vec<&str> = schema.short_name().rsplitn(3, '.').collect();
            match parts.as_slice() {
                [name, version, ..] => format!("{version}.{name}"),
                _ => schema.short_name().to_owned(),
            }
        }
        Type::List(items) => format!("[]{}", go_type(items.get())),
        Type::Map(values) => format!("map[string]{}", go_type(values.get())),
    }
}

/// The first value whose type is not what the schema wants; `path` has no indices, as Go prints it.
fn mismatch<'a>(
    value: &'a Value,
    type_: Type,
    owner: &'static str,
    path: &mut Vec<&'a str>,
    depth: usize,
) -> Option<String> {
    if depth > DEPTH_MAX || value.is_null() {
        return None;
    }
    let bad = |path: &[&str]| {
        let what = match value {
            Value::Number(n) if matches!(type_, Type::Int32 | Type::Int64) => format!("number {n}"),
            other => json_syntax::kind(other).to_owned(),
        };
        let (owner, path) = (if owner.is_empty() { "" } else { owner }, path.join("."));
        Some(format!("json: cannot unmarshal {what} into Go struct field {owner}.{path} of type {}", go_type(type_)))
    };
    match (type_, value) {
        (Type::Object(schema), Value::Object(map)) if !schema.is_any() => {
            for (key, inner) in map {
                let Some(field) = schema.field(key) else { continue };
                path.push(key);
                let found = mismatch(inner, field.type_(), last_part(schema), path, depth + 1);
                path.pop();
                if found.is_some() {
                    return found;
                }
            }
            None
        }
        (Type::List(items), Value::Array(values)) => {
            values.iter().find_map(|v| mismatch(v, items.get(), owner, path, depth + 1))
        }
        (Type::Map(values), Value::Object(map)) => {
            map.values().find_map(|v| mismatch(v, values.get(), owner, path, depth + 1))
        }
        (Type::Any | Type::RawExtension | Type::FieldsV1 | Type::IntOrString, _) => None,
        (Type::Quantity, Value::String(text)) => quantity::Quantity::parse(text).err().map(|e| e.to_string()),
        (Type::Quantity, Value::Number(_)) => None,
        (Type::Bytes, Value::String(text)) => {
            use base64::Engine;
            let result = base64::engine::general_purpose::STANDARD.decode(text);
            result.err().map(|_| "illegal base64 data at input byte 0".to_owned())
        }
        (Type::Time | Type::MicroTime, Value::String(text)) => {
            let wrong = apimachinery::time::parse(text).is_err();
            wrong.then(|| {
                format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\"")
            })
        }
        (Type::String | Type::Duration, Value::String(_)) | (Type::Bool, Value::Bool(_)) => None,
        (Type::Int32, Value::Number(n)) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => None,
        (Type::Int64, Value::Number(n)) if n.is_i64() => None,
        (Type::Double, Value::Number(_)) => None,
        (Type::Object(schema), _) if schema.is_any() => None,
        _ => bad(path),
    }
}

/// Why a strategically patched object is no object of its kind: upstream converts it without going through
/// JSON, and words that differently (`cannot restore slice from string`).
pub fn conversion_error(group: &str, version: &str, kind: &str, object: &Value) -> Option<String> {
    let schema = apimachinery::schema::of(group, version, kind)?;
    unconvertible(object, Type::Object(schema), 0)
}

/// As Go names the kinds of values that JSON gives.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn unconvertible(value: &Value, type_: Type, depth: usize) -> Option<String> {
    if depth > DEPTH_MAX || value.is_null() {
        return None;
    }
    let simple = |name: &str| Some(format!("unrecognized type: {name}"));
    let from = go_kind(value);
    match (type_, value) {
        (Type::Object(schema), Value::Object(map)) if !schema.is_any() => {
            map.iter().find_map(|(key, inner)| unconvertible(inner, schema.field(key)?.type_(), depth + 1))
        }
        (Type::Object(schema), _) if schema.is_any() => None,
        (Type::Object(_), _) => Some(format!("cannot restore struct from: {from}")),
        (Type::List(items), Value::Array(values)) => {
            values.iter().find_map(|v| unconvertible(v, items.get(), depth + 1))
        }
        (Type::List(_), _) => Some(format!("cannot restore slice from {from}")),
        (Type::Map(values), Value::Object(map)) => map.values().find_map(|v| unconvertible(v, values.get(), depth + 1)),
        (Type::Map(_), _) => Some(format!("cannot restore map from {from}")),
        (Type::String, Value::Number(n)) if !n.is_f64() => Some("cannot convert int64 to string".to_owned()),
        (Type::String, other) if !other.is_string() => simple("string"),
        (Type::Bool, other) if !other.is_boolean() => simple("bool"),
        (Type::Int32 | Type::Int64, Value::Number(n)) if n.is_f64() => {
            Some(format!("cannot convert float64 to {}", go_type(type_)))
        }
        (Type::Int32, other) if !other.is_number() => simple("int32"),
        (Type::Int64, other) if !other.is_number() => simple("int64"),
        (Type::Double, other) if !other.is_number() => simple("float64"),
        (Type::Bytes, other) if !other.is_string() => Some(format!("cannot restore slice from {from}")),
        _ => {
            let mut path = Vec::new();
            mismatch(value, type_, "", &mut path, depth)
        }
    }
}
