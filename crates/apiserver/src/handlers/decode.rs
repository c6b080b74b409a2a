//! From a request's body to an object: encoding, version, kind, strictness.
use crate::{
    chain::Ctx,
    codec,
    options::FieldValidation,
    registry::{Endpoint, api_version},
};
use api::Object;
use apimachinery::ApiError;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta<'a> {
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

/// The object in a request's body, in the storage version and not yet defaulted.
///
/// # Errors
/// `BadRequest` in upstream's words.
pub fn object(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    body: Bytes,
    strictness: FieldValidation,
) -> Result<Box<dyn Object>, ApiError> {
    let json = codec::body_json(&ctx.parts.headers, body)?;
    checked_json(endpoint, json, strictness, &mut ctx.warnings)
}

/// As [`object`], from JSON in the endpoint's version; `warnings` gets what is only warned about.
///
/// # Errors
/// `BadRequest` in upstream's words.
pub fn checked_json(
    endpoint: &Endpoint,
    json: Bytes,
    strictness: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, ApiError> {
    let meta: TypeMeta<'_> = serde_json::from_slice(&json).map_err(|e| {
        let (kind, version) = (endpoint.kind(), &endpoint.served().version);
        ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {e}"))
    })?;
    let as_storage = check_type(endpoint, &meta)?;
    let json = if as_storage { json } else { endpoint.convert_in(json)? };
    let decoded = endpoint.resource().decode(&json)?;
    strict(warnings, endpoint, strictness, &decoded.unknown_fields, &decoded.duplicate_fields)?;
    Ok(decoded.object)
}

/// Whether the body already is in the storage version although the endpoint's is another.
fn check_type(endpoint: &Endpoint, meta: &TypeMeta<'_>) -> Result<bool, ApiError> {
    let wanted = endpoint.kind();
    if let Some(kind) = meta.kind.as_deref().filter(|k| !k.is_empty())
        && kind != wanted
    {
        let version = meta.api_version.as_deref().unwrap_or(&endpoint.api_version);
        return Err(ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {wanted}: converting ({version}.{kind}) to ({}.{wanted}): unknown conversion",
            endpoint.api_version
        )));
    }
    match meta.api_version.as_deref().filter(|v| !v.is_empty()) {
        None => Ok(false),
        Some(version) if *version == *endpoint.api_version => Ok(false),
        Some(version) => {
            let storage = endpoint.info().served.first();
            if storage.is_some_and(|s| api_version(&s.group, &s.version) == version) {
                return Ok(true);
            }
            Err(ApiError::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({})",
                endpoint.api_version
            )))
        }
    }
}

fn strict(
    warnings: &mut Vec<String>,
    endpoint: &Endpoint,
    strictness: FieldValidation,
    unknown: &[String],
    duplicate: &[String],
) -> Result<(), ApiError> {
    if strictness == FieldValidation::Ignore || (unknown.is_empty() && duplicate.is_empty()) {
        return Ok(());
    }
    let texts = duplicate
        .iter()
        .map(|path| format!("duplicate field {path:?}"))
        .chain(unknown.iter().map(|path| format!("unknown field {path:?}")));
    if strictness == FieldValidation::Warn {
        warnings.extend(texts);
        return Ok(());
    }
    let all: Vec<String> = texts.collect();
    let (kind, version) = (endpoint.kind(), &endpoint.served().version);
    Err(ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
        all.join(", ")
    )))
}

/// The namespace of the path and the one in the body must agree; an empty one is filled in.
///
/// # Errors
/// `BadRequest` when they differ.
pub fn place(endpoint: &Endpoint, namespace: &str, object: &mut dyn Object) -> Result<(), ApiError> {
    let meta = object.metadata_mut();
    if !endpoint.namespaced() {
        meta.namespace = None;
        return Ok(());
    }
    match meta.namespace.as_deref() {
        None | Some("") => meta.namespace = Some(namespace.to_owned()),
        Some(own) if own == namespace => {}
        Some(_) => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}
