//! Types whose JSON is not what their protobuf message looks like.
use super::{Error, MAGIC, message, unknown, unknown_to_json, wire::Reader};
use crate::schema::{self, Schema};
use jiff::Timestamp;
use serde_json::{Map, Value};

const JSON_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

pub fn int64_at(number: u32, bytes: &[u8], name: &str) -> Result<i64, Error> {
    let mut reader = Reader::new(bytes);
    let mut value = 0;
    while let Some(record) = reader.next()? {
        if record.number == number {
            value = record.varint(name)? as i64;
        }
    }
    Ok(value)
}

pub fn text_at<'a>(number: u32, bytes: &'a [u8], name: &str) -> Result<&'a str, Error> {
    let mut reader = Reader::new(bytes);
    let mut value = "";
    while let Some(record) = reader.next()? {
        if record.number == number {
            value = record.text(name)?;
        }
    }
    Ok(value)
}

/// Seconds and nanoseconds; all zero is no time.
pub fn time(bytes: &[u8], name: &str, shown: fn(Timestamp) -> String) -> Result<Option<Value>, Error> {
    let seconds = int64_at(1, bytes, name)?;
    let nanos = int64_at(2, bytes, name)?;
    // Go's zero time, the year 1, also stands for no time.
    const GO_ZERO_SECONDS: i64 = -62_135_596_800;
    if (seconds == 0 || seconds == GO_ZERO_SECONDS) && nanos == 0 {
        return Ok(None);
    }
    let invalid = || Error::Value(name.to_owned());
    let nanos = i32::try_from(nanos).map_err(|_| invalid())?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| invalid())?;
    Ok(Some(Value::from(shown(time))))
}

pub fn int_or_string(bytes: &[u8], name: &str) -> Result<Value, Error> {
    let is_text = int64_at(1, bytes, name)? == 1;
    if is_text {
        return Ok(Value::from(text_at(3, bytes, name)?));
    }
    Ok(Value::from(int64_at(2, bytes, name)? as i32))
}

/// JSON, or a body of its own; nothing is null.
pub fn raw(bytes: &[u8], name: &str, depth: usize) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let mut raw: &[u8] = &[];
    while let Some(record) = reader.next()? {
        if record.number == 1 {
            raw = record.bytes(name)?;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if raw.starts_with(MAGIC) {
        if depth > super::DEPTH_MAX {
            return Err(Error::Depth);
        }
        return unknown_to_json(&unknown(raw)?, depth + 1);
    }
    serde_json::from_slice(raw).map_err(|_| Error::Value(name.to_owned()))
}

/// `JSONSchemaPropsOrBool`, `…OrArray`, `…OrStringArray`.
pub fn schema_or(type_: Schema, bytes: &[u8], name: &str, depth: usize) -> Result<Value, Error> {
    let Some(json_schema) = schema::named(JSON_SCHEMA) else { return Ok(Value::Null) };
    let schema_at = |bytes: &[u8]| -> Result<Value, Error> {
        let mut object = Map::new();
        message(json_schema, bytes, &mut object, depth + 1)?;
        Ok(Value::Object(object))
    };
    let or_bool = type_.short_name().ends_with("OrBool");
    let mut single = None;
    let (mut list, mut has_list, mut allows) = (Vec::new(), false, false);
    let mut reader = Reader::new(bytes);
    while let Some(record) = reader.next()? {
        match (record.number, or_bool) {
            (1, true) => allows = record.varint(name)? != 0,
            (1, false) | (2, true) => single = Some(schema_at(record.bytes(name)?)?),
            (2, false) => {
                has_list = true;
                list.push(if type_.short_name().ends_with("OrArray") {
                    schema_at(record.bytes(name)?)?
                } else {
                    Value::from(record.text(name)?)
                });
            }
            _ => {}
        }
    }
    Ok(match single {
        Some(schema) if !has_list => schema,
        _ if or_bool => Value::Bool(allows),
        _ if has_list => Value::Array(list),
        _ => Value::Null,
    })
}
