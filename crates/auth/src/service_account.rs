//! Service account tokens.
use crate::Error;
use apimachinery::ApiError;
use k8s_openapi::api::authentication::v1::TokenRequest;
use std::sync::Arc;
use storage::Lookup;

/// Signs tokens (`--service-account-signing-key-file`).
pub struct Issuer {}

/// Limits and defaults of issued tokens.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The first `--service-account-issuer`.
    pub issuer: String,
    /// `--api-audiences`; used when a request names none.
    pub api_audiences: Vec<String>,
    /// `--service-account-max-token-expiration`; 0 is no limit.
    pub max_expiration_seconds: i64,
    /// `--service-account-extend-token-expiration`: tokens that kubelets ask for (3607 s) live a year, with a warning
    /// time in them.
    pub extend_expiration: bool,
}

impl Issuer {
    /// `signing_key_pem`: PKCS #1, PKCS #8 or SEC 1; RSA or ECDSA P-256.
    ///
    /// # Errors
    /// The key cannot be read or cannot sign.
    pub fn new(signing_key_pem: &str, config: IssuerConfig) -> Result<Self, Error> {
        let _ = (signing_key_pem, config);
        Ok(Issuer {})
    }

    /// The `token` subresource of service account `namespace`/`name`: checks the request and fills in its status.
    /// `now`: seconds since the epoch.
    ///
    /// # Errors
    /// `NotFound` (account or bound object), `Conflict` (uid), `Invalid`, `BadRequest` as upstream.
    pub fn token_request(
        &self,
        lookup: &dyn Lookup,
        namespace: &str,
        name: &str,
        request: TokenRequest,
        now: i64,
    ) -> Result<TokenRequest, ApiError> {
        let _ = (lookup, namespace, name, now);
        Ok(request)
    }
}

/// Checks tokens (`--service-account-key-file`, `--service-account-issuer`, `--api-audiences`).
pub struct Verifier {}

impl Verifier {
    /// `key_pems`: public or private PEM, several keys a text allowed. `issuers`: all accepted, the first is issued.
    ///
    /// # Errors
    /// A text holds no usable key.
    pub fn new(
        key_pems: &[String],
        issuers: Vec<String>,
        api_audiences: Vec<String>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, Error> {
        let _ = (key_pems, issuers, api_audiences, lookup);
        Ok(Verifier {})
    }

    /// `/openid/v1/jwks` (`application/jwk-set+json`).
    pub fn jwks(&self) -> Vec<u8> {
        Vec::new()
    }

    /// `/.well-known/openid-configuration` (`application/json`). `jwks_uri`: `--service-account-jwks-uri`, or the API
    /// server's own address with `/openid/v1/jwks`.
    pub fn openid_configuration(&self, jwks_uri: &str) -> Vec<u8> {
        let _ = jwks_uri;
        Vec::new()
    }
}
