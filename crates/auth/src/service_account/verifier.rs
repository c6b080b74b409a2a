//! Checks tokens and what they are bound to, and publishes the keys to check them with.
use super::{
    claims::{Claims, Reference, Stored},
    extra, jwt,
    keys::{PublicKey, public_keys},
};
use crate::{Error, Rejected, UserInfo, groups};
use serde_json::json;
use std::sync::Arc;
use storage::Lookup;

/// A bound object is good this long after its deletion began.
const DELETION_LEEWAY_SECONDS: i64 = 60;

/// A good token.
#[derive(Clone, Debug)]
pub struct Verified {
    pub user: Arc<UserInfo>,
    /// All audiences the token is for.
    pub audiences: Vec<String>,
    /// Seconds since the epoch.
    pub expires: i64,
    /// The token is used after the time its client should have renewed it.
    pub stale: bool,
}

/// Checks tokens (`--service-account-key-file`, `--service-account-issuer`, `--api-audiences`).
pub struct Verifier {
    keys: Vec<PublicKey>,
    issuers: Vec<String>,
    api_audiences: Vec<String>,
    lookup: Arc<dyn Lookup>,
}

impl Verifier {
    /// `key_pems`: public or private PEM, several keys a text allowed. `issuers`: all accepted, the first is issued.
    /// `api_audiences` empty means the first issuer.
    ///
    /// # Errors
    /// A text holds no usable key.
    pub fn new(
        key_pems: &[String],
        issuers: Vec<String>,
        api_audiences: Vec<String>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, Error> {
        let mut keys: Vec<PublicKey> = Vec::new();
        for text in key_pems {
            let fresh: Vec<PublicKey> =
                public_keys(text)?.into_iter().filter(|k| keys.iter().all(|known| known.id != k.id)).collect();
            keys.extend(fresh);
        }
        let api_audiences =
            if api_audiences.is_empty() { issuers.first().cloned().into_iter().collect() } else { api_audiences };
        Ok(Verifier { keys, issuers, api_audiences, lookup })
    }

    pub fn api_audiences(&self) -> &[String] {
        &self.api_audiences
    }

    /// Whether the token says one of our issuers made it.
    pub fn is_ours(&self, token: &str) -> bool {
        jwt::issuer(token).is_some_and(|issuer| self.issuers.contains(&issuer))
    }

    /// `now`: seconds since the epoch. Audiences are for the caller to compare.
    ///
    /// # Errors
    /// The signature, the time or a bound object is not good.
    pub fn verify(&self, token: &str, now: i64) -> Result<Verified, Rejected> {
        let refused = |why: &str| Rejected(why.to_owned());
        let claims = jwt::verified(token, &self.keys)
            .filter(|c| self.issuers.contains(&c.iss))
            .ok_or_else(|| refused("failed to validate service account token signature"))?;
        if now >= claims.exp {
            return Err(refused("service account token has expired"));
        }
        if now < claims.nbf {
            return Err(refused("service account token is not valid yet"));
        }
        self.check_bound(&claims, now)?;
        let k = &claims.kubernetes;
        if claims.sub != format!("{}{}:{}", crate::users::SERVICE_ACCOUNT_PREFIX, k.namespace, k.serviceaccount.name) {
            return Err(refused("invalid subject"));
        }
        let stale = k.warnafter.is_some_and(|at| now > at);
        if stale {
            tracing::debug!(subject = %claims.sub, "a service account token is used after it should have been renewed");
        }
        let mut user = UserInfo::of_service_account(&k.namespace, &k.serviceaccount.name, &k.serviceaccount.uid);
        user.groups.push(groups::AUTHENTICATED.to_owned());
        let mut note = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(key.to_owned(), vec![value.to_owned()]);
            }
        };
        if !claims.jti.is_empty() {
            note(extra::CREDENTIAL_ID, &format!("JTI={}", claims.jti));
        }
        if let Some(pod) = &k.pod {
            note(extra::POD_NAME, &pod.name);
            note(extra::POD_UID, &pod.uid);
        }
        if let Some(node) = &k.node {
            note(extra::NODE_NAME, &node.name);
            note(extra::NODE_UID, &node.uid);
        }
        Ok(Verified { user: Arc::new(user), audiences: claims.aud, expires: claims.exp, stale })
    }

    fn check_bound(&self, claims: &Claims, now: i64) -> Result<(), Rejected> {
        let k = &claims.kubernetes;
        let check = |what: &str, prefix: &str, namespace: &str, reference: &Reference| {
            let Some(object) = Stored::read(&*self.lookup, prefix, namespace, &reference.name) else {
                return Err(Rejected(format!(
                    "{what} {:?} does not exist: token has been invalidated",
                    reference.name
                )));
            };
            let gone =
                object.metadata.deletion_timestamp.is_some_and(|at| at.as_second() + DELETION_LEEWAY_SECONDS < now);
            if object.metadata.uid != reference.uid || gone {
                return Err(Rejected(format!(
                    "{what} {:?} has been deleted or recreated: token has been invalidated",
                    reference.name
                )));
            }
            Ok(())
        };
        check("service account", "serviceaccounts", &k.namespace, &k.serviceaccount)?;
        if let Some(secret) = &k.secret {
            check("secret", "secrets", &k.namespace, secret)?;
        }
        if let Some(pod) = &k.pod {
            check("pod", "pods", &k.namespace, pod)?;
        } else if let Some(node) = &k.node {
            // With a pod, the node is only told, not required.
            check("node", "minions", "", node)?;
        }
        Ok(())
    }

    /// `/openid/v1/jwks` (`application/jwk-set+json`).
    pub fn jwks(&self) -> Vec<u8> {
        let keys: Vec<serde_json::Value> = self
            .keys
            .iter()
            .map(|key| {
                let mut members = serde_json::Map::new();
                members.insert("use".into(), "sig".into());
                members.insert("kid".into(), key.id.as_str().into());
                members.insert("alg".into(), key.algorithm.into());
                members.extend(key.jwk.iter().map(|(k, v)| ((*k).to_owned(), v.as_str().into())));
                members.into()
            })
            .collect();
        json!({ "keys": keys }).to_string().into_bytes()
    }

    /// `/.well-known/openid-configuration` (`application/json`). `jwks_uri`: `--service-account-jwks-uri`, or the API
    /// server's own address with `/openid/v1/jwks`.
    pub fn openid_configuration(&self, jwks_uri: &str) -> Vec<u8> {
        let mut algorithms: Vec<&str> = self.keys.iter().map(|k| k.algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        json!({
            "issuer": self.issuers.first(),
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
        .to_string()
        .into_bytes()
    }
}
