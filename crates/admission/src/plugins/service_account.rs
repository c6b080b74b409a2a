//! `ServiceAccount`: every pod runs under an account, and finds that account's token where clients look for it.
//!
//! Source: "Managing Service Accounts", ServiceAccount admission controller; texts as upstream's.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::{ApiError, names};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod,
    PodSpec, ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use std::{sync::Arc, time::Duration};
use storage::Lookup;

const DEFAULT: &str = "default";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const TOKEN_SECONDS: i64 = 3607;
const FILE_MODE: i32 = 0o644;
/// The default account of a new namespace is made by a controller; any account may still be on its way to the caches.
const WAIT_DEFAULT: Duration = Duration::from_secs(1);
const WAIT_ANY: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(10);

pub(crate) struct ServiceAccounts {
    lookup: Arc<dyn Lookup>,
}

impl ServiceAccounts {
    pub fn new(config: &Config) -> Self {
        ServiceAccounts { lookup: Arc::clone(&config.lookup) }
    }

    async fn find(&self, namespace: &str, name: &str) -> Option<ServiceAccount> {
        let wait = if name == DEFAULT { WAIT_DEFAULT } else { WAIT_ANY };
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            if let Some(found) = crate::lookup::get(&*self.lookup, "serviceaccounts", namespace, name) {
                return Some(found);
            }
            if tokio::time::Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn account(&self, request: &Request<'_>) -> Result<ServiceAccount, ApiError> {
        let spec = request.typed::<Pod>().and_then(|p| p.spec.as_ref());
        let named = spec.and_then(|s| s.service_account_name.clone()).filter(|n| !n.is_empty());
        let name = named.unwrap_or_else(|| DEFAULT.to_owned());
        let namespace = request.namespace;
        self.find(namespace, &name).await.ok_or_else(|| {
            request.forbidden(format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            ))
        })
    }
}

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR))
}

fn token_volume(name: String) -> Volume {
    let token =
        ServiceAccountTokenProjection { path: "token".into(), expiration_seconds: Some(TOKEN_SECONDS), audience: None };
    let authority = ConfigMapProjection {
        name: "kube-root-ca.crt".into(),
        items: Some(vec![KeyToPath { key: "ca.crt".into(), path: "ca.crt".into(), mode: None }]),
        optional: None,
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".into(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".into()),
            field_path: "metadata.namespace".into(),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ];
    let projected = ProjectedVolumeSource { default_mode: Some(FILE_MODE), sources: Some(sources) };
    Volume { name, projected: Some(projected), ..Volume::default() }
}

/// Mounts the token in all containers that have nothing at its path.
fn mount_token(spec: &mut PodSpec, random: impl FnMut() -> u32) {
    let existing = spec.volumes.iter().flatten().find(|v| v.name.starts_with(VOLUME_PREFIX)).map(|v| v.name.clone());
    let has_volume = existing.is_some();
    let name = existing.unwrap_or_else(|| names::generate(VOLUME_PREFIX, random));
    let mut needed = false;
    let mut mount = |container: &mut Container| {
        if container.volume_mounts.iter().flatten().any(|m| m.mount_path == MOUNT_PATH) {
            return;
        }
        needed = true;
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: name.clone(),
            read_only: Some(true),
            mount_path: MOUNT_PATH.into(),
            ..VolumeMount::default()
        });
    };
    spec.init_containers.iter_mut().flatten().for_each(&mut mount);
    spec.containers.iter_mut().for_each(&mut mount);
    if needed && !has_volume {
        spec.volumes.get_or_insert_default().push(token_volume(name));
    }
}

