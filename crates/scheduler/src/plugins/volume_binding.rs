//! Pods wait for their claims; claims that wait for a pod get their volume where the pod goes.
//!
//! A bound claim's volume must be usable from the node. A claim of class mode `WaitForFirstConsumer` either takes
//! an existing volume that the node can use (the smallest that does), or is handed to its provisioner with the node
//! written on it. What was decided is carried out before the pod is bound, and then waited for (KEP-490).
use super::Args;
use crate::{
    cluster::{Cluster, NodeIndex, NodeView, Storage},
    config::Error,
    framework::{BindError, Binding, Context, Event, NodeFilter, Plugin, Point, PreFilter, Rejection},
    node_selector::Terms,
    objects::{PersistentVolume, PersistentVolumeClaim, StorageClass},
    pod::{PodInfo, PodKey},
};
use apimachinery::{labels, quantity::Quantity};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};

pub const NAME: &str = "VolumeBinding";

const POLL: Duration = Duration::from_secs(1);
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct VolumeBindingArgs {
    bind_timeout_seconds: u64,
}

impl Default for VolumeBindingArgs {
    fn default() -> Self {
        VolumeBindingArgs { bind_timeout_seconds: 600 }
    }
}

struct VolumeBinding {
    timeout: Duration,
}

pub fn new(args: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    let timeout = Duration::from_secs(args.decode::<VolumeBindingArgs>()?.bind_timeout_seconds);
    Ok(Arc::new(VolumeBinding { timeout }))
}

/// What is to be done about one claim before its pod is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimDecision {
    /// Take this volume.
    Bind { claim: PodKey, claim_uid: String, volume: String },
    /// Let the provisioner make one that this node can use.
    Provision { claim: PodKey },
}

/// Names of the claims a pod uses, in its namespace.
pub(super) fn claim_names(pod: &PodInfo) -> impl Iterator<Item = (String, bool)> + '_ {
    pod.template.spec.volumes.iter().filter_map(|volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|source| (source.claim_name.clone(), false));
        named.or_else(|| volume.ephemeral.then(|| (format!("{}-{}", pod.key.name, volume.name), true)))
    })
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !claim.spec.volume_name.is_empty() && !claim.metadata.annotations.bind_completed.is_empty()
}

fn class<'a>(storage: &'a Storage, claim: &PersistentVolumeClaim) -> Option<&'a StorageClass> {
    storage.classes.get(claim.spec.storage_class_name.as_deref()?)
}

fn waits_for_consumer(storage: &Storage, claim: &PersistentVolumeClaim) -> bool {
    class(storage, claim).is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

fn reachable(volume: &PersistentVolume, node: &NodeView<'_>) -> bool {
    let required = volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|terms| Terms::new(terms).matches(node.name(), node.row().labels()))
}

fn bytes(amounts: &crate::objects::StringMap) -> i64 {
    amounts.get("storage").and_then(|text| Quantity::parse(text).ok()).map_or(0, |q| q.value())
}

fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let mode = |mode: &Option<String>| mode.as_deref().unwrap_or("Filesystem").to_owned();
    let selected =
        claim.spec.selector.as_ref().is_none_or(|selector| {
            labels::from_label_selector(selector).is_ok_and(|s| s.matches(&volume.metadata.labels))
        });
    volume.spec.claim_ref.is_none()
        && !volume.metadata.deleting
        && volume.status.phase == "Available"
        && volume.spec.storage_class_name == claim.spec.storage_class_name.as_deref().unwrap_or_default()
        && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
        && claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
        && bytes(&volume.spec.capacity) >= bytes(&claim.spec.resources.requests)
        && selected
}

fn reserved_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|r| {
        r.namespace == claim.metadata.namespace
            && r.name == claim.metadata.name
            && (r.uid.is_empty() || r.uid == claim.metadata.uid)
    })
}

fn topology_allows(class: &StorageClass, node: &NodeView<'_>) -> bool {
    class.allowed_topologies.is_empty()
        || class.allowed_topologies.iter().any(|term| {
            let mut requirements = term.match_label_expressions.iter();
            requirements.all(|r| node.label(&r.key).is_some_and(|value| r.values.iter().any(|v| v == value)))
        })
}

#[derive(Clone)]
struct Check<'a> {
    cluster: &'a Cluster,
    bound: Vec<&'a PersistentVolumeClaim>,
    waiting: Vec<&'a PersistentVolumeClaim>,
}

