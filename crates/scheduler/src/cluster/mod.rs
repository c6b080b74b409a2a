//! The scheduler's picture of the cluster: what nodes have, what pods took, what was assumed but not seen yet.
//!
//! Amounts are columns, one slot a node, so that filtering and scoring thousands of nodes walks arrays. Every
//! change is incremental; nothing is rebuilt. Slots of removed nodes are used again, and a slot without a node
//! keeps the pods that were bound to it. A decision reads `&Cluster` and changes nothing.
mod columns;
mod images;
mod nominated;
mod selectors;
mod storage;
mod view;

pub use columns::Columns;
pub use images::{ImageState, Images};
pub use nominated::Nominated;
pub use selectors::{Budget, SelectorKind, Selectors};
pub use storage::Storage;
pub use view::{NodeView, Overlay};

use crate::{
    objects::{self, StringMap},
    pod::PodInfo,
    resources::Resources,
};
use foldhash::HashMap;
use k8s_openapi::api::core::v1::Taint;
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

/// A slot of the node columns.
pub type NodeIndex = usize;

/// What of a node is not in the columns.
#[derive(Default)]
pub struct NodeRow {
    pub name: Arc<str>,
    /// As decoded; `None`: only pods know this node.
    pub node: Option<objects::Node>,
    pub allocatable: Resources,
    pub requested: Resources,
    pub pods: Vec<Arc<PodInfo>>,
    /// Of `pods`, those that speak of other pods.
    pub affinity_pods: Vec<Arc<PodInfo>>,
    /// Counts up whenever anything of this node changes.
    pub generation: u64,
}

impl NodeRow {
    pub fn labels(&self) -> &StringMap {
        static NONE: StringMap = StringMap::new();
        self.node.as_ref().map_or(&NONE, |node| &node.metadata.labels)
    }

    pub fn taints(&self) -> &[Taint] {
        self.node.as_ref().map_or(&[], |node| &node.spec.taints)
    }

    pub fn unschedulable(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.spec.unschedulable)
    }
}

/// What changed of a node, for deciding which waiting pods it concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    pub added: bool,
    pub allocatable: bool,
    pub labels: bool,
    pub taints: bool,
    pub unschedulable: bool,
}

impl NodeChange {
    pub fn any(self) -> bool {
        self != NodeChange::default()
    }
}

struct Known {
    pod: Arc<PodInfo>,
    node: NodeIndex,
    /// Decided by us, and not yet seen from the API server.
    assumed: bool,
}

/// What a bound pod was to us when it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    New,
    /// What we had assumed is so.
    Confirmed,
    /// Something about it that matters is different.
    Changed,
    Same,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Cluster {
    rows: Vec<NodeRow>,
    columns: Columns,
    by_name: HashMap<Arc<str>, NodeIndex>,
    free: Vec<NodeIndex>,
    /// Slots that have a node, going round the zones.
    /// Made anew when it is asked for after nodes came, went or changed zones.
    order: OnceLock<Vec<NodeIndex>>,
    pods: HashMap<Arc<str>, Known>,
    /// Slots with pods that speak of other pods.
    affinity_nodes: BTreeSet<NodeIndex>,
    generation: u64,
    /// Changes when something other than a pod's place changes.
    shape: u64,
    pub images: Images,
    pub nominated: Nominated,
    pub namespaces: HashMap<Arc<str>, StringMap>,
    pub storage: Storage,
    pub selectors: Selectors,
}

impl Cluster {
    /// Slots that have a node, in the order in which they are looked at: one of each zone after the other.
    pub fn order(&self) -> &[NodeIndex] {
        self.order.get_or_init(|| self.in_order())
    }

    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    pub fn row(&self, index: NodeIndex) -> &NodeRow {
        &self.rows[index]
    }

    pub fn rows(&self) -> &[NodeRow] {
        &self.rows
    }

    /// The slot of a node that exists.
    pub fn node(&self, name: &str) -> Option<NodeIndex> {
        let index = *self.by_name.get(name)?;
        self.rows[index].node.is_some().then_some(index)
    }

