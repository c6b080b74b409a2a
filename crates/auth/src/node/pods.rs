//! What the pods of a node refer to, a namespace at a time.
//!
//! A pod is read once for each version of it; the index of a namespace is redone when pods have changed and somebody asks.
use bytes::Bytes;
use foldhash::HashMap;
use parking_lot::Mutex;
use serde::Deserialize;
use std::sync::Arc;
use storage::{Lookup, Revision};

/// The annotation of pods that show a static pod in the API.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Namespaces remembered; past it the memory starts anew.
const MAX_NAMESPACES: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Itself,
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

/// One pod's references, all within its namespace.
#[derive(Default)]
pub(super) struct Refs {
    name: String,
    node: String,
    service_account: String,
    secrets: Vec<String>,
    config_maps: Vec<String>,
    claims: Vec<String>,
    resource_claims: Vec<String>,
}

impl Refs {
    pub fn refers(&self, wanted: Wanted, name: &str) -> bool {
        let has = |list: &[String]| list.iter().any(|n| n == name);
        match wanted {
            Wanted::Itself => self.name == name,
            Wanted::ServiceAccount => self.service_account == name,
            Wanted::Secret => has(&self.secrets),
            Wanted::ConfigMap => has(&self.config_maps),
            Wanted::Claim => has(&self.claims),
            Wanted::ResourceClaim => has(&self.resource_claims),
        }
    }

    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().map(String::as_str)
    }
}

#[derive(Default)]
struct Namespace {
    version: Revision,
    /// By where the bytes are; they are kept, so that no address is used twice.
    read: HashMap<usize, (Bytes, Arc<Refs>)>,
    by_node: HashMap<String, Arc<[Arc<Refs>]>>,
}

pub(super) struct Pods {
    lookup: Arc<dyn Lookup>,
    namespaces: Mutex<HashMap<String, Namespace>>,
}

