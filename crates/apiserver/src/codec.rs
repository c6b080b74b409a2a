//! Request bodies to storage-version JSON, and JSON to what the client asked for.
use crate::negotiation::{self, Encoding};
use apimachinery::ApiError;
use bytes::Bytes;
use http::HeaderMap;

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

/// # Errors
/// 400 when it is not YAML.
pub fn yaml_to_json(body: &Bytes) -> Result<Bytes, ApiError> {
    let _ = body;
    Err(ApiError::unsupported_media_type("YAML request bodies are not supported yet, send application/json"))
}

fn protobuf_to_json(body: &Bytes) -> Result<Bytes, ApiError> {
    let why = "protobuf request bodies are not supported yet, send application/json";
    let _ = body;
    Err(ApiError::unsupported_media_type(why))
}

/// # Errors
/// 500 when `json` is not JSON.
pub fn json_to_yaml(json: &[u8]) -> Result<Vec<u8>, ApiError> {
    let _ = json;
    Err(ApiError::not_acceptable("YAML responses are not supported yet"))
}