    pub fn view(&self, index: NodeIndex) -> NodeView<'_> {
        NodeView::new(self, index, None)
    }

    /// Slots with pods that have affinity or anti-affinity terms.
    pub fn affinity_nodes(&self) -> &BTreeSet<NodeIndex> {
        &self.affinity_nodes
    }

    pub fn namespace_labels(&self, namespace: &str) -> Option<&StringMap> {
        self.namespaces.get(namespace)
    }

    /// Changes with everything but pods coming and going.
    pub fn shape(&self) -> u64 {
        self.shape
    }

    /// To be called when something that decisions read was changed through a public field.
    pub fn touch(&mut self) {
        self.shape += 1;
    }

    /// A bound or assumed pod.
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid).map(|placed| &placed.pod)
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    /// All bound and assumed pods.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.pods.values().map(|placed| &placed.pod)
    }

    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    fn slot(&mut self, name: &str) -> NodeIndex {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.rows.push(NodeRow::default());
            self.columns.grow();
            self.rows.len() - 1
        });
        let name: Arc<str> = Arc::from(name);
        self.rows[index].name = name.clone();
        self.by_name.insert(name, index);
        index
    }

    fn bump(&mut self, index: NodeIndex) {
        self.generation += 1;
        self.rows[index].generation = self.generation;
    }

    /// Adds a node or takes over its new state.
    pub fn upsert_node(&mut self, node: objects::Node) -> NodeChange {
        let (change, reorder) = self.set_node(node);
        if reorder {
            self.order.take();
        }
        change
    }

    /// As [`upsert_node`](Self::upsert_node) for many, in less than the sum of the time.
    pub fn upsert_nodes(&mut self, nodes: Vec<objects::Node>) {
        let mut reorder = false;
        for node in nodes {
            reorder |= self.set_node(node).1;
        }
        if reorder {
            self.order.take();
        }
    }

    /// What changed, and whether the order of nodes has to be made anew.
    fn set_node(&mut self, node: objects::Node) -> (NodeChange, bool) {
        let index = self.slot(&node.metadata.name);
        let previous = self.rows[index].node.as_ref();
        let mut reorder = false;
        let change = match previous {
            None => NodeChange { added: true, allocatable: true, labels: true, taints: true, unschedulable: true },
            Some(old) => {
                reorder = zone(&old.metadata.labels) != zone(&node.metadata.labels);
                NodeChange {
                    added: false,
                    allocatable: old.status.allocatable != node.status.allocatable,
                    labels: old.metadata.labels != node.metadata.labels,
                    taints: old.spec.taints != node.spec.taints,
                    unschedulable: old.spec.unschedulable != node.spec.unschedulable,
                }
            }
        };
        if previous.is_none_or(|old| old.status.images != node.status.images) {
            self.images.set(index, &node.status.images);
            self.shape += 1;
        }
        if change.allocatable {
            let allocatable = Resources::parse(&node.status.allocatable);
            let pods = node.status.allocatable.get(crate::resources::PODS);
            let pods = pods.and_then(|p| apimachinery::quantity::Quantity::parse(p).ok()).map_or(0, |q| q.value());
            self.columns.set_allocatable(index, &allocatable, pods);
            self.rows[index].allocatable = allocatable;
        }
        self.rows[index].node = Some(node);
        if change.any() {
            self.shape += 1;
            self.bump(index);
        }
        (change, change.added || reorder)
    }

    /// Forgets a node. Its pods stay known until they are deleted too.
    pub fn remove_node(&mut self, name: &str) -> bool {
        let Some(index) = self.node(name) else { return false };
        self.rows[index].node = None;
        self.rows[index].allocatable = Resources::default();
        self.columns.set_allocatable(index, &Resources::default(), 0);
        self.images.set(index, &[]);
        self.shape += 1;
        self.bump(index);
        self.release(index);
        self.order.take();
        true
    }

    /// Gives a slot back when neither a node nor a pod is in it.
    fn release(&mut self, index: NodeIndex) {
        let row = &mut self.rows[index];
        if row.node.is_none() && row.pods.is_empty() {
            self.by_name.remove(&row.name);
            *row = NodeRow { generation: row.generation, ..NodeRow::default() };
            self.columns.clear(index);
            self.free.push(index);
        }
    }

    /// One node of each zone after the other, so that a prefix of the order covers all zones.
    fn in_order(&self) -> Vec<NodeIndex> {
        let mut zones: Vec<(String, Vec<NodeIndex>)> = Vec::new();
        let mut at: HashMap<String, usize> = HashMap::default();
        for (index, row) in self.rows.iter().enumerate() {
            let Some(node) = &row.node else { continue };
            let zone = zone(&node.metadata.labels);
            let slot = *at.entry(zone.clone()).or_insert_with(|| {
                zones.push((zone, Vec::new()));
                zones.len() - 1
            });
            zones[slot].1.push(index);
        }
        let longest = zones.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
        (0..longest).flat_map(|round| zones.iter().filter_map(move |(_, nodes)| nodes.get(round).copied())).collect()
    }

    /// A bound pod was seen: takes it in, or confirms what was assumed.
    pub fn upsert_pod(&mut self, pod: Arc<PodInfo>) -> Placed {
        let index = self.slot(&pod.node_name);
        let Some(known) = self.pods.get_mut(&pod.uid) else {
            self.place(pod, index, false);
            return Placed::New;
        };
        if known.node == index && Arc::ptr_eq(&known.pod.template, &pod.template) && known.pod.labels == pod.labels {
            // The usual case: our own decision comes back, or the kubelet wrote a status.
            let outcome = if known.assumed { Placed::Confirmed } else { Placed::Same };
            known.assumed = false;
            if known.pod.deleting != pod.deleting || known.pod.start_time != pod.start_time {
                known.pod = pod.clone();
                let row = &mut self.rows[index];
                for held in row.pods.iter_mut().chain(&mut row.affinity_pods).filter(|p| p.uid == pod.uid) {
                    *held = pod.clone();
                }
            }
            return outcome;
        }
        let uid = known.pod.uid.clone();
        self.remove_pod(&uid);
        // Removing may have given the slot back.
        let index = self.slot(&pod.node_name);
        self.place(pod, index, false);
        Placed::Changed
    }

    /// Counts a pod at a node it was decided for.
    pub fn assume(&mut self, pod: Arc<PodInfo>, index: NodeIndex) {
        self.place(pod, index, true);
    }

    fn place(&mut self, pod: Arc<PodInfo>, index: NodeIndex, assumed: bool) {
        self.account(index, &pod, 1);
        let row = &mut self.rows[index];
        if pod.template.has_pod_affinity() {
            row.affinity_pods.push(pod.clone());
            self.affinity_nodes.insert(index);
        }
        row.pods.push(pod.clone());
        self.pods.insert(pod.uid.clone(), Known { pod, node: index, assumed });
        self.bump(index);
    }

    fn account(&mut self, index: NodeIndex, pod: &PodInfo, sign: i64) {
        let requests = &pod.template.requests;
        self.columns.account(index, requests, sign);
        if !requests.requests.scalars.is_empty() {
            self.rows[index].requested.add(&requests.requests, sign);
        }
    }

    /// A pod was deleted or has ended, or what was assumed did not come true.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let Known { pod, node: index, .. } = self.pods.remove(uid)?;
        self.account(index, &pod, -1);
        let row = &mut self.rows[index];
        row.pods.retain(|p| p.uid != pod.uid);
        if pod.template.has_pod_affinity() {
            row.affinity_pods.retain(|p| p.uid != pod.uid);
            if row.affinity_pods.is_empty() {
                self.affinity_nodes.remove(&index);
            }
        }
        self.bump(index);
        self.release(index);
        Some(pod)
    }
}

