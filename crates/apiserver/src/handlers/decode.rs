//! From a request's body to an object: encoding, version, kind, strictness.
use crate::{
    chain::Ctx,
    codec,
    options::FieldValidation,
    registry::{self, Endpoint},
};
use api::Object;
use apimachinery::{ApiError, codec::json_syntax, schema};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
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
    let (json, complaint) = codec::object_json(&ctx.parts.headers, body)?;
    checked_json(endpoint, json, strictness, complaint, &mut ctx.warnings)
}

/// As [`object`], from JSON in the endpoint's version; `warnings` gets what is only warned about. `complaint` is
/// one more thing that strictness does not allow.
///
/// # Errors
/// `BadRequest` in upstream's words.
pub fn checked_json(
    endpoint: &Endpoint,
    json: Bytes,
    strictness: FieldValidation,
    complaint: Option<String>,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, ApiError> {
    let (json, as_storage) = read_type(endpoint, json)?;
    let json = if as_storage { json } else { endpoint.convert_in(json)? };
    let decoded = endpoint.resource().decode(&json)?;
    let duplicates = decoded.duplicate_fields.iter().map(|path| format!("duplicate field {path:?}"));
    let unknown = decoded.unknown_fields.iter().map(|path| format!("unknown field {path:?}"));
    strict(warnings, endpoint, strictness, complaint.into_iter().chain(duplicates).chain(unknown).collect())?;
    Ok(decoded.object)
}

/// The body, made readable where upstream is more tolerant than our parser, and whether it is in the storage
/// version although the endpoint's is another.
fn read_type(endpoint: &Endpoint, mut json: Bytes) -> Result<(Bytes, bool), ApiError> {
    if std::str::from_utf8(&json).is_err() {
        // As Go reads it.
        json = String::from_utf8_lossy(&json).into_owned().into();
    }
    if json.trim_ascii_start().starts_with(b"{")
        && let Ok(meta) = serde_json::from_slice::<TypeMeta<'_>>(&json)
    {
        let as_storage = check_type(endpoint, &meta)?;
        return Ok((json, as_storage));
    }
    let unreadable = |why: String| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {why} ({})",
            endpoint.kind(),
            summary(&json)
        ))
    };
    let value = match serde_json::from_slice::<Value>(&json) {
        Ok(value) => value,
        Err(_) => {
            let why = json_syntax::error(&json).unwrap_or_else(|| "exceeded max depth".to_owned());
            return Err(unreadable(why));
        }
    };
    let object = match value {
        Value::Null => serde_json::Map::new(),
        // A member twice: the last one counts.
        Value::Object(object) => object,
        other => {
            let kind = json_syntax::kind(&other);
            return Err(unreadable(format!("json: cannot unmarshal {kind} into Go value of type {GO_TYPE_META}")));
        }
    };
    for name in ["apiVersion", "kind"] {
        if let Some(other) = object.get(name).filter(|v| !v.is_string() && !v.is_null()) {
            let kind = json_syntax::kind(other);
            return Err(unreadable(format!(
                "json: cannot unmarshal {kind} into Go struct field .{name} of type string"
            )));
        }
    }
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(Cow::from);
    let as_storage = check_type(endpoint, &TypeMeta { api_version: text("apiVersion"), kind: text("kind") })?;
    let json = serde_json::to_vec(&object).map_err(ApiError::internal)?;
    Ok((json.into(), as_storage))
}

/// How Go prints the type that it reads version and kind into.
const GO_TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
/// Bytes of an unreadable body that the answer shows.
const SUMMARY_BYTES: usize = 30;

fn summary(json: &[u8]) -> String {
    let (shown, more) = match json.get(..SUMMARY_BYTES) {
        Some(start) if json.len() > SUMMARY_BYTES => (start, " ..."),
        _ => (json, ""),
    };
    match json.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: String = shown.iter().map(|b| format!("{b:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

/// Whether the body already is in the storage version although the endpoint's is another.
fn check_type(endpoint: &Endpoint, meta: &TypeMeta<'_>) -> Result<bool, ApiError> {
    let wanted = endpoint.kind();
    let given = |text: &Option<Cow<'_, str>>| text.as_deref().filter(|t| !t.is_empty()).map(str::to_owned);
    let kind = given(&meta.kind).unwrap_or_else(|| wanted.to_owned());
    let api_version = given(&meta.api_version).unwrap_or_else(|| endpoint.api_version.to_string());
    let same_version = *api_version == *endpoint.api_version;
    if kind == wanted && same_version {
        return Ok(false);
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let unhandled = |why: String| {
        ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {wanted}: {why}"))
    };
    if schema::of_api_version(&api_version, &kind).is_none() {
        return Err(unhandled(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \
             \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        )));
    }
    if kind != wanted {
        let internal = internal_package(&endpoint.served().group);
        return Err(unhandled(format!("converting ({version}.{kind}) to ({internal}.{wanted}): unknown conversion")));
    }
    let storage = endpoint.info().served.first();
    if storage.is_some_and(|s| registry::api_version(&s.group, &s.version) == api_version) {
        return Ok(true);
    }
    Err(ApiError::bad_request(format!(
        "the API version in the data ({api_version}) does not match the expected API version ({})",
        endpoint.api_version
    )))
}

/// Where upstream keeps the group's types that conversions go through.
fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        other => other.split('.').next().unwrap_or_default(),
    }
}

fn strict(
    warnings: &mut Vec<String>,
    endpoint: &Endpoint,
    strictness: FieldValidation,
    complaints: Vec<String>,
) -> Result<(), ApiError> {
    if strictness == FieldValidation::Ignore || complaints.is_empty() {
        return Ok(());
    }
    if strictness == FieldValidation::Warn {
        warnings.extend(complaints);
        return Ok(());
    }
    let (kind, version) = (endpoint.kind(), &endpoint.served().version);
    Err(ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
        complaints.join(", ")
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
