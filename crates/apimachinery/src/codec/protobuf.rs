//! Protobuf bodies: upstream's components send them, and we turn them into JSON by the schema table.
//!
//! A body is `k8s\0` followed by a `runtime.Unknown` that names the kind and holds the object. What Go would leave
//! out of JSON (`omitempty` zero values) is left out here too, pointers and required fields are kept, so that the
//! JSON is what the same client would have sent as JSON. Nothing in a body can make decoding panic or recurse
//! deeper than [`DEPTH_MAX`]. Source: `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`.
mod encode;
mod special;
mod wire;
pub mod write;

pub use encode::{List, body, from_json, message_from_json, watch_frame};

use crate::{
    duration, quantity,
    schema::{self, Field, Nested, Schema, Type},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};
use wire::{Reader, Record};

/// The first bytes of every protobuf body.
pub const MAGIC: &[u8; 4] = b"k8s\0";
/// `Content-Type` and `Accept` of protobuf bodies.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// JSON schemas of custom resources are the deepest messages there are.
pub const DEPTH_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    #[error("unexpected end of data")]
    Truncated,
    #[error("a number is longer than 64 bits")]
    Overlong,
    #[error("wrong wire type {wire} in field {field}")]
    WireType { field: String, wire: u8 },
    #[error("field {0} is not valid UTF-8")]
    Utf8(String),
    #[error("message nested deeper than {DEPTH_MAX}")]
    Depth,
    #[error("field {0} holds an invalid value")]
    Value(String),
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind { api_version: String, kind: String },
}

/// The outer message of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
    pub content_type: &'a str,
}

/// Reads the outer message.
///
/// # Errors
/// When the magic bytes are missing or the message is malformed.
pub fn unknown(body: &[u8]) -> Result<Unknown<'_>, Error> {
    let mut reader = Reader::new(body.strip_prefix(MAGIC).ok_or(Error::NoMagic)?);
    let mut out = Unknown::default();
    while let Some(record) = reader.next()? {
        match record.number {
            1 => {
                let mut meta = Reader::new(record.bytes("typeMeta")?);
                while let Some(record) = meta.next()? {
                    match record.number {
                        1 => out.api_version = record.text("apiVersion")?,
                        2 => out.kind = record.text("kind")?,
                        _ => {}
                    }
                }
            }
            2 => out.raw = record.bytes("raw")?,
            4 => out.content_type = record.text("contentType")?,
            _ => {}
        }
    }
    Ok(out)
}

/// The fields of a message that hold bytes or text, by number: for messages that no schema describes.
///
/// # Errors
/// When the message is malformed.
pub fn byte_fields(message: &[u8]) -> Result<Vec<(u32, &[u8])>, Error> {
    let mut reader = Reader::new(message);
    let mut fields = Vec::new();
    while let Some(record) = reader.next()? {
        if let Ok(bytes) = record.bytes("") {
            fields.push((record.number, bytes));
        }
    }
    Ok(fields)
}

/// The JSON of a body, `apiVersion` and `kind` included.
///
/// # Errors
/// When the body is malformed or of a kind that is not built in.
pub fn to_json(body: &[u8]) -> Result<Value, Error> {
    unknown_to_json(&unknown(body)?, 0)
}

fn unknown_to_json(body: &Unknown<'_>, depth: usize) -> Result<Value, Error> {
    let unknown_kind = || Error::UnknownKind { api_version: body.api_version.to_owned(), kind: body.kind.to_owned() };
    if body.content_type == "application/json" {
        return serde_json::from_slice(body.raw).map_err(|_| Error::Value("raw".to_owned()));
    }
    let schema = schema_of(body.api_version, body.kind).ok_or_else(unknown_kind)?;
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), body.api_version.into());
    object.insert("kind".to_owned(), body.kind.into());
    message(schema, body.raw, &mut object, depth)?;
    Ok(Value::Object(object))
}

fn schema_of(api_version: &str, kind: &str) -> Option<Schema> {
    if (api_version, kind) == ("v1", "List") {
        // The list of anything: its items are bodies of their own.
        return schema::named("io.k8s.api.core.v1.List");
    }
    schema::of_api_version(api_version, kind)
}

/// Decodes a message of a known type, without the outer message.
///
/// # Errors
/// When the message is malformed.
pub fn message_to_json(schema: Schema, bytes: &[u8]) -> Result<Value, Error> {
    let mut object = Map::new();
    message(schema, bytes, &mut object, 0)?;
    Ok(Value::Object(object))
}

fn message(schema: Schema, bytes: &[u8], out: &mut Map<String, Value>, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    let mut reader = Reader::new(bytes);
    while let Some(record) = reader.next()? {
        if let Some(field) = schema.field_by_number(record.number) {
            member(field, &record, out, depth)?;
        } else if let Some(inline) = schema.inline_by_number(record.number) {
            message(inline, record.bytes(inline.short_name())?, out, depth + 1)?;
        }
    }
    Ok(())
}

