//! Node lifecycle: what becomes of nodes whose kubelet is not heard from, and of their pods.
//!
//! Watches nodes, their leases, and pods. A node is heard from when its lease or its Ready heartbeat
//! changes; when that was is by our own clock, so clocks may differ. Taints say the rest: evicting is
//! the taint eviction controller's. How fast nodes are given the taint that evicts is up to [`zones`].
mod plan;
mod taints;
#[cfg(test)]
mod tests;
mod zones;

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
use plan::{Times, View};
use std::sync::Arc;
use zones::{Eviction, Rates, Zones};

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
    /// Made of all nodes when the first is looked at, and then kept by each.
    zones: Mutex<Option<Zones>>,
    rates: Rates,
    times: Times,
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
    let flags = &setup.flags;
    let times = Times {
        grace: flags.node_monitor_grace_period,
        startup_grace: flags.node_startup_grace_period,
        period: flags.node_monitor_period,
    };
    let rates = Rates {
        normal: flags.node_eviction_rate,
        reduced: flags.secondary_node_eviction_rate,
        unhealthy: flags.unhealthy_zone_threshold,
        large: flags.large_cluster_size_threshold,
    };
    let (heard, zones) = (Mutex::default(), Mutex::default());
    Ok(Arc::new(NodeLifecycle { nodes, leases, pods, heard, zones, rates, times }))
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
            // Who never said anything has been silent since it was made.
            None if sign == (None, None) && plan::condition(node, "Ready").is_none() => {
                let at = node.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
                Heard { sign, at, uid: node.metadata.uid.clone() }
            }
            _ => Heard { sign, at: now, uid: node.metadata.uid.clone() },
        };
        heard.insert(key.clone(), current.clone());
        (current, is_new)
    }

    /// The zones with this node as it is now, or without it.
    fn zones<T>(&self, key: &Key, node: Option<&Node>, now: Timestamp, ask: impl FnOnce(&mut Zones) -> T) -> T {
        let mut zones = self.zones.lock();
        let zones = zones.get_or_insert_with(|| {
            let mut zones = Zones::new(self.rates);
            self.nodes.list().iter().for_each(|node| zones.see(node, plan::is_ready(node), now));
            zones
        });
        match node {
            Some(node) => zones.see(node, plan::is_ready(node), now),
            None => zones.leave(&key.name, now),
        }
        ask(zones)
    }
}

#[async_trait]
impl Controller for NodeLifecycle {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(node) = self.nodes.at(key) else {
            let gone = self.heard.lock().remove(key);
            self.zones(key, None, now, |_| ());
            return Ok(gone.map_or_else(Plan::nothing, |gone| plan::gone(&key.name, gone.uid)));
        };
        let (heard, is_new) = self.hear(key, &node, now);
        let (eviction, resumed) = self.zones(key, Some(&node), now, |zones| {
            let eviction = match zones.is_stopped() {
                true => Eviction::Stopped,
                false if plan::asks_for_eviction(&node) => zones.ask(&node, self.times.period, now),
                false => Eviction::Waits(self.times.period),
            };
            (eviction, zones.resumed())
        });
        let heard_at = resumed.map_or(heard.at, |resumed| resumed.max(heard.at));
        let pods = self.pods.by_index(BY_NODE, &key.name);
        let view = View { node, heard_at, is_new, eviction, pods, times: self.times };
        Ok(plan::plan(&view, now))
    }
}
