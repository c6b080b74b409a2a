//! `/openapi/v2` and `/openapi/v3`.
use crate::{body::Body, chain::Ctx};
use apimachinery::ApiError;
use http::Response;

/// The documents, made when first asked for.
#[derive(Default)]
pub struct OpenApi {}

/// # Errors
/// 501 until the documents exist.
pub fn serve(_: &Ctx<'_>, _: &str) -> Result<Response<Body>, ApiError> {
    Err(ApiError::not_implemented("OpenAPI documents are not served yet"))
}
