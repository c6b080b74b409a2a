//! Binds claims to volumes: the smallest free volume that will do, or the one that was chosen for the claim.
//!
//! A key without a namespace is a volume's, any other a claim's. Volumes are not made or deleted here: that is the
//! work of external provisioners, which are asked by an annotation.
mod matching;
mod plan;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use std::sync::Arc;

struct VolumeBinder {
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
}

/// The claim a volume is or is to be bound to.
fn claim_of(volume: &PersistentVolume) -> Option<Key> {
    let claim = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(Key::new(claim.namespace.as_deref()?, claim.name.as_deref()?))
}

/// The volume a claim is or is to be bound to.
fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Start the PersistentVolume binder.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let claims = setup.watch_mapped::<PersistentVolumeClaim>(|claim, add| {
        add(Key::of(claim));
        volume_of(claim).into_iter().for_each(|name| add(Key::new("", name)));
    });
    let waiting = claims.clone();
    let volumes = setup.watch_changes::<PersistentVolume>(move |old, new, add| {
        for volume in old.into_iter().chain(new) {
            add(Key::of(volume));
            claim_of(volume).into_iter().for_each(&mut *add);
        }
        // A volume that is free may be what a claim has been waiting for.
        if new.is_some_and(|volume| claim_of(volume).is_none()) {
            waiting.list().iter().filter(|claim| volume_of(claim).is_none()).for_each(|claim| add(Key::of(&**claim)));
        }
    });
    // The volume of a claim that is gone is found by its reference.
    let bound = volumes.clone();
    setup.follow(&claims, move |_, new, add| {
        if new.is_none() {
            bound.keys().into_iter().for_each(add);
        }
    });
    let waiting = claims.clone();
    let classes = setup.watch_changes::<StorageClass>(move |_, _, add| {
        waiting.list().iter().filter(|claim| volume_of(claim).is_none()).for_each(|claim| add(Key::of(&**claim)));
    });
    Ok(Arc::new(VolumeBinder { claims, volumes, classes }))
}

#[async_trait]
impl Controller for VolumeBinder {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        if key.namespace.is_empty() {
            let Some(volume) = self.volumes.at(key) else { return Ok(Plan::nothing()) };
            let claim = claim_of(&volume).and_then(|key| self.claims.at(&key));
            return Ok(plan::volume(&volume, claim.as_deref()));
        }
        let Some(claim) = self.claims.at(key) else { return Ok(Plan::nothing()) };
        let class = self.classes.get("", matching::class(&claim));
        Ok(plan::claim(&claim, &self.volumes.list(), class.as_deref()))
    }
}
