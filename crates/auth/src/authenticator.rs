//! Authentication: the credentials of a request in, a [`UserInfo`] out.
//!
//! Order as upstream: authenticating proxy, client certificate, then bearer token, then anonymous. A bearer token that nobody accepts is an
//! error even when anonymous requests are allowed.
use crate::request_header::RequestHeader;
use crate::{UserInfo, bootstrap_token, certificate::Certificates, service_account, static_token};
use apimachinery::ApiError;
use async_trait::async_trait;
use cache::TokenCache;
use http::{HeaderMap, header::AUTHORIZATION};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

mod cache;

/// Where a request's identity can be read from.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    pub headers: &'a http::HeaderMap,
    /// The chain of which the TLS peer holds the key, leaf first, not verified otherwise; empty for none.
    pub peer_certificates: &'a [CertificateDer<'a>],
}

/// Credentials were given and are not good, or none were given and some are needed. Answered with 401; the text is
/// for the log only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// `--requestheader-client-ca-file` and friends
    pub request_header: Option<RequestHeader>,
    /// `--client-ca-file`: what it signed names a user.
    pub client_certificates: Option<Certificates>,
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
    cache: TokenCache,
    anonymous: Arc<UserInfo>,
}

/// A token that some authenticator accepts.
#[derive(Clone)]
struct Accepted {
    user: Arc<UserInfo>,
    /// `None`: the token knows no audiences and is good for the API server's own.
    audiences: Option<Vec<String>>,
    /// Seconds since the epoch.
    expires: i64,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Union {
    pub fn new(mut config: Config) -> Self {
        if config.api_audiences.is_empty()
            && let Some(verifier) = &config.service_accounts
        {
            config.api_audiences = verifier.api_audiences().to_vec();
        }
        let anonymous = Arc::new(UserInfo::anonymous());
        Union { config, cache: TokenCache::default(), anonymous }
    }

    /// For `TokenReview`. `audiences` empty asks for the API server's own.
    ///
    /// # Errors
    /// [`Rejected`] says why the token is not good; it is the review's `status.error`.
    pub fn review_token(&self, token: &str, audiences: &[String]) -> Result<Reviewed, Rejected> {
        self.review_token_at(token, audiences, now())
    }

    fn review_token_at(&self, token: &str, audiences: &[String], now: i64) -> Result<Reviewed, Rejected> {
        let wanted = if audiences.is_empty() { &self.config.api_audiences } else { audiences };
        let accepted = match self.cache.get(token, now) {
            Some(known) => known,
            None => {
                let accepted = self.accept(token, now)?;
                self.cache.put(token, &accepted, now);
                accepted
            }
        };
        if now >= accepted.expires {
            return Err(Rejected("token has expired".into()));
        }
        let own = accepted.audiences.as_ref().unwrap_or(&self.config.api_audiences);
        let common: Vec<String> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
        if common.is_empty() && !(wanted.is_empty() && own.is_empty()) {
            return Err(Rejected(format!(
                "[invalid bearer token, token audiences {own:?} is invalid for the target audiences {wanted:?}]"
            )));
        }
        Ok(Reviewed { user: accepted.user, audiences: common })
    }

    /// Asks each token authenticator; the first that knows the token decides.
    fn accept(&self, token: &str, now: i64) -> Result<Accepted, Rejected> {
        let forever = |user| Accepted { user, audiences: None, expires: i64::MAX };
        if let Some(user) = self.config.static_tokens.as_ref().and_then(|t| t.user(token)) {
            return Ok(forever(user));
        }
        if let Some(verifier) = self.config.service_accounts.as_ref().filter(|v| v.is_ours(token)) {
            let verified = verifier.verify(token, now)?;
            let (audiences, expires) = (Some(verified.audiences), verified.expires);
            return Ok(Accepted { user: verified.user, audiences, expires });
        }
        if let Some(tokens) = &self.config.bootstrap_tokens
            && let Some(user) = tokens.user(token, now)?
        {
            return Ok(forever(user));
        }
        Err(Rejected("invalid bearer token".into()))
    }
}

/// The token of `Authorization: Bearer …`, or of the WebSocket subprotocol browsers have to use instead.
fn bearer_token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok())
        && let Some((scheme, token)) = value.trim().split_once(' ')
        && scheme.eq_ignore_ascii_case("bearer")
        && !token.trim().is_empty()
    {
        return Some(token.trim().to_owned());
    }
    websocket_token(headers)
}

/// `base64url.bearer.authorization.k8s.io.<token>` among the subprotocols of a WebSocket upgrade.
fn websocket_token(headers: &HeaderMap) -> Option<String> {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
    let offered = headers.get_all("sec-websocket-protocol").iter().filter_map(|v| v.to_str().ok());
    let encoded = offered.flat_map(|v| v.split(',')).find_map(|p| p.trim().strip_prefix(PREFIX))?;
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?).ok()
}

#[async_trait]
impl Authenticator for Union {
    /// Never `Ok(None)`: without credentials the answer is anonymous or an error.
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Arc<UserInfo>>, Rejected> {
        let mut refused = None;
        let peer = credentials.peer_certificates;
        if let Some(proxy) = &self.config.request_header {
            match proxy.user(peer, credentials.headers) {
                Ok(Some(user)) => return Ok(Some(user)),
                Ok(None) => {}
                Err(error) => refused = Some(error),
            }
        }
        if let Some(certificates) = &self.config.client_certificates {
            match certificates.user(peer, now()) {
                Ok(Some(user)) => return Ok(Some(user)),
                Ok(None) => {}
                Err(error) => refused = Some(error),
            }
        }
        if let Some(token) = bearer_token(credentials.headers) {
            return self.review_token(&token, &[]).map(|reviewed| Some(reviewed.user));
        }
        match refused {
            Some(error) => Err(error),
            None if self.config.anonymous => Ok(Some(Arc::clone(&self.anonymous))),
            None => Err(Rejected("no credentials were given".into())),
        }
    }
}

#[cfg(test)]
mod tests;
