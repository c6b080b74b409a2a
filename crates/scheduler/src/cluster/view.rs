//! One node as a decision sees it: the cluster's columns, and what-if changes on top.
use super::{Cluster, NodeIndex, NodeRow};
use crate::pod::PodInfo;
use std::sync::Arc;

/// Pods thought away from, or added to, one node: for preemption and for nominated pods.
#[derive(Clone, Default)]
pub struct Overlay {
    removed: Vec<Arc<PodInfo>>,
    added: Vec<Arc<PodInfo>>,
}

impl Overlay {
    pub fn add(&mut self, pod: &Arc<PodInfo>) {
        if let Some(at) = self.removed.iter().position(|p| p.uid == pod.uid) {
            self.removed.swap_remove(at);
        } else {
            self.added.push(pod.clone());
        }
    }

    pub fn remove(&mut self, pod: &Arc<PodInfo>) {
        if let Some(at) = self.added.iter().position(|p| p.uid == pod.uid) {
            self.added.swap_remove(at);
        } else {
            self.removed.push(pod.clone());
        }
    }

    fn delta(&self, amount: impl Fn(&PodInfo) -> i64) -> i64 {
        let sum = |pods: &[Arc<PodInfo>]| pods.iter().map(|p| amount(p)).sum::<i64>();
        sum(&self.added) - sum(&self.removed)
    }
}

/// A node, perhaps with an [`Overlay`].
#[derive(Clone, Copy)]
pub struct NodeView<'a> {
    pub cluster: &'a Cluster,
    pub index: NodeIndex,
    overlay: Option<&'a Overlay>,
}

impl<'a> NodeView<'a> {
    pub(super) fn new(cluster: &'a Cluster, index: NodeIndex, overlay: Option<&'a Overlay>) -> Self {
        NodeView { cluster, index, overlay }
    }

    /// The same node with changes thought of.
    pub fn with(self, overlay: &'a Overlay) -> Self {
        NodeView { overlay: Some(overlay), ..self }
    }

    pub fn row(&self) -> &'a NodeRow {
        self.cluster.row(self.index)
    }

    pub fn name(&self) -> &'a Arc<str> {
        &self.row().name
    }

    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.row().labels().get(key).map(String::as_str)
    }

    fn requested(&self, base: i64, amount: impl Fn(&PodInfo) -> i64) -> i64 {
        self.overlay.map_or(base, |overlay| base + overlay.delta(amount))
    }

    pub fn requested_milli_cpu(&self) -> i64 {
        let base = self.cluster.columns.requested_milli_cpu[self.index];
        self.requested(base, |p| p.template.requests.requests.milli_cpu)
    }

    pub fn requested_memory(&self) -> i64 {
        let base = self.cluster.columns.requested_memory[self.index];
        self.requested(base, |p| p.template.requests.requests.memory)
    }

    pub fn requested_ephemeral_storage(&self) -> i64 {
        let base = self.cluster.columns.requested_ephemeral_storage[self.index];
        self.requested(base, |p| p.template.requests.requests.ephemeral_storage)
    }

    pub fn nonzero_milli_cpu(&self) -> i64 {
        let base = self.cluster.columns.nonzero_milli_cpu[self.index];
        self.requested(base, |p| p.template.requests.nonzero_milli_cpu)
    }

    pub fn nonzero_memory(&self) -> i64 {
        let base = self.cluster.columns.nonzero_memory[self.index];
        self.requested(base, |p| p.template.requests.nonzero_memory)
    }

    /// Requested amount of an extended resource.
    pub fn requested_scalar(&self, name: &str) -> i64 {
        self.requested(self.row().requested.get(name), |p| p.template.requests.requests.get(name))
    }

    pub fn pod_count(&self) -> i64 {
        self.requested(self.cluster.columns.pods[self.index], |_| 1)
    }

    /// The pods at this node.
    pub fn pods(&self) -> impl Iterator<Item = &'a Arc<PodInfo>> {
        let overlay = self.overlay;
        let here = self.row().pods.iter();
        here.filter(move |p| overlay.is_none_or(|o| !o.removed.iter().any(|gone| gone.uid == p.uid)))
            .chain(overlay.into_iter().flat_map(|o| &o.added))
    }
}