/// Secrets of the pod that the account does not list.
fn check_secrets(account: &ServiceAccount, spec: &PodSpec) -> Result<(), String> {
    let name = account.metadata.name.as_deref().unwrap_or_default();
    let listed = |secret: &str| account.secrets.iter().flatten().any(|s| s.name.as_deref() == Some(secret));
    for secret in spec.volumes.iter().flatten().filter_map(|v| v.secret.as_ref()?.secret_name.as_deref()) {
        if !listed(secret) {
            return Err(format!(
                "volume with secret.secretName={secret:?} is not allowed because service account {name} does not \
                 reference that secret"
            ));
        }
    }
    let init = spec.init_containers.iter().flatten().map(|c| ("init container", c));
    for (what, container) in init.chain(spec.containers.iter().map(|c| ("container", c))) {
        for env in container.env.iter().flatten() {
            let secret = env.value_from.as_ref().and_then(|v| v.secret_key_ref.as_ref());
            if let Some(secret) = secret.filter(|s| !listed(&s.name)) {
                return Err(format!(
                    "{what} {} with envVar {} referencing secret.secretName={:?} is not allowed because service account \
                     {name} does not reference that secret",
                    container.name, env.name, secret.name
                ));
            }
        }
        for from in container.env_from.iter().flatten() {
            if let Some(secret) = from.secret_ref.as_ref().filter(|s| !listed(&s.name)) {
                return Err(format!(
                    "{what} {} with envFrom referencing secret.secretName={:?} is not allowed because service account \
                     {name} does not reference that secret",
                    container.name, secret.name
                ));
            }
        }
    }
    let pull = |secret: &str| account.image_pull_secrets.iter().flatten().any(|s| s.name == secret);
    for (i, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if !pull(&secret.name) {
            return Err(format!(
                "imagePullSecrets[{i}].name={:?} is not allowed because service account {name} does not reference that \
                 imagePullSecret",
                secret.name
            ));
        }
    }
    Ok(())
}

