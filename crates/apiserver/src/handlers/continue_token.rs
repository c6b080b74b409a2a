//! Continue tokens of chunked lists: base64 of `{"v":"meta.k8s.io/v1","rv":7,"start":"default/web\0"}`.
//!
//! The layout is upstream's (`k8s.io/apiserver/pkg/storage/continue.go`), so tokens survive a switch of server.
use crate::options::At;
use apimachinery::ApiError;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    /// -1: continue at whatever revision is current.
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

/// `last_key` is the full key of the last item sent; `revision` `None` makes an inconsistent token.
pub fn encode(last_key: &str, prefix: &str, revision: Option<u64>) -> String {
    let start = last_key.strip_prefix(prefix).unwrap_or(last_key);
    let rv = revision.map_or(-1, |r| i64::try_from(r).unwrap_or(i64::MAX));
    let token = Token { v: VERSION.into(), rv, start: format!("{start}\0") };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// # Errors
/// `BadRequest` for anything this did not make.
pub fn decode(text: &str, prefix: &str) -> Result<At, ApiError> {
    let bad = |why: &str| ApiError::bad_request(format!("invalid continue token: {why}"));
    let bytes = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|e| bad(&format!("continue key is not valid: {e}")))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|e| bad(&format!("continue key is not valid: {e}")))?;
    if token.v != VERSION {
        return Err(bad(&format!(
            "continue key is not valid: server does not recognize this encoded version {:?}",
            token.v
        )));
    }
    if token.start.is_empty() {
        return Err(bad("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)"));
    }
    if token.rv == 0 {
        return Err(bad("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if token.start.split('/').any(|part| part == "..") || token.start.starts_with('/') {
        return Err(bad(&format!("continue key is not valid: {:?}", token.start)));
    }
    let start = token.start.strip_suffix('\0').unwrap_or(&token.start);
    Ok(At::Continue { after: format!("{prefix}{start}"), revision: u64::try_from(token.rv).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_hostile_tokens() {
        let token = encode("/registry/pods/default/web", "/registry/pods/", Some(7));
        let want = At::Continue { after: "/registry/pods/default/web".into(), revision: Some(7) };
        assert_eq!(decode(&token, "/registry/pods/"), Ok(want));
        let token = encode("/registry/pods/default/web", "/registry/pods/", None);
        assert!(matches!(decode(&token, "/registry/pods/"), Ok(At::Continue { revision: None, .. })));
        let escape = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":7,"start":"../secrets/x"}"#);
        let bad_tokens = ["", "%%%", "bnVsbA", "e30", &escape];
        for bad in bad_tokens {
            assert!(decode(bad, "/registry/pods/").is_err(), "{bad}");
        }
    }
}
