//! DaemonSets: a pod on every node that suits it.
//!
//! Watches DaemonSets, the pods and revisions they control or may adopt, and nodes.
mod plan;
mod template;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup, owners};
use apimachinery::labels::{self, Selector};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use plan::View;
use std::sync::Arc;

struct DaemonSets {
    sets: Cache<DaemonSet>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    revisions: Cache<ControllerRevision>,
}

fn selector(set: &DaemonSet) -> Option<Selector> {
    labels::from_label_selector(&set.spec.as_ref()?.selector).ok()
}

/// Start the DaemonSet controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let sets = setup.watch::<DaemonSet>();
    let pods = setup.watch_claimed::<Pod, DaemonSet>(&sets, selector);
    let revisions = setup.watch_claimed::<ControllerRevision, DaemonSet>(&sets, selector);
    let all = sets.clone();
    let nodes = setup.watch_changes::<Node>(move |old, new, add| {
        let suits = |node: Option<&Node>| {
            node.map(|node| {
                let spec = node.spec.as_ref();
                (node.metadata.labels.clone(), spec.and_then(|s| s.taints.clone()), spec.and_then(|s| s.unschedulable))
            })
        };
        // Heartbeats come all the time and change nothing.
        if suits(old) != suits(new) {
            all.keys().into_iter().for_each(add);
        }
    });
    Ok(Arc::new(DaemonSets { sets, pods, nodes, revisions }))
}

#[async_trait]
impl Controller for DaemonSets {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(set) = self.sets.at(key) else { return Ok(Plan::nothing()) };
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let pods = owners::candidates(&self.pods, uid, &key.namespace);
        let revisions = owners::candidates(&self.revisions, uid, &key.namespace);
        Ok(plan::plan(&View { pods, revisions, nodes: self.nodes.list(), set }, now))
    }
}
