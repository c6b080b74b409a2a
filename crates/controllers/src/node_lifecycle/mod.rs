//! Node lifecycle: what becomes of nodes whose kubelet is not heard from, and of their pods.
//!
//! Watches nodes, their leases, and pods. A node is heard from when its lease or its Ready heartbeat
//! changes; when that was is by our own clock, so clocks may differ. Taints say the rest: evicting is
//! the taint eviction controller's.
mod plan;
mod taints;
#[cfg(test)]
mod tests;

use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup},
};
use async_trait::async_trait;
use client::{Cache, Key, cache::Selection};
use foldhash::HashMap;
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use parking_lot::Mutex;
use plan::View;
use std::sync::Arc;

const LEASES: &str = "kube-node-lease";
pub const BY_NODE: &str = "node";

/// What a node was last heard to say, and when.
#[derive(Clone)]
struct Heard {
    sign: (Option<Timestamp>, Option<Timestamp>),
    at: Timestamp,
    uid: Option<String>,
}

struct NodeLifecycle {
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    pods: Cache<Pod>,
    heard: Mutex<HashMap<Key, Heard>>,
    grace: std::time::Duration,
}

/// Index pods by the node they are bound to.
pub fn index_by_node(pods: &Cache<Pod>) {
    pods.add_index(BY_NODE, |pod| {
        let node = pods::node(pod);
        if node.is_empty() { Vec::new() } else { vec![node.to_owned()] }
    });
}

/// Start the node lifecycle controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let nodes = setup.watch::<Node>();
    let leases = setup.cache_selected::<Lease>(&Selection::field("metadata.namespace", LEASES));
    setup.follow(&leases, |old, new, add| {
        for lease in old.into_iter().chain(new) {
            if lease.metadata.namespace.as_deref() == Some(LEASES) {
                add(Key::cluster(lease.metadata.name.as_deref().unwrap_or_default()));
            }
        }
    });
    // A pod that says Ready on a node that is not gets corrected.
    let known = nodes.clone();
    let pods = setup.watch_changes::<Pod>(move |_, new, add| {
        let Some(pod) = new.filter(|pod| pods::is_ready(pod)) else { return };
        let node = known.get("", pods::node(pod));
        if let Some(node) = node.filter(|node| !plan::is_ready(node)) {
            add(Key::of(&*node));
        }
    });
    index_by_node(&pods);
    let grace = setup.flags.node_monitor_grace_period;
    Ok(Arc::new(NodeLifecycle { nodes, leases, pods, heard: Mutex::default(), grace }))
}

impl NodeLifecycle {
    fn hear(&self, key: &Key, node: &Node, now: Timestamp) -> (Heard, bool) {
        let lease = self.leases.get(LEASES, &key.name);
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let heartbeat =
            plan::condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.as_ref().map(|t| t.0));
        let sign = (renewed, heartbeat);
        let mut heard = self.heard.lock();
        let known = heard.get(key).filter(|known| known.uid == node.metadata.uid).cloned();
        let is_new = known.is_none();
        let current = match known {
            Some(known) if known.sign == sign => known,
            _ => Heard { sign, at: now, uid: node.metadata.uid.clone() },
        };
        heard.insert(key.clone(), current.clone());
        (current, is_new)
    }
}

#[async_trait]
impl Controller for NodeLifecycle {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(node) = self.nodes.at(key) else {
            let gone = self.heard.lock().remove(key);
            return Ok(gone.map_or_else(Plan::nothing, |gone| plan::gone(&key.name, gone.uid)));
        };
        let (heard, is_new) = self.hear(key, &node, now);
        let any_ready = self.nodes.list().iter().any(|node| plan::is_ready(node));
        let pods = self.pods.by_index(BY_NODE, &key.name);
        let view = View { node, heard_at: heard.at, is_new, any_ready, pods, grace: self.grace };
        Ok(plan::plan(&view, now))
    }
}
