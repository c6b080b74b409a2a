//! JSON to protobuf, for clients that accept nothing else. The inverse of decoding, by the same table.
use super::{
    Error, MAGIC, schema_of,
    write::{bytes, double, number},
};
use crate::schema::{self, Field, Schema, Type};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

const JSON_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// A body of an object of a built-in kind, outer message included.
///
/// # Errors
/// When the kind is not built in or a value does not have its field's type.
pub fn from_json(object: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let schema = schema_of(api_version, kind)
        .ok_or_else(|| Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() })?;
    Ok(body(api_version, kind, &message_from_json(schema, object)?))
}

/// The outer message around an encoded object.
pub fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    bytes(1, api_version.as_bytes(), &mut meta);
    bytes(2, kind.as_bytes(), &mut meta);
    let mut out = Vec::with_capacity(raw.len() + meta.len() + 24);
    out.extend_from_slice(MAGIC);
    bytes(1, &meta, &mut out);
    bytes(2, raw, &mut out);
    bytes(3, b"", &mut out);
    bytes(4, b"", &mut out);
    out
}

/// A message of a known type, without the outer message.
///
/// # Errors
/// When a value does not have its field's type.
pub fn message_from_json(schema: Schema, object: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let mut raw = Vec::new();
    message(schema, object, &mut raw)?;
    Ok(raw)
}

/// One event of a watch stream: a `WatchEvent` after its length in four bytes. `object` is a whole body.
pub fn watch_frame(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw_extension = Vec::with_capacity(object.len() + 8);
    bytes(1, object, &mut raw_extension);
    let mut out = vec![0; 4];
    bytes(1, kind.as_bytes(), &mut out);
    bytes(2, &raw_extension, &mut out);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out.splice(..4, length.to_be_bytes());
    out
}

/// A list of objects of one kind, put together item by item.
pub struct List {
    raw: Vec<u8>,
    items: Schema,
}

impl List {
    /// # Errors
    /// When the kind is not built in or `metadata` is no ListMeta.
    pub fn new(api_version: &str, item_kind: &str, metadata: &Map<String, Value>) -> Result<Self, Error> {
        let unknown = || Error::UnknownKind { api_version: api_version.to_owned(), kind: item_kind.to_owned() };
        let items = schema_of(api_version, item_kind).ok_or_else(unknown)?;
        let list_meta = schema::named(LIST_META).ok_or_else(|| invalid("metadata"))?;
        let mut raw = Vec::new();
        bytes(1, &message_from_json(list_meta, metadata)?, &mut raw);
        Ok(List { raw, items })
    }

    /// # Errors
    /// When a value does not have its field's type.
    pub fn push(&mut self, item: &Map<String, Value>) -> Result<(), Error> {
        bytes(2, &message_from_json(self.items, item)?, &mut self.raw);
        Ok(())
    }

    /// The whole body.
    pub fn finish(self, api_version: &str, kind: &str) -> Vec<u8> {
        body(api_version, kind, &self.raw)
    }
}

fn invalid(name: &str) -> Error {
    Error::Value(name.to_owned())
}

/// The recursion is bounded by the depth of the parsed JSON.
fn message(schema: Schema, object: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut fields: Vec<(u32, Field, &Value)> = Vec::with_capacity(object.len());
    for (name, value) in object {
        if let Some(field) = schema.field(name).filter(|_| !value.is_null())
            && let Some(number) = field.number()
        {
            fields.push((number, field, value));
        }
    }
    let mut inlined: Vec<(u32, Vec<u8>)> = Vec::new();
    for (number, inline) in schema.inlined() {
        let mut content = Vec::new();
        message(inline, object, &mut content)?;
        inlined.push((number, content));
    }
    fields.sort_unstable_by_key(|(number, _, _)| *number);
    let mut inlined = inlined.into_iter().peekable();
    for (number, field, value) in fields {
        while let Some((at, content)) = inlined.next_if(|(at, _)| *at < number) {
            bytes(at, &content, out);
        }
        member(number, field, value, out)?;
    }
    for (at, content) in inlined {
        bytes(at, &content, out);
    }
    Ok(())
}

