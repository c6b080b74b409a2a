//! Deployments: a rollout of ReplicaSets, one a revision of the pod template.
//!
//! Watches Deployments, the ReplicaSets they control or may adopt, and pods going away (a `Recreate`
//! rollout waits for them).
mod arithmetic;
mod plan;
mod progress;
mod revisions;
mod scaling;
#[cfg(test)]
mod tests;

pub use arithmetic::scaled;

use crate::runtime::{Controller, Failure, Plan, Setup, owners};
use apimachinery::labels::{self, Selector};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use plan::View;
use std::sync::Arc;

struct Deployments {
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
}

/// Start the Deployment controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let deployments = setup.watch::<Deployment>();
    let sets = setup.watch_claimed::<ReplicaSet, Deployment>(&deployments, selector);
    let owners = sets.clone();
    let pods = setup.watch_changes::<Pod>(move |old, new, add| {
        let ended = new.is_none_or(crate::pods::is_terminal);
        let Some(pod) = old.filter(|_| ended) else { return };
        let set = owners::controller_key::<ReplicaSet>(&pod.metadata).and_then(|key| owners.at(&key));
        if let Some(key) = set.and_then(|set| owners::controller_key::<Deployment>(&set.metadata)) {
            add(key);
        }
    });
    owners::add_index(&pods);
    Ok(Arc::new(Deployments { deployments, sets, pods }))
}

fn selector(deployment: &Deployment) -> Option<Selector> {
    labels::from_label_selector(&deployment.spec.as_ref()?.selector).ok()
}

impl Deployments {
    fn view(&self, key: &Key) -> Option<View> {
        let deployment = self.deployments.at(key)?;
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let sets = owners::candidates(&self.sets, uid, &key.namespace);
        let running = sets.iter().filter_map(|set| {
            let uid = set.metadata.uid.clone()?;
            let pods = owners::controlled(&self.pods, &uid);
            let active = pods.iter().filter(|pod| !crate::pods::is_terminal(pod)).count();
            (active > 0).then_some((uid, active))
        });
        let running = running.collect();
        Some(View { deployment, sets, running })
    }
}

#[async_trait]
impl Controller for Deployments {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.view(key).map_or_else(Plan::nothing, |view| plan::plan(&view, now)))
    }

    fn failed(&self, key: &Key, failure: &Failure, now: Timestamp) -> Plan {
        self.view(key).map_or_else(Plan::nothing, |view| plan::after_failure(&view, failure, now))
    }
}
