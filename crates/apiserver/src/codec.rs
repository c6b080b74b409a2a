//! Request bodies to JSON, and JSON to what the client asked for.
use crate::negotiation::{self, Encoding};
use apimachinery::{
    ApiError,
    codec::{Error, protobuf, yaml},
};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// The body as JSON, whatever it was sent as.
///
/// # Errors
/// 415 for an unknown encoding, 400 for a body that does not parse.
pub fn body_json(headers: &HeaderMap, body: Bytes) -> Result<Bytes, ApiError> {
    match negotiation::body_encoding(headers)? {
        Encoding::Json => Ok(body),
        Encoding::Yaml => yaml_to_json(&body),
        Encoding::Protobuf => protobuf_to_json(&body),
    }
}

/// As [`body_json`], with what strict decoding complains about in YAML.
///
/// # Errors
/// As [`body_json`].
pub fn object_json(headers: &HeaderMap, body: Bytes) -> Result<(Bytes, Option<String>), ApiError> {
    if negotiation::body_encoding(headers)? != Encoding::Yaml {
        return Ok((body_json(headers, body)?, None));
    }
    let text = std::str::from_utf8(&body).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let (value, complaint) = yaml::parse_tolerant(text)?;
    Ok((to_bytes(&value)?, complaint))
}

/// # Errors
/// 400 when it is not YAML.
pub fn yaml_to_json(body: &Bytes) -> Result<Bytes, ApiError> {
    let text = std::str::from_utf8(body).map_err(|e| ApiError::bad_request(e.to_string()))?;
    to_bytes(&yaml::parse(text)?)
}

fn protobuf_to_json(body: &Bytes) -> Result<Bytes, ApiError> {
    if body.is_empty() {
        // Deletions may come without options.
        return Ok(Bytes::new());
    }
    to_bytes(&protobuf::to_json(body).map_err(Error::from)?)
}

fn to_bytes(value: &Value) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(ApiError::internal)
}

/// # Errors
/// 500 when `json` is not JSON.
pub fn json_to_yaml(json: &[u8]) -> Result<Vec<u8>, ApiError> {
    let value: Value = serde_json::from_slice(json).map_err(ApiError::internal)?;
    Ok(yaml::to_string(&value).into_bytes())
}