impl Pods {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Pods { lookup, namespaces: Mutex::default() }
    }

    /// The pods of `namespace` that are bound to `node`.
    pub fn on(&self, node: &str, namespace: &str) -> Arc<[Arc<Refs>]> {
        let mut all = self.namespaces.lock();
        let version = self.lookup.version("pods");
        if all.get(namespace).is_none_or(|n| n.version != version) {
            let old = all.remove(namespace).unwrap_or_default();
            if all.len() >= MAX_NAMESPACES {
                all.clear();
            }
            all.insert(namespace.to_owned(), self.index(&old, namespace, version));
        }
        let found = all.get(namespace).and_then(|n| n.by_node.get(node));
        found.cloned().unwrap_or_else(|| Arc::from([]))
    }

    fn index(&self, old: &Namespace, namespace: &str, version: Revision) -> Namespace {
        let mut read = HashMap::default();
        let mut by_node: HashMap<String, Vec<Arc<Refs>>> = HashMap::default();
        for json in self.lookup.list("pods", Some(namespace)) {
            let at = json.as_ptr() as usize;
            let refs = match old.read.get(&at) {
                Some((_, refs)) => Arc::clone(refs),
                None => match serde_json::from_slice::<Pod>(&json) {
                    Ok(pod) => Arc::new(pod.refs()),
                    Err(error) => {
                        tracing::error!(%error, "a stored pod cannot be read");
                        continue;
                    }
                },
            };
            if !refs.node.is_empty() {
                by_node.entry(refs.node.clone()).or_default().push(Arc::clone(&refs));
            }
            read.insert(at, (json, refs));
        }
        let by_node = by_node.into_iter().map(|(node, pods)| (node, pods.into())).collect();
        Namespace { version, read, by_node }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    annotations: HashMap<String, serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    service_account_name: String,
    image_pull_secrets: Vec<Named>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    volumes: Vec<PodVolume>,
    resource_claims: Vec<PodResourceClaim>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodResourceClaim {
    resource_claim_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    resource_claim_statuses: Vec<PodResourceClaim>,
    extended_resource_claim_status: Option<PodResourceClaim>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    env: Vec<Env>,
    env_from: Vec<EnvFrom>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Env {
    value_from: Option<ValueFrom>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ValueFrom {
    secret_key_ref: Option<Named>,
    config_map_key_ref: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EnvFrom {
    secret_ref: Option<Named>,
    config_map_ref: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WithSecretRef {
    secret_ref: Option<Named>,
    node_publish_secret_ref: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecretVolume {
    secret_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<ProjectedSource>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProjectedSource {
    secret: Option<Named>,
    config_map: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimVolume {
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodVolume {
    name: String,
    secret: Option<SecretVolume>,
    config_map: Option<Named>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<ClaimVolume>,
    ephemeral: Option<serde::de::IgnoredAny>,
    azure_file: Option<SecretVolume>,
    csi: Option<WithSecretRef>,
    cephfs: Option<WithSecretRef>,
    flex_volume: Option<WithSecretRef>,
    iscsi: Option<WithSecretRef>,
    rbd: Option<WithSecretRef>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<WithSecretRef>,
    storageos: Option<WithSecretRef>,
}

impl Pod {
    fn refs(self) -> Refs {
        let Pod { metadata, spec, status } = self;
        let mut refs = Refs { name: metadata.name, node: spec.node_name, ..Refs::default() };
        // A kubelet writes its mirror pods itself: they must never give it anything to read.
        if metadata.annotations.contains_key(MIRROR) {
            return refs;
        }
        refs.service_account = spec.service_account_name;
        refs.secrets.extend(spec.image_pull_secrets.into_iter().map(|s| s.name));
        let containers = spec.containers.into_iter().chain(spec.init_containers).chain(spec.ephemeral_containers);
        for container in containers {
            for from in container.env.into_iter().filter_map(|e| e.value_from) {
                refs.secrets.extend(from.secret_key_ref.map(|s| s.name));
                refs.config_maps.extend(from.config_map_key_ref.map(|c| c.name));
            }
            for from in container.env_from {
                refs.secrets.extend(from.secret_ref.map(|s| s.name));
                refs.config_maps.extend(from.config_map_ref.map(|c| c.name));
            }
        }
        for volume in spec.volumes {
            refs.secrets.extend([volume.secret, volume.azure_file].into_iter().flatten().map(|s| s.secret_name));
            refs.config_maps.extend(volume.config_map.map(|c| c.name));
            for source in volume.projected.into_iter().flat_map(|p| p.sources) {
                refs.secrets.extend(source.secret.map(|s| s.name));
                refs.config_maps.extend(source.config_map.map(|c| c.name));
            }
            refs.claims.extend(volume.persistent_volume_claim.map(|c| c.claim_name));
            if volume.ephemeral.is_some() {
                refs.claims.push(format!("{}-{}", refs.name, volume.name));
            }
            let named = [
                volume.csi,
                volume.cephfs,
                volume.flex_volume,
                volume.iscsi,
                volume.rbd,
                volume.scale_io,
                volume.storageos,
            ];
            for with in named.into_iter().flatten() {
                refs.secrets
                    .extend([with.secret_ref, with.node_publish_secret_ref].into_iter().flatten().map(|s| s.name));
            }
        }
        let claims = spec.resource_claims.into_iter().chain(status.resource_claim_statuses);
        let claims = claims.chain(status.extended_resource_claim_status);
        refs.resource_claims.extend(claims.filter_map(|c| c.resource_claim_name));
        refs
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Claim {
    pub spec: ClaimSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClaimSpec {
    pub volume_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Volume {
    pub spec: VolumeSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct VolumeSpec {
    pub claim_ref: Option<Reference>,
    csi: Option<VolumeSecrets>,
    cephfs: Option<VolumeSecrets>,
    rbd: Option<VolumeSecrets>,
    iscsi: Option<VolumeSecrets>,
    flex_volume: Option<VolumeSecrets>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Reference {
    pub namespace: String,
    pub name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeSecrets {
    secret_ref: Option<Reference>,
    node_publish_secret_ref: Option<Reference>,
    node_stage_secret_ref: Option<Reference>,
    node_expand_secret_ref: Option<Reference>,
}

impl Volume {
    pub fn names_secret(&self, namespace: &str, name: &str) -> bool {
        let spec = &self.spec;
        let sources = [&spec.csi, &spec.cephfs, &spec.rbd, &spec.iscsi, &spec.flex_volume];
        sources.into_iter().flatten().any(|s| {
            let refs = [&s.secret_ref, &s.node_publish_secret_ref, &s.node_stage_secret_ref, &s.node_expand_secret_ref];
            // A reference without a namespace means the claim's.
            refs.into_iter().flatten().any(|r| r.name == name && (r.namespace == namespace || r.namespace.is_empty()))
        })
    }
}