impl<'a> Check<'a> {
    fn new(context: Context<'a>) -> Result<Self, Rejection> {
        let Context { pod, cluster } = context;
        let mut check = Check { cluster, bound: Vec::new(), waiting: Vec::new() };
        for (name, ephemeral) in claim_names(pod) {
            let Some(claim) = cluster.storage.claim(&pod.key.namespace, &name) else {
                return Err(Rejection::unresolvable(if ephemeral {
                    format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
                } else {
                    format!("persistentvolumeclaim {name:?} not found")
                }));
            };
            if claim.status.phase == "Lost" {
                let volume = &claim.spec.volume_name;
                let text = format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}");
                return Err(Rejection::unresolvable(text));
            }
            if claim.metadata.deleting {
                return Err(Rejection::unresolvable(format!("persistentvolumeclaim {name:?} is being deleted")));
            }
            if is_bound(claim) {
                check.bound.push(claim);
            } else if waits_for_consumer(&cluster.storage, claim) && claim.spec.volume_name.is_empty() {
                check.waiting.push(claim);
            } else {
                return Err(Rejection::unresolvable("pod has unbound immediate PersistentVolumeClaims"));
            }
        }
        Ok(check)
    }

    fn decide(&self, node: &NodeView<'_>) -> Result<Vec<ClaimDecision>, Rejection> {
        let storage = &self.cluster.storage;
        for claim in &self.bound {
            let Some(volume) = storage.volumes.get(&claim.spec.volume_name) else {
                let reason = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
                return Err(Rejection::unresolvable(reason));
            };
            if !reachable(volume, node) {
                return Err(Rejection::unresolvable("node(s) didn't match PersistentVolume's node affinity"));
            }
        }
        let conflict = || Rejection::unresolvable("node(s) didn't find available persistent volumes to bind");
        let mut decisions = Vec::new();
        let mut taken: Vec<&str> = Vec::new();
        for claim in &self.waiting {
            let key = PodKey {
                namespace: Arc::from(claim.metadata.namespace.as_str()),
                name: Arc::from(claim.metadata.name.as_str()),
            };
            let selected = &claim.metadata.annotations.selected_node;
            if !selected.is_empty() {
                if **node.name() != **selected {
                    return Err(conflict());
                }
                decisions.push(ClaimDecision::Provision { claim: key });
                continue;
            }
            let candidates = storage.volumes.values().filter(|v| {
                (suits(v, claim) || reserved_for(v, claim))
                    && reachable(v, node)
                    && !taken.contains(&v.metadata.name.as_str())
            });
            if let Some(volume) = candidates.min_by_key(|v| (bytes(&v.spec.capacity), &v.metadata.name)) {
                taken.push(&volume.metadata.name);
                let volume = volume.metadata.name.clone();
                decisions.push(ClaimDecision::Bind { claim: key, claim_uid: claim.metadata.uid.clone(), volume });
                continue;
            }
            let provisioned = class(storage, claim).is_some_and(|class| {
                !class.provisioner.is_empty() && class.provisioner != NO_PROVISIONER && topology_allows(class, node)
            });
            if !provisioned {
                return Err(conflict());
            }
            decisions.push(ClaimDecision::Provision { claim: key });
        }
        Ok(decisions)
    }
}

/// What is to be done about the pod's claims when it goes to this node.
pub fn decide(context: Context<'_>, node: NodeIndex) -> Vec<ClaimDecision> {
    Check::new(context).and_then(|check| check.decide(&context.cluster.view(node))).unwrap_or_default()
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::Reserve, Point::PreBind]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        if claim_names(context.pod).next().is_none() {
            return PreFilter::Skip;
        }
        match Check::new(context) {
            Ok(check) => PreFilter::check(check),
            Err(rejection) => PreFilter::Reject(rejection),
        }
    }

    fn pre_bind<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(), BindError>> {
        Box::pin(async move {
            if binding.volumes.is_empty() {
                return Ok(());
            }
            let failed = |message: String| BindError { plugin: NAME, message };
            for decision in binding.volumes.iter() {
                carry_out(binding, decision).await.map_err(|e| failed(format!("binding volumes: {e}")))?;
            }
            tokio::time::timeout(self.timeout, all_bound(binding))
                .await
                .map_err(|_| failed("binding volumes: context deadline exceeded".into()))?
                .map_err(|e| failed(format!("binding volumes: {e}")))
        })
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Storage { namespace, name, .. } => {
                namespace.is_empty()
                    || (*namespace == &*pod.key.namespace && claim_names(pod).any(|(claim, _)| claim == *name))
            }
            Event::Node { change, .. } => change.added || change.labels,
            _ => false,
        }
    }
}

fn claim_path(claim: &PodKey) -> String {
    format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", claim.namespace, claim.name)
}

async fn carry_out(binding: &Binding, decision: &ClaimDecision) -> Result<(), crate::api::Error> {
    match decision {
        ClaimDecision::Bind { claim, claim_uid, volume } => {
            let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": &*claim.namespace,
                "name": &*claim.name, "uid": claim_uid});
            let patch = json!({"spec": {"claimRef": reference}});
            crate::api::merge_patch(&binding.client, &format!("/api/v1/persistentvolumes/{volume}"), &patch).await
        }
        ClaimDecision::Provision { claim } => {
            let annotations = json!({"volume.kubernetes.io/selected-node": &*binding.node});
            let patch = json!({"metadata": {"annotations": annotations}});
            crate::api::merge_patch(&binding.client, &claim_path(claim), &patch).await
        }
    }
}

async fn all_bound(binding: &Binding) -> Result<(), crate::api::Error> {
    for decision in binding.volumes.iter() {
        let (ClaimDecision::Bind { claim, .. } | ClaimDecision::Provision { claim }) = decision;
        loop {
            let state: PersistentVolumeClaim = crate::api::get(&binding.client, &claim_path(claim)).await?;
            if is_bound(&state) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

impl NodeFilter for Check<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        self.decide(node).map(|_| ())
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }

    fn is_local(&self) -> bool {
        false
    }
}

#[cfg(test)]
#[path = "volume_binding_tests.rs"]
mod tests;