/// Region and zone of a node, as one key.
fn zone(labels: &StringMap) -> String {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    format!("{}:\0:{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    #[test]
    fn amounts_follow_pods_and_slots_are_used_again() {
        let mut cluster = Cluster::default();
        cluster.upsert_node(node("n1").allocatable("4", "8Gi", 10).build());
        let p = pod("a").cpu("500m").on("n1").info();
        assert_eq!(cluster.upsert_pod(p.clone()), Placed::New);
        let n1 = cluster.node("n1").expect("n1 is there");
        assert_eq!((cluster.columns().requested_milli_cpu[n1], cluster.columns().pods[n1]), (500, 1));
        assert_eq!(cluster.upsert_pod(Arc::new((*p).clone())), Placed::Same);
        assert_eq!(cluster.columns().requested_milli_cpu[n1], 500);

        cluster.remove_node("n1");
        assert!(cluster.order().is_empty() && cluster.node("n1").is_none());
        cluster.remove_pod(&p.uid);
        cluster.upsert_node(node("n2").allocatable("4", "8Gi", 10).build());
        assert_eq!(cluster.node("n2"), Some(n1));
        assert_eq!(cluster.columns().requested_milli_cpu[n1], 0);
    }

    #[test]
    fn a_bound_pod_confirms_what_was_assumed() {
        let mut cluster = Cluster::default();
        cluster.upsert_node(node("n1").allocatable("4", "8Gi", 10).build());
        let bound = pod("a").cpu("1").on("n1").info();
        let mut waiting = (*bound).clone();
        waiting.node_name = Arc::from("");
        cluster.assume(Arc::new(waiting), 0);
        assert!(cluster.is_assumed(&bound.uid));
        assert_eq!(cluster.upsert_pod(bound.clone()), Placed::Confirmed);
        assert!(!cluster.is_assumed(&bound.uid));
        assert_eq!(cluster.columns().requested_milli_cpu[0], 1000);
    }

    #[test]
    fn the_order_goes_round_the_zones() {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
            cluster.upsert_node(node(name).label("topology.kubernetes.io/zone", zone).build());
        }
        let names: Vec<_> = cluster.order().iter().map(|i| &*cluster.row(*i).name).collect();
        assert_eq!(names, ["a1", "b1", "a2", "a3"]);
    }
}
