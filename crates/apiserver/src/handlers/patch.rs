//! PATCH: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.
//!
//! A patch is applied to the object in the endpoint's version, and tried again with the newer object
//! when somebody else wrote in between. Server-side apply is not supported yet and says so.
use crate::{
    body::Body,
    chain::Ctx,
    handlers::{
        decode,
        update::{self, Current, Plan},
    },
    limits,
    negotiation::content_type,
    options::WriteOptions,
    registry::Endpoint,
    render,
};
use api::{Object, Target};
use apimachinery::{ApiError, codec::json_syntax, field, patch, schema, status::On};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A parsed patch.
pub enum Patch {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// # Errors
    /// 415 for a kind of patch that is not supported.
    pub fn check_kind(ctx: &Ctx<'_>) -> Result<(), ApiError> {
        match content_type(&ctx.parts.headers) {
            JSON_PATCH | MERGE_PATCH | STRATEGIC => Ok(()),
            _ => Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC}"
            ))),
        }
    }

    /// After [`Patch::check_kind`].
    ///
    /// # Errors
    /// 400 for what does not parse.
    pub fn parse(ctx: &Ctx<'_>, body: &Bytes) -> Result<Self, ApiError> {
        let parse = |prefix: &str| {
            let wrong = |why: String| Err(ApiError::bad_request(format!("{prefix}{why}")));
            match serde_json::from_slice::<Value>(body) {
                Ok(value @ (Value::Object(_) | Value::Null)) => Ok(value),
                Ok(other) => wrong(format!(
                    "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                    json_syntax::kind(&other)
                )),
                Err(e) => wrong(json_syntax::error(body).unwrap_or_else(|| e.to_string())),
            }
        };
        match content_type(&ctx.parts.headers) {
            JSON_PATCH => Ok(Patch::Json(body.clone())),
            MERGE_PATCH => parse("error decoding patch: ").map(Patch::Merge),
            _ => parse("").map(Patch::Strategic),
        }
    }

    /// Applied to JSON of this group, version and kind.
    ///
    /// # Errors
    /// `BadRequest` or `Invalid` when it does not fit the object.
    pub fn apply(&self, group: &str, version: &str, kind: &str, mut document: Value) -> Result<Value, ApiError> {
        match self {
            Patch::Json(operations) => {
                patch::json_patch(&mut document, operations)?;
                Ok(document)
            }
            Patch::Merge(merge) => {
                patch::merge_patch(&mut document, merge.clone());
                Ok(document)
            }
            Patch::Strategic(strategic) => {
                let Some(schema) = schema::of(group, version, kind) else {
                    return Err(ApiError::unsupported_media_type(format!(
                        "{STRATEGIC} is not supported for {kind}, use {MERGE_PATCH}"
                    )));
                };
                Ok(patch::strategic_merge_patch(document, strategic.clone(), schema)?)
            }
        }
    }
}

/// # Errors
/// The answer to the client.
pub async fn patch(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    target: Target,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    Patch::check_kind(ctx)?;
    let options = WriteOptions::parse(ctx.query, "PatchOptions")?;
    let patch = Patch::parse(ctx, &body)?;
    let name = ctx.info.name;
    let plan =
        Plan { target, subresource: ctx.info.subresource, options, attempts: limits::PATCH_ATTEMPTS, checked: true };
    // The closure below cannot borrow the request's context, which `apply` needs.
    let mut warnings = Vec::new();
    let mut findings = Findings { warnings: &mut warnings, options };
    let json =
        update::apply(ctx, endpoint, plan, |current| patched(endpoint, name, &patch, &current, &mut findings)).await?;
    ctx.warnings.extend(warnings);
    render::object(ctx, endpoint, json, StatusCode::OK)
}

/// The patched object is none of its kind: upstream tells that as an invalid value of the patch.
fn unfit(endpoint: &Endpoint, patch: &Patch, document: &Value, json: &[u8], error: ApiError) -> ApiError {
    const STRICT: &str = "strict decoding error: ";
    let served = endpoint.served();
    let Some((_, why)) = error.message.split_once(": ").filter(|_| error.code == 400) else { return error };
    let (shown, why) = match patch {
        Patch::Strategic(patch) => {
            let converted = || api::conversion_error(&served.group, &served.version, &served.kind, document);
            let why = if why.starts_with(STRICT) { None } else { converted() }.unwrap_or_else(|| why.to_owned());
            (go_map(patch), why)
        }
        _ => (String::from_utf8_lossy(json).into_owned(), why.to_owned()),
    };
    let error = field::Error::invalid(&field::Path::new("patch"), shown, why);
    ApiError::invalid(On { group: "", resource: "" }, "", &[error].into_iter().collect())
}

/// As Go prints parsed JSON with `%+v`.
fn go_map(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_map).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{}", go_map(value))).collect();
            members.sort_unstable();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

struct Findings<'a> {
    warnings: &'a mut Vec<String>,
    options: WriteOptions,
}

fn patched(
    endpoint: &Endpoint,
    name: &str,
    patch: &Patch,
    current: &Current<'_>,
    findings: &mut Findings<'_>,
) -> Result<Box<dyn Object>, ApiError> {
    let shown = endpoint.convert_out(&current.entry.json)?;
    let document: Value = serde_json::from_slice(&shown).map_err(ApiError::internal)?;
    let served = endpoint.served();
    let document = patch.apply(&served.group, &served.version, &served.kind, document)?;
    let json = Bytes::from(serde_json::to_vec(&document).map_err(ApiError::internal)?);
    if json.len() > limits::BODY_BYTES {
        return Err(ApiError::too_large(limits::BODY_TOO_LARGE));
    }
    findings.warnings.clear();
    let strictness = findings.options.field_validation;
    let mut new = decode::checked_json(endpoint, json.clone(), strictness, None, findings.warnings)
        .map_err(|error| unfit(endpoint, patch, &document, &json, error))?;
    update::check_name(name, &mut *new)?;
    if endpoint.namespaced() {
        let namespace = current.object.metadata().namespace.as_deref().unwrap_or_default();
        decode::place(endpoint, namespace, &mut *new)?;
    }
    endpoint.resource().default(&mut *new);
    Ok(new)
}
