//! Deleting pods nobody else will: on nodes that are gone, deleted before they were bound, and ended
//! ones past `--terminated-pod-gc-threshold`.
//!
//! Watches pods and nodes. There is one key: what matters is the whole.
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup},
};
use async_trait::async_trait;
use client::{Cache, Key};
use foldhash::HashMap;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use parking_lot::Mutex;
use plan::View;
use std::sync::Arc;

struct PodGc {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    client: kube::Client,
    threshold: i64,
    /// Since when nodes that pods name are missing.
    missing: Mutex<HashMap<String, Timestamp>>,
}

/// Start the pod garbage collector.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let key = || Key::cluster("pods");
    let nodes = setup.watch_changes::<Node>(move |_, new, add| {
        if new.is_none() {
            add(key());
        }
    });
    let known = nodes.clone();
    let pods = setup.watch_changes::<Pod>(move |_, new, add| {
        let Some(pod) = new else { return };
        let node = pods::node(pod);
        let lost = !node.is_empty() && known.get("", node).is_none();
        if pods::is_terminal(pod) || lost || (node.is_empty() && pod.metadata.deletion_timestamp.is_some()) {
            add(key());
        }
    });
    let (client, threshold) = (setup.client.clone(), setup.flags.terminated_pod_gc_threshold);
    Ok(Arc::new(PodGc { pods, nodes, client, threshold, missing: Mutex::default() }))
}

impl PodGc {
    /// Nodes that are missing for long enough, made sure of with the server.
    async fn gone(&self, pods: &[Arc<Pod>], now: Timestamp) -> Result<(Vec<String>, bool), Failure> {
        let mut named: Vec<&str> = pods.iter().map(|pod| pods::node(pod)).filter(|node| !node.is_empty()).collect();
        named.sort_unstable();
        named.dedup();
        named.retain(|node| self.nodes.get("", node).is_none());
        let due: Vec<String> = {
            let mut missing = self.missing.lock();
            missing.retain(|node, _| named.contains(&node.as_str()));
            let since = named.iter().map(|node| (node, *missing.entry((*node).to_owned()).or_insert(now)));
            since
                .filter(|(_, since)| now.duration_since(*since) >= plan::QUARANTINE)
                .map(|(n, _)| (*n).to_owned())
                .collect()
        };
        let waiting = due.len() < named.len();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut gone = Vec::new();
        for node in due {
            if nodes.get_metadata_opt(&node).await?.is_none() {
                gone.push(node);
            }
        }
        Ok((gone, waiting))
    }
}

#[async_trait]
impl Controller for PodGc {
    async fn reconcile(&self, _key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let pods = self.pods.list();
        let (gone_nodes, waiting) = self.gone(&pods, now).await?;
        Ok(plan::plan(&View { pods, gone_nodes, waiting, threshold: self.threshold }, now))
    }
}
