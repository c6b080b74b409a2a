//! Who asks, and whether he may: client certificates, tokens (TokenReview) and access (SubjectAccessReview).
//!
//! Always true: what cannot be decided is refused; answers are remembered for a bounded time and number; tokens
//! are remembered by their hash alone.
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};
use parking_lot::Mutex;
use pki::tls::ClientVerifier;
use rustls::pki_types::CertificateDer;
use serving::delegated::{User, allowed, bearer, holder, token_user};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Error, attributes, tls};
use crate::config::{AuthorizationMode, Config};

const BAD_TOKEN_TTL: Duration = Duration::from_secs(10);
const REMEMBERED: usize = 1024;

/// A user of one group.
fn member(name: impl Into<String>, group: &str) -> User {
    User { name: name.into(), groups: vec![group.to_owned()], ..User::default() }
}

/// A refusal: status and text.
pub type Refusal = (StatusCode, String);

fn unauthorized() -> Refusal {
    (StatusCode::UNAUTHORIZED, "Unauthorized".into())
}

/// Answers that hold for a while.
struct Memory<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    fn new() -> Self {
        Memory(Mutex::new(HashMap::new()))
    }

    fn get(&self, key: &K) -> Option<V> {
        let all = self.0.lock();
        let (until, value) = all.get(key)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    fn put(&self, key: K, value: V, ttl: Duration) {
        let now = Instant::now();
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED {
            all.retain(|_, (until, _)| *until > now);
        }
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(key, (now + ttl, value));
    }
}

type Question = (Arc<User>, &'static str, &'static str);

/// Authentication and authorization as configured.
pub struct Auth {
    node: String,
    clients: Option<ClientVerifier>,
    anonymous: bool,
    tokens: Option<kube::Client>,
    access: Option<kube::Client>,
    known_tokens: Memory<[u8; 32], Option<Arc<User>>>,
    known_access: Memory<Question, bool>,
    token_ttl: Duration,
    allowed_ttl: Duration,
    refused_ttl: Duration,
}

impl Auth {
    /// # Errors
    /// A webhook is configured and there is no API server to ask, or the authority of client certificates is of no use.
    pub fn new(config: &Config, client: Option<kube::Client>) -> Result<Auth, Error> {
        let webhook = |wanted: bool, what| match (wanted, client.clone()) {
            (false, _) => Ok(None),
            (true, None) => Err(Error::NoClient(what)),
            (true, client) => Ok(client),
        };
        Ok(Auth {
            node: config.node_name.clone(),
            clients: tls::client_ca(config)?.as_deref().map(pki::tls::client_verifier).transpose()?,
            anonymous: config.anonymous_auth,
            tokens: webhook(config.token_webhook, "authentication")?,
            access: webhook(config.authorization == AuthorizationMode::Webhook, "authorization")?,
            known_tokens: Memory::new(),
            known_access: Memory::new(),
            token_ttl: config.token_ttl,
            allowed_ttl: config.allowed_ttl,
            refused_ttl: config.refused_ttl,
        })
    }

    /// Lets a request in or says why not.
    ///
    /// # Errors
    /// 401 for who is unknown, 403 for who may not, 500 when the API server could not be asked.
    pub async fn admit(
        &self,
        peer: &[CertificateDer<'_>],
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<(), Refusal> {
        let user = self.authenticate(peer, headers).await?;
        self.authorize(user, attributes::verb(method), attributes::subresources(path)).await
    }

    async fn authenticate(&self, peer: &[CertificateDer<'_>], headers: &HeaderMap) -> Result<Arc<User>, Refusal> {
        let refused = match self.clients.as_ref().map_or(Ok(None), |verifier| holder(verifier, peer)) {
            Ok(Some(user)) => return Ok(Arc::new(user)),
            Ok(None) => None,
            Err(why) => Some(why),
        };
        match (&self.tokens, bearer(headers), refused) {
            (Some(client), Some(token), _) => self.token(client, token).await?.ok_or_else(unauthorized),
            (_, _, Some(why)) => {
                tracing::error!(why, "unable to authenticate the request");
                Err(unauthorized())
            }
            _ if self.anonymous => Ok(Arc::new(member("system:anonymous", "system:unauthenticated"))),
            _ => Err(unauthorized()),
        }
    }

    async fn token(&self, client: &kube::Client, token: &str) -> Result<Option<Arc<User>>, Refusal> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.known_tokens.get(&hash) {
            return Ok(known);
        }
        let user = token_user(client, token).await.map_err(|why| {
            tracing::error!(why, "unable to authenticate the request");
            unauthorized()
        })?;
        let user = user.map(Arc::new);
        let ttl = if user.is_some() { self.token_ttl } else { self.token_ttl.min(BAD_TOKEN_TTL) };
        self.known_tokens.put(hash, user.clone(), ttl);
        Ok(user)
    }

    async fn authorize(
        &self,
        user: Arc<User>,
        verb: &'static str,
        subresources: &'static [&'static str],
    ) -> Result<(), Refusal> {
        let Some(client) = &self.access else { return Ok(()) };
        for subresource in subresources {
            let question = (user.clone(), verb, *subresource);
            let allowed = match self.known_access.get(&question) {
                Some(known) => known,
                None => {
                    let allowed = self.review(client, &question).await.map_err(|why| {
                        let name = &user.name;
                        tracing::error!(user = %name, verb, subresource, why, "authorization error");
                        let asked = format!("user={name}, verb={verb}, resource=nodes, subresource={subresource}");
                        (StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error ({asked})"))
                    })?;
                    self.known_access.put(question, allowed, if allowed { self.allowed_ttl } else { self.refused_ttl });
                    allowed
                }
            };
            if allowed {
                return Ok(());
            }
        }
        Err((StatusCode::FORBIDDEN, forbidden(&user.name, verb, subresources)))
    }

    async fn review(&self, client: &kube::Client, (user, verb, subresource): &Question) -> Result<bool, String> {
        let attributes = ResourceAttributes {
            verb: Some((*verb).to_owned()),
            version: Some("v1".into()),
            resource: Some("nodes".into()),
            subresource: Some((*subresource).to_owned()),
            name: Some(self.node.clone()),
            ..Default::default()
        };
        let asked = SubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        allowed(client, user, asked).await
    }
}

fn forbidden(user: &str, verb: &str, subresources: &[&str]) -> String {
    let list = subresources.join(" ");
    format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{list}])\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bearer_tokens() {
        for (value, wanted) in
            [("Bearer abc", Some("abc")), ("bearer  abc ", Some("abc")), ("Basic abc", None), ("Bearer ", None)]
        {
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(bearer(&headers), wanted, "{value}");
        }
        assert_eq!(
            forbidden("x", "get", &["pods", "proxy"]),
            "Forbidden (user=x, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_forgotten_in_time_and_never_too_many() {
        let memory = Memory::new();
        let ttl = Duration::from_secs(30);
        memory.put(1, true, ttl);
        assert_eq!(memory.get(&1), Some(true));
        tokio::time::advance(ttl).await;
        assert_eq!(memory.get(&1), None);
        (0..5000).for_each(|key| memory.put(key, true, ttl));
        assert!(memory.0.lock().len() <= REMEMBERED);
    }
}