fn member(field: Field, record: &Record<'_>, out: &mut Map<String, Value>, depth: usize) -> Result<(), Error> {
    let name = field.name();
    match field.type_() {
        Type::List(items) if field.is_wrapped_list() => {
            let list = wrapped(items, record.bytes(name)?, name, depth)?;
            out.insert(name.to_owned(), list);
        }
        Type::List(items) => list_item(items, record, entry(out, name, Value::Array(Vec::new())), name, depth)?,
        Type::Map(values) => {
            let (key, value) = map_entry(values, record.bytes(name)?, name, depth)?;
            if let Value::Object(map) = entry(out, name, Value::Object(Map::new())) {
                map.insert(key, value);
            }
        }
        Type::Object(schema) if !schema.is_any() => {
            // Parts of one message merge, as protobuf has it.
            if let Value::Object(map) = entry(out, name, Value::Object(Map::new())) {
                message(schema, record.bytes(name)?, map, depth + 1)?;
            }
        }
        type_ => {
            // The `…OrBool` and `…OrArray` types are pointers wherever they stand.
            let kept = field.is_pointer() || field.is_always_written() || matches!(type_, Type::Object(_));
            match single(type_, record, name, depth)? {
                Some(value) if kept || !is_zero(&value) => {
                    out.insert(name.to_owned(), value);
                }
                _ => {
                    out.remove(name);
                }
            }
        }
    }
    Ok(())
}

fn entry<'a>(out: &'a mut Map<String, Value>, name: &str, empty: Value) -> &'a mut Value {
    if !out.contains_key(name) {
        out.insert(name.to_owned(), empty);
    }
    // Just inserted: the default is never taken.
    out.entry(name).or_insert(Value::Null)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(_) => false,
    }
}

fn list_item(items: Nested, record: &Record<'_>, list: &mut Value, name: &str, depth: usize) -> Result<(), Error> {
    let Value::Array(list) = list else { return Ok(()) };
    let type_ = items.get();
    if let (Type::Int32 | Type::Int64 | Type::Bool, Some(packed)) = (type_, record.packed()) {
        let mut reader = Reader::new(packed);
        while !reader.is_empty() {
            list.push(number(type_, reader.varint()?));
        }
        return Ok(());
    }
    list.push(item(type_, record, name, depth)?);
    Ok(())
}

/// A list's item or a map's value: zero values count.
fn item(type_: Type, record: &Record<'_>, name: &str, depth: usize) -> Result<Value, Error> {
    match type_ {
        Type::Object(schema) if !schema.is_any() => {
            let mut object = Map::new();
            message(schema, record.bytes(name)?, &mut object, depth + 1)?;
            Ok(Value::Object(object))
        }
        Type::List(items) => wrapped(items, record.bytes(name)?, name, depth),
        type_ => Ok(single(type_, record, name, depth)?.unwrap_or(Value::Null)),
    }
}

/// A list as a message with one repeated field.
fn wrapped(items: Nested, bytes: &[u8], name: &str, depth: usize) -> Result<Value, Error> {
    let mut list = Value::Array(Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some(record) = reader.next()? {
        if record.number == 1 {
            list_item(items, &record, &mut list, name, depth + 1)?;
        }
    }
    Ok(list)
}

fn map_entry(values: Nested, bytes: &[u8], name: &str, depth: usize) -> Result<(String, Value), Error> {
    let mut reader = Reader::new(bytes);
    let (mut key, mut value) = (String::new(), None);
    while let Some(record) = reader.next()? {
        match record.number {
            1 => key = record.text(name)?.to_owned(),
            2 => value = Some(item(values.get(), &record, name, depth + 1)?),
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        None => empty(values.get()),
    };
    Ok((key, value))
}

/// The value of a map entry that has none.
fn empty(type_: Type) -> Value {
    match type_ {
        Type::String | Type::Bytes => Value::String(String::new()),
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::Double => Value::from(0),
        Type::Quantity => Value::from("0"),
        Type::List(_) => Value::Array(Vec::new()),
        Type::Object(_) | Type::Map(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

fn number(type_: Type, varint: u64) -> Value {
    match type_ {
        Type::Bool => Value::Bool(varint != 0),
        // Negative numbers are sign-extended to 64 bits; the low half is the value.
        Type::Int32 => Value::from(varint as u32 as i32),
        _ => Value::from(varint as i64),
    }
}

/// A value that is no list, map or described object; `None` for an unset time.
fn single(type_: Type, record: &Record<'_>, name: &str, depth: usize) -> Result<Option<Value>, Error> {
    Ok(Some(match type_ {
        Type::String => Value::from(record.text(name)?),
        Type::Bytes => Value::from(BASE64_STANDARD.encode(record.bytes(name)?)),
        Type::Bool | Type::Int32 | Type::Int64 => number(type_, record.varint(name)?),
        Type::Double => Value::from(record.double(name)?),
        Type::Time => return special::time(record.bytes(name)?, name, crate::time::rfc3339),
        Type::MicroTime => return special::time(record.bytes(name)?, name, crate::time::rfc3339_micro),
        Type::Duration => {
            let nanos = special::int64_at(1, record.bytes(name)?, name)?;
            let text = duration::format(std::time::Duration::from_nanos(nanos.unsigned_abs()));
            Value::from(if nanos < 0 { format!("-{text}") } else { text })
        }
        Type::Quantity => {
            let text = special::text_at(1, record.bytes(name)?, name)?;
            if text.is_empty() {
                Value::from("0")
            } else {
                quantity::Quantity::parse(text).map_err(|_| Error::Value(name.to_owned()))?;
                Value::from(text)
            }
        }
        Type::IntOrString => special::int_or_string(record.bytes(name)?, name)?,
        Type::RawExtension | Type::FieldsV1 | Type::Any => special::raw(record.bytes(name)?, name, depth)?,
        Type::Object(schema) => special::schema_or(schema, record.bytes(name)?, name, depth)?,
        Type::List(_) | Type::Map(_) => Value::Null,
    }))
}

#[cfg(test)]
mod tests;
