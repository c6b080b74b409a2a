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
use client::{Cache, Key, events::reference};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

struct TaintEviction {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    /// Since when each pod that will have to leave is known to have to: the time it tolerates begins then. One entry
    /// for a pod of the cache at most.
    since: Mutex<HashMap<Key, (Option<String>, Timestamp)>>,
}

fn evicting(node: Option<&Node>) -> Vec<Taint> {
    let taints = node.and_then(|node| node.spec.as_ref()?.taints.clone()).unwrap_or_default();
    taints.into_iter().filter(|taint| taint.effect == "NoExecute").collect()
}

/// Start the taint eviction controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let pods = setup.watch_changes::<Pod>(|old, new, add| {
        let bound = |pod: &&Pod| !pods::node(pod).is_empty();
        let Some(pod) = new.filter(bound) else {
            return old.filter(bound).into_iter().for_each(|pod| add(Key::of(pod)));
        };
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
    Ok(Arc::new(TaintEviction { pods, nodes, since: Mutex::default() }))
}

impl TaintEviction {
    /// Since when the pod has to leave: now, unless it was seen before.
    fn first_seen(&self, key: &Key, pod: &Pod, now: Timestamp) -> Timestamp {
        let mut since = self.since.lock();
        let seen = since.entry(key.clone()).or_insert_with(|| (pod.metadata.uid.clone(), now));
        if seen.0 != pod.metadata.uid {
            *seen = (pod.metadata.uid.clone(), now);
        }
        seen.1
    }
}

#[async_trait]
impl Controller for TaintEviction {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let pod = self.pods.at(key);
        let node = pod.as_ref().and_then(|pod| self.nodes.get("", pods::node(pod)));
        let taints = evicting(node.as_deref());
        let Some(pod) = pod else {
            self.since.lock().remove(key);
            return Ok(Plan::nothing());
        };
        if !plan::has_to_leave(&pod, &taints) {
            let mut plan = Plan::nothing();
            if self.since.lock().remove(key).is_some() && pod.metadata.deletion_timestamp.is_none() {
                let message = format!("Cancelling deletion of Pod {key}");
                plan.normal(&reference(&*pod), "TaintManagerEviction", message);
            }
            return Ok(plan);
        }
        let first_seen = self.first_seen(key, &pod, now);
        Ok(plan::plan(&pod, &taints, first_seen, now))
    }
}
