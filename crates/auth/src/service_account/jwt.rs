//! JSON Web Signatures in compact form (RFC 7515): three base64url parts joined by dots.
use super::{
    claims::Claims,
    keys::{PrivateKey, PublicKey},
};
use crate::Error;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

/// No token of ours comes near; what is longer is not worth decoding.
const MAX_TOKEN_BYTES: usize = 64 << 10;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header {
    alg: String,
    kid: String,
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

pub(super) fn sign(key: &PrivateKey, algorithm: &str, key_id: &str, claims: &Claims) -> Result<String, Error> {
    let payload = serde_json::to_vec(claims).map_err(|e| Error::Key(e.to_string()))?;
    let header = format!("{{\"alg\":\"{algorithm}\",\"kid\":\"{key_id}\"}}");
    let mut token = BASE64_URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// Who claims to have issued the token, unverified; `None` when it is no JWT.
pub(super) fn issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issued {
        iss: String,
    }
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    serde_json::from_slice::<Issued>(&decode(payload)?).ok().map(|i| i.iss)
}

/// The claims of a token signed by one of `keys`; `None` otherwise. The key decides the algorithm, not the token.
pub(super) fn verified(token: &str, keys: &[PublicKey]) -> Option<Claims> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    let signature = decode(signature)?;
    let by_id = keys.iter().any(|k| k.id == header.kid);
    keys.iter()
        .filter(|k| k.algorithm == header.alg && (!by_id || k.id == header.kid))
        .find(|k| k.verify(signed.as_bytes(), &signature))?;
    serde_json::from_slice(&decode(payload)?).ok()
}
