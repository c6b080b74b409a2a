//! What stands in the secret of a bootstrap token.
//!
//! Source: "Authenticating with Bootstrap Tokens".
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use std::time::Duration;

pub const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAME_PREFIX: &str = "bootstrap-token-";
const ID_LENGTH: usize = 6;

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let value = std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()?;
    Some(value).filter(|value| !value.is_empty())
}

/// How long the token is valid; nothing when it is for ever, zero when it is over, or nobody can tell.
pub fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let until = text(secret, "expiration")?;
    let until = apimachinery::time::parse(until).unwrap_or(now);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// ID and secret of a token that may sign now.
pub fn signing(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let named = secret.metadata.name.as_deref()?.strip_prefix(NAME_PREFIX)?;
    let (id, key) = (text(secret, "token-id")?, text(secret, "token-secret")?);
    let well_formed =
        id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) && id == named;
    let allowed = text(secret, "usage-bootstrap-signing") == Some("true");
    (well_formed && allowed && left(secret, now) != Some(Duration::ZERO)).then_some((id, key))
}
