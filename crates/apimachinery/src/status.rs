//! API errors: `Status` objects with upstream's reasons, codes and message forms.
//!
//! Source: API conventions, "Response Status Kind"; message forms as `k8s.io/apimachinery/pkg/api/errors`
//! words them, because clients match on them.
use crate::field;
use serde::{Deserialize, Serialize};

/// An error answer of the API. Serialises as a `v1.Status`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable cause, such as `NotFound`; empty when upstream leaves it out.
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// The resource an error speaks of: group may be empty.
#[derive(Clone, Copy, Debug)]
pub struct On<'a> {
    pub group: &'a str,
    /// Plural (`pods`), except in `Invalid`, which names the kind.
    pub resource: &'a str,
}

impl std::fmt::Display for On<'_> {
    /// `pods`, `deployments.apps`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        ApiError { code, reason, message: message.into(), details: None }
    }

    fn about(code: u16, reason: &'static str, on: On<'_>, name: &str, message: String) -> Self {
        let details =
            Details { name: name.into(), group: on.group.into(), kind: on.resource.into(), ..Details::default() };
        ApiError { code, reason, message, details: Some(Box::new(details)) }
    }

    pub fn not_found(on: On<'_>, name: &str) -> Self {
        Self::about(404, "NotFound", on, name, format!("{on} \"{name}\" not found"))
    }

    /// The path leads nowhere (no such resource), as opposed to no such object.
    pub fn no_such_path() -> Self {
        let mut e = Self::new(404, "NotFound", "the server could not find the requested resource");
        e.details = Some(Box::default());
        e
    }

    pub fn already_exists(on: On<'_>, name: &str) -> Self {
        Self::about(409, "AlreadyExists", on, name, format!("{on} \"{name}\" already exists"))
    }

    /// `cause` is what stood in the way, for example [`OBJECT_MODIFIED`].
    pub fn conflict(on: On<'_>, name: &str, cause: &str) -> Self {
        Self::about(409, "Conflict", on, name, format!("Operation cannot be fulfilled on {on} \"{name}\": {cause}"))
    }

    /// `why` may be empty.
    pub fn forbidden(on: On<'_>, name: &str, why: &str) -> Self {
        let message = match (on.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (_, true) => format!("{on} is forbidden: {why}"),
            _ => format!("{on} \"{name}\" is forbidden: {why}"),
        };
        Self::about(403, "Forbidden", on, name, message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// `on.resource` is the kind here (`Pod`), as upstream has it.
    pub fn invalid(on: On<'_>, name: &str, errors: &field::ErrorList) -> Self {
        let mut e = Self::about(422, "Invalid", on, name, format!("{on} \"{name}\" is invalid: {errors}"));
        if let Some(details) = e.details.as_mut() {
            details.causes = errors.iter().map(field::Error::cause).collect();
        }
        e
    }

    pub fn method_not_supported(on: On<'_>, verb: &str) -> Self {
        Self::about(405, "MethodNotAllowed", on, "", format!("{verb} is not supported on resources of kind \"{on}\""))
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The resource version asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        let mut e = Self::new(429, "TooManyRequests", message);
        e.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        e
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = message.to_string();
        let mut e = Self::new(500, "InternalError", format!("Internal error occurred: {text}"));
        let cause = Cause { message: text, ..Cause::default() };
        e.details = Some(Box::new(Details { causes: vec![cause], ..Details::default() }));
        e
    }

    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// The `v1.Status` body, compact, ending in a newline as upstream's encoder does.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            kind: &'static str,
            api_version: &'static str,
            metadata: serde_json::Map<String, serde_json::Value>,
            status: &'static str,
            message: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            reason: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<&'a Details>,
            code: u16,
        }
        let wire = Wire {
            kind: "Status",
            api_version: "v1",
            metadata: Default::default(),
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self.details.as_deref(),
            code: self.code,
        };
        // Strings and integers only: serialising cannot fail.
        let mut out = serde_json::to_vec(&wire).unwrap_or_default();
        out.push(b'\n');
        out
    }
}

/// The cause of every lost optimistic-concurrency race; clients match on it.
pub const OBJECT_MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_is_upstreams() {
        let pods = On { group: "", resource: "pods" };
        let deployments = On { group: "apps", resource: "deployments" };
        assert_eq!(ApiError::not_found(pods, "web").message, "pods \"web\" not found");
        assert_eq!(ApiError::already_exists(deployments, "web").message, "deployments.apps \"web\" already exists");
        assert_eq!(
            ApiError::conflict(deployments, "web", OBJECT_MODIFIED).message,
            "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply \
             your changes to the latest version and try again"
        );
    }

    #[test]
    fn body_is_a_status() {
        let body = ApiError::not_found(On { group: "", resource: "pods" }, "web").to_json();
        assert_eq!(
            String::from_utf8(body).expect("utf-8"),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"pods \
             \\\"web\\\" not found\",\"reason\":\"NotFound\",\"details\":{\"name\":\"web\",\"kind\":\"pods\"},\"code\":404}\n"
        );
    }
}
