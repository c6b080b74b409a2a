//! ConfigMaps, Secrets and service-account tokens that pods of this node refer to.
//!
//! Objects are read when they are needed, never kept: a pod that starts sees the newest. Tokens are kept in
//! memory until they have used up four fifths of their life.
use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;

use crate::spec;

/// An object could not be had. Displays as the API server's own words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Missing {
    pub message: String,
    pub not_found: bool,
}

#[derive(Clone)]
struct Token {
    value: String,
    renew_at: Timestamp,
}

type TokenKey = (String, String, String, i64);

/// Reads from the API.
pub struct Objects {
    client: Option<kube::Client>,
    /// Bounded by the tokens of pods on this node; those of gone pods leave with [`Objects::forget`].
    tokens: Mutex<HashMap<TokenKey, Token>>,
}

/// Upstream's kubelet names the kind in the singular where it says that an object is not there.
fn missing_object(kind: &str, name: &str, error: kube::Error) -> Missing {
    let found = missing(error);
    if found.not_found { Missing { message: format!("{kind} \"{name}\" not found"), ..found } } else { found }
}

fn missing(error: kube::Error) -> Missing {
    match error {
        kube::Error::Api(status) => Missing { not_found: status.code == 404, message: status.message.clone() },
        other => Missing { message: client::told(&other), not_found: false },
    }
}

impl Objects {
    pub fn new(client: Option<kube::Client>) -> Objects {
        Objects { client, tokens: Mutex::default() }
    }

    fn client(&self) -> Result<kube::Client, Missing> {
        let none = || Missing { message: "this kubelet has no API server".into(), not_found: false };
        self.client.clone().ok_or_else(none)
    }

    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<ConfigMap, Missing> {
        Api::<ConfigMap>::namespaced(self.client()?, namespace)
            .get(name)
            .await
            .map_err(|e| missing_object("configmap", name, e))
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, Missing> {
        Api::<Secret>::namespaced(self.client()?, namespace)
            .get(name)
            .await
            .map_err(|e| missing_object("secret", name, e))
    }

    pub async fn claim(&self, namespace: &str, name: &str) -> Result<PersistentVolumeClaim, Missing> {
        Api::<PersistentVolumeClaim>::namespaced(self.client()?, namespace).get(name).await.map_err(missing)
    }

    pub async fn persistent_volume(&self, name: &str) -> Result<PersistentVolume, Missing> {
        Api::<PersistentVolume>::all(self.client()?).get(name).await.map_err(missing)
    }

    /// The runtime's name for what a RuntimeClass stands for.
    pub async fn runtime_handler(&self, class: &str) -> Result<String, Missing> {
        let found = Api::<RuntimeClass>::all(self.client()?).get(class).await.map_err(missing)?;
        Ok(found.handler)
    }

    /// A token of the pod's service account, bound to the pod.
    pub async fn token(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        expiration_s: i64,
        now: Timestamp,
    ) -> Result<String, Missing> {
        let account = spec::spec(pod).service_account_name.as_deref().unwrap_or("default");
        let key =
            (spec::uid(pod).to_owned(), account.to_owned(), audience.unwrap_or_default().to_owned(), expiration_s);
        if let Some(token) = self.tokens.lock().get(&key).filter(|token| token.renew_at > now) {
            return Ok(token.value.clone());
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: audience.map(|a| vec![a.to_owned()]),
                expiration_seconds: Some(expiration_s),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..Default::default()
        };
        let api = Api::<ServiceAccount>::namespaced(self.client()?, spec::namespace(pod));
        let made: TokenRequest =
            api.create_subresource("token", account, &PostParams::default(), &request).await.map_err(missing)?;
        let status = made.status.unwrap_or_default();
        let ends = status.expiration_timestamp.map_or(now, |time| time.0);
        let left = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
        let use_for = (left * 4 / 5).min(Duration::from_secs(24 * 3600));
        let renew_at = now.checked_add(use_for).unwrap_or(now);
        let value = status.token.unwrap_or_default();
        self.tokens.lock().insert(key, Token { value: value.clone(), renew_at });
        Ok(value)
    }

    /// Drops the tokens of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.tokens.lock().retain(|key, _| key.0 != uid);
    }
}
