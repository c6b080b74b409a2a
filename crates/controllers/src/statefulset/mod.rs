//! StatefulSets: pods with names, order and storage of their own.
//!
//! Watches StatefulSets, the pods and revisions they control or may adopt, and claims going away.
mod claims;
mod identity;
mod plan;
mod status;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup, owners};
use apimachinery::labels::{self, Selector};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use plan::View;
use std::sync::Arc;

struct StatefulSets {
    sets: Cache<StatefulSet>,
    pods: Cache<Pod>,
    revisions: Cache<ControllerRevision>,
    claims: Cache<PersistentVolumeClaim>,
}

fn selector(set: &StatefulSet) -> Option<Selector> {
    labels::from_label_selector(&set.spec.as_ref()?.selector).ok()
}

/// Start the StatefulSet controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let sets = setup.watch::<StatefulSet>();
    let pods = setup.watch_claimed::<Pod, StatefulSet>(&sets, selector);
    let revisions = setup.watch_claimed::<ControllerRevision, StatefulSet>(&sets, selector);
    let claims = setup.cache::<PersistentVolumeClaim>();
    Ok(Arc::new(StatefulSets { sets, pods, revisions, claims }))
}

#[async_trait]
impl Controller for StatefulSets {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(set) = self.sets.at(key) else { return Ok(Plan::nothing()) };
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let pods = owners::candidates(&self.pods, uid, &key.namespace);
        let revisions = owners::candidates(&self.revisions, uid, &key.namespace);
        let claims = self.claims.list_in(&key.namespace).into_iter();
        let claims = claims.map(|claim| (Key::of(&*claim).name.to_string(), claim)).collect();
        Ok(plan::plan(&View { set, pods, revisions, claims }, now))
    }
}
