//! A JSON Web Signature with its payload left out (RFC 7515, appendix F): who has the token can check the content.
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// `<header>..<signature>` of `content`, by HS256 with the token's secret as the key.
pub fn detached(content: &[u8], token_id: &str, token_secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(serde_json::json!({ "alg": "HS256", "kid": token_id }).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token_secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{header}..{signature}")
}