fn member(at: u32, field: Field, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let name = field.name();
    match field.type_() {
        Type::List(items) => {
            let list = value.as_array().ok_or_else(|| invalid(name))?;
            if field.is_wrapped_list() {
                return wrapped(at, items.get(), list, name, out);
            }
            list.iter().try_for_each(|value| item(at, items.get(), value, name, out))
        }
        Type::Map(values) => {
            let map = value.as_object().ok_or_else(|| invalid(name))?;
            for (key, value) in map {
                let mut entry = Vec::new();
                bytes(1, key.as_bytes(), &mut entry);
                item(2, values.get(), value, name, &mut entry)?;
                bytes(at, &entry, out);
            }
            Ok(())
        }
        type_ => item(at, type_, value, name, out),
    }
}

fn wrapped(at: u32, items: Type, list: &[Value], name: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut content = Vec::new();
    list.iter().try_for_each(|value| item(1, items, value, name, &mut content))?;
    bytes(at, &content, out);
    Ok(())
}

fn item(at: u32, type_: Type, value: &Value, name: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    let text = || value.as_str().ok_or_else(|| invalid(name));
    let integer = || value.as_i64().ok_or_else(|| invalid(name));
    let mut content = Vec::new();
    match type_ {
        Type::String => {
            bytes(at, text()?.as_bytes(), out);
            return Ok(());
        }
        Type::Bytes => {
            bytes(at, &BASE64_STANDARD.decode(text()?).map_err(|_| invalid(name))?, out);
            return Ok(());
        }
        Type::Bool => {
            number(at, i64::from(value.as_bool().ok_or_else(|| invalid(name))?), out);
            return Ok(());
        }
        Type::Int32 | Type::Int64 => {
            number(at, integer()?, out);
            return Ok(());
        }
        Type::Double => {
            double(at, value.as_f64().ok_or_else(|| invalid(name))?, out);
            return Ok(());
        }
        Type::Time | Type::MicroTime if value.is_null() => {}
        Type::Time | Type::MicroTime => {
            let time = crate::time::parse(text()?).map_err(|_| invalid(name))?;
            number(1, time.as_second(), &mut content);
            number(2, i64::from(time.subsec_nanosecond()), &mut content);
        }
        Type::Duration => {
            let length = crate::duration::parse(text()?).map_err(|_| invalid(name))?;
            number(1, i64::try_from(length.as_nanos()).map_err(|_| invalid(name))?, &mut content);
        }
        Type::Quantity => {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            bytes(1, shown.as_bytes(), &mut content);
        }
        Type::IntOrString => match value.as_str() {
            Some(text) => {
                number(1, 1, &mut content);
                number(2, 0, &mut content);
                bytes(3, text.as_bytes(), &mut content);
            }
            None => {
                number(1, 0, &mut content);
                number(2, integer()?, &mut content);
            }
        },
        Type::RawExtension | Type::FieldsV1 | Type::Any => bytes(1, value.to_string().as_bytes(), &mut content),
        Type::Object(schema) if schema.is_any() => schema_or(schema, value, name, &mut content)?,
        Type::Object(schema) => {
            message(schema, value.as_object().ok_or_else(|| invalid(name))?, &mut content)?;
        }
        Type::List(items) => {
            return wrapped(at, items.get(), value.as_array().ok_or_else(|| invalid(name))?, name, out);
        }
        // Maps of maps do not exist in protobuf.
        Type::Map(_) => return Err(invalid(name)),
    }
    bytes(at, &content, out);
    Ok(())
}

/// `JSONSchemaPropsOrBool`, `…OrArray`, `…OrStringArray`.
fn schema_or(type_: Schema, value: &Value, name: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    let json_schema = schema::named(JSON_SCHEMA).ok_or_else(|| invalid(name))?;
    let or_bool = type_.short_name().ends_with("OrBool");
    match value {
        Value::Bool(allows) if or_bool => number(1, i64::from(*allows), out),
        Value::Object(object) => {
            let mut content = Vec::new();
            message(json_schema, object, &mut content)?;
            if or_bool {
                number(1, 1, out);
            }
            bytes(if or_bool { 2 } else { 1 }, &content, out);
        }
        Value::Array(list) if !or_bool => {
            for value in list {
                match value {
                    Value::String(text) => bytes(2, text.as_bytes(), out),
                    Value::Object(object) => {
                        let mut content = Vec::new();
                        message(json_schema, object, &mut content)?;
                        bytes(2, &content, out);
                    }
                    _ => return Err(invalid(name)),
                }
            }
        }
        _ => return Err(invalid(name)),
    }
    Ok(())
}
