//! The encodings of API objects: JSON (the one we work in), YAML and protobuf (which become JSON on arrival).
pub mod json;
pub mod json_syntax;
pub mod protobuf;
pub mod yaml;

use crate::ApiError;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Json(String),
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    #[error("protobuf: {0}")]
    Protobuf(#[from] protobuf::Error),
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        ApiError::bad_request(error.to_string())
    }
}
