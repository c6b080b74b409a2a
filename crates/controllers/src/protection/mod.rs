//! Protection of volumes and claims in use: a finalizer keeps them until nobody uses them.
//!
//! Two controllers of one pattern: claims are in use by pods, volumes by claims.
use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup, Write},
};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Resource;
use serde::Serialize;
use std::sync::Arc;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

struct Claims {
    claims: Cache<PersistentVolumeClaim>,
    pods: Cache<Pod>,
}

struct Volumes {
    volumes: Cache<PersistentVolume>,
}

/// The claims a pod uses; those of its ephemeral volumes are named after it.
fn used_claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let named = volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)),
        (None, None) => None,
    });
    named.collect()
}

/// Start the claim protection controller.
pub fn start_claims(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let claims = setup.watch::<PersistentVolumeClaim>();
    let pods = setup.watch_changes::<Pod>(|old, new, add| {
        let Some(pod) = old.filter(|_| new.is_none_or(pods::is_terminal)) else { return };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        used_claims(pod).iter().for_each(|claim| add(Key::new(namespace, claim)));
    });
    Ok(Arc::new(Claims { claims, pods }))
}

/// Start the volume protection controller.
pub fn start_volumes(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    Ok(Arc::new(Volumes { volumes: setup.watch::<PersistentVolume>() }))
}

/// Put the finalizer on what lives, take it from what goes unused.
fn plan<K: Resource<DynamicType = ()> + Clone + Serialize>(object: &K, finalizer: &str, in_use: bool) -> Plan {
    let mut plan = Plan::nothing();
    let meta = object.meta();
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let has = finalizers.iter().any(|known| known == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (false, false) => finalizers.push(finalizer.to_owned()),
        (true, true) if !in_use => finalizers.retain(|known| known != finalizer),
        _ => return plan,
    }
    // A replacement, because patching is not what the bootstrap policy allows here.
    let mut changed = object.clone();
    changed.meta_mut().finalizers = Some(finalizers).filter(|finalizers| !finalizers.is_empty());
    plan.write(Write::replace(&changed).or_gone());
    plan
}

#[async_trait]
impl Controller for Claims {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let Some(claim) = self.claims.at(key) else { return Ok(Plan::nothing()) };
        let uses = |pod: &Arc<Pod>| !pods::is_terminal(pod) && used_claims(pod).iter().any(|used| **used == *key.name);
        Ok(plan(&*claim, CLAIM_FINALIZER, self.pods.list_in(&key.namespace).iter().any(uses)))
    }
}

#[async_trait]
impl Controller for Volumes {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let Some(volume) = self.volumes.at(key) else { return Ok(Plan::nothing()) };
        let bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        Ok(plan(&*volume, VOLUME_FINALIZER, bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;

    #[test]
    fn finalizers_come_and_go() {
        let claim =
            |rest: &str| object::<Arc<PersistentVolumeClaim>>(&format!("metadata: {{name: c, namespace: a, {rest}}}"));
        let planned = |rest: &str, used| plan(&*claim(rest), CLAIM_FINALIZER, used).to_string();
        assert_eq!(planned("", false), "replace PersistentVolumeClaim a/c\n");
        let leaving = "deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [kubernetes.io/pvc-protection]";
        assert_eq!(planned(leaving, true), "");
        assert_eq!(planned(leaving, false), "replace PersistentVolumeClaim a/c\n");
        assert_eq!(planned("finalizers: [kubernetes.io/pvc-protection]", false), "", "it has it already");
    }
}
