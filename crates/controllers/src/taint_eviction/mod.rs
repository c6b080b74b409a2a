//! Taint eviction: pods that do not tolerate a `NoExecute` taint of their node are deleted, at once or
//! after the time they tolerate it.
//!
//! Watches pods and nodes; the key is a pod's.
mod plan;

use crate::{
    node_lifecycle::{BY_NODE, index_by_node},
    pods,
    runtime::{Controller, Failure, Plan, Setup},
};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use std::sync::Arc;

struct TaintEviction {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
}

fn evicting(node: Option<&Node>) -> Vec<Taint> {
    let taints = node.and_then(|node| node.spec.as_ref()?.taints.clone()).unwrap_or_default();
    taints.into_iter().filter(|taint| taint.effect == "NoExecute").collect()
}

/// Start the taint eviction controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let pods = setup.watch_changes::<Pod>(|old, new, add| {
        let bound = |pod: &&Pod| !pods::node(pod).is_empty();
        let Some(pod) = new.filter(bound) else { return };
        let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
        if old.filter(bound).is_none_or(|old| tolerations(old) != tolerations(pod)) {
            add(Key::of(pod));
        }
    });
    index_by_node(&pods);
    let known = pods.clone();
    let nodes = setup.watch_changes::<Node>(move |old, new, add| {
        let Some(node) = new else { return };
        if evicting(old) != evicting(new) {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            known.by_index(BY_NODE, name).iter().for_each(|pod| add(Key::of(&**pod)));
        }
    });
    Ok(Arc::new(TaintEviction { pods, nodes }))
}

#[async_trait]
impl Controller for TaintEviction {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(pod) = self.pods.at(key) else { return Ok(Plan::nothing()) };
        let node = self.nodes.get("", pods::node(&pod));
        Ok(plan::plan(&pod, &evicting(node.as_deref()), now))
    }
}