/// What a mirror pod may not have: it stands for a static pod, which cannot reach the API.
fn check_mirror(pod: &Pod) -> Result<(), &'static str> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.service_account_name.as_ref().is_some_and(|n| !n.is_empty()) {
        return Err("a mirror pod may not reference service accounts");
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let by_env = containers.into_iter().any(|c| {
        let env = c.env.iter().flatten().any(|e| e.value_from.as_ref().is_some_and(|v| v.secret_key_ref.is_some()));
        env || c.env_from.iter().flatten().any(|e| e.secret_ref.is_some())
    });
    let volumes = || spec.volumes.iter().flatten();
    let sources = || volumes().filter_map(|v| v.projected.as_ref()?.sources.as_ref()).flatten();
    let by_volume = volumes().any(|v| v.secret.is_some()) || sources().any(|s| s.secret.is_some());
    let by_pull = spec.image_pull_secrets.as_ref().is_some_and(|s| !s.is_empty());
    if by_env || by_volume || by_pull {
        return Err("a mirror pod may not reference secrets");
    }
    if sources().any(|s| s.service_account_token.is_some()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

#[async_trait]
impl Plugin for ServiceAccounts {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "pods") && request.subresource.is_empty() && request.object.is_some()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        match request.typed::<Pod>() {
            None => return Ok(()),
            Some(pod) if is_mirror(pod) => return check_mirror(pod).map_err(|why| request.forbidden(why)),
            Some(_) => {}
        }
        let account = self.account(request).await?;
        let Some(spec) = request.typed_mut::<Pod>().and_then(|p| p.spec.as_mut()) else { return Ok(()) };
        let name = spec.service_account_name.take().filter(|n| !n.is_empty()).unwrap_or_else(|| DEFAULT.to_owned());
        spec.service_account = Some(name.clone());
        spec.service_account_name = Some(name);
        if spec.automount_service_account_token.or(account.automount_service_account_token).unwrap_or(true) {
            mount_token(spec, rand::random);
        }
        if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
            spec.image_pull_secrets = account.image_pull_secrets;
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        match request.typed::<Pod>() {
            None => return Ok(()),
            Some(pod) if is_mirror(pod) => return check_mirror(pod).map_err(|why| request.forbidden(why)),
            Some(_) => {}
        }
        let account = self.account(request).await?;
        let enforced = account.metadata.annotations.as_ref().and_then(|a| a.get(ENFORCE_SECRETS));
        if enforced.is_some_and(|v| v.eq_ignore_ascii_case("true"))
            && let Some(spec) = request.typed::<Pod>().and_then(|p| p.spec.as_ref())
        {
            check_secrets(&account, spec).map_err(|why| request.forbidden(why))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::{Value, json};

    fn cluster() -> Cluster {
        let account = |name: &str, more: Value| {
            let mut account = json!({"metadata": {"name": name, "namespace": "ns"}});
            account.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
            account
        };
        Cluster::default()
            .with("serviceaccounts", account("default", json!({"imagePullSecrets": [{"name": "reg"}]})))
            .with("serviceaccounts", account("quiet", json!({"automountServiceAccountToken": false})))
    }

    fn pod(spec: Value) -> Ask<Pod> {
        Ask::create("", "pods", json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}))
    }

    async fn admitted(spec: Value) -> PodSpec {
        let plugin = ServiceAccounts::new(&cluster().config());
        pod(spec).result(&plugin).await.expect("admitted").spec.expect("spec")
    }

    #[tokio::test]
    async fn the_token_is_mounted() {
        let spec = admitted(json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]})).await;
        assert_eq!(spec.service_account_name.as_deref(), Some("default"));
        assert_eq!(spec.service_account.as_deref(), Some("default"));
        assert_eq!(spec.image_pull_secrets.expect("some")[0].name, "reg");
        let mut volume = serde_json::to_value(&spec.volumes.expect("some")[0]).expect("JSON");
        let name = volume["name"].take();
        let name = name.as_str().expect("a name");
        assert!(name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5, "{name}");
        assert_eq!(
            volume["projected"],
            json!({"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]})
        );
        for container in [&spec.containers[0], &spec.init_containers.expect("some")[0]] {
            let mount = &container.volume_mounts.as_ref().expect("some")[0];
            assert_eq!(
                (mount.name.as_str(), mount.mount_path.as_str(), mount.read_only),
                (name, MOUNT_PATH, Some(true))
            );
        }
    }

    #[tokio::test]
    async fn automount_can_be_refused_and_mounts_are_respected() {
        let container = json!([{"name": "c"}]);
        let spec = admitted(json!({"serviceAccountName": "quiet", "containers": container})).await;
        assert_eq!((spec.volumes, spec.service_account.as_deref()), (None, Some("quiet")));
        let spec = admitted(json!({"automountServiceAccountToken": false, "containers": container})).await;
        assert_eq!(spec.volumes, None);
        let quiet =
            json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true, "containers": container});
        assert!(admitted(quiet).await.volumes.is_some());
        let mounted = json!([{"name": "c", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}]);
        assert_eq!(admitted(json!({"containers": mounted})).await.volumes, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_account_is_named() {
        let plugin = ServiceAccounts::new(&cluster().config());
        let text = pod(json!({"serviceAccountName": "x", "containers": []})).refusal(&plugin).await;
        assert_eq!(
            text,
            "pods \"p\" is forbidden: error looking up service account ns/x: serviceaccount \"x\" not found"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_default_account_is_waited_for() {
        let cluster = Cluster::default();
        let plugin = ServiceAccounts::new(&cluster.config());
        let late = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.put("serviceaccounts", &json!({"metadata": {"name": "default", "namespace": "ns"}}));
        };
        let ((), admitted) = tokio::join!(late, pod(json!({"containers": []})).result(&plugin));
        admitted.expect("admitted");
    }

    #[tokio::test]
    async fn mirror_pods_and_enforced_secrets() {
        let plugin = ServiceAccounts::new(&cluster().config());
        let mirror = |spec: Value| {
            let metadata = json!({"name": "p", "namespace": "ns", "annotations": {MIRROR: "x"}});
            Ask::<Pod>::create("", "pods", json!({"metadata": metadata, "spec": spec}))
        };
        mirror(json!({"containers": [{"name": "c"}]})).run(&plugin).await.expect("plain");
        let text = mirror(json!({"serviceAccountName": "x", "containers": []})).refusal(&plugin).await;
        assert!(text.ends_with("a mirror pod may not reference service accounts"));
        let volumes = json!([{"name": "v", "secret": {"secretName": "s"}}]);
        let text = mirror(json!({"containers": [], "volumes": volumes})).refusal(&plugin).await;
        assert!(text.ends_with("a mirror pod may not reference secrets"));

        let strict = json!({"metadata": {"name": "strict", "namespace": "ns", "annotations": {ENFORCE_SECRETS: "true"}},
            "secrets": [{"name": "mine"}]});
        let plugin = ServiceAccounts::new(&cluster().with("serviceaccounts", strict).config());
        let text =
            pod(json!({"serviceAccountName": "strict", "containers": [], "volumes": volumes})).refusal(&plugin).await;
        assert!(text.contains("volume with secret.secretName=\"s\" is not allowed because service account strict"));
    }
}
