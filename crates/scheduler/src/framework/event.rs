//! What happens in the cluster that could make a waiting pod schedulable.
use crate::{
    cluster::{Cluster, NodeChange, NodeIndex},
    pod::PodInfo,
};

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Added,
    Updated,
    Deleted,
}

/// An event as plugins judge it.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A node appeared or changed.
    Node { cluster: &'a Cluster, index: NodeIndex, change: NodeChange },
    /// A node is gone.
    NodeDeleted,
    /// A pod that is bound appeared, changed, or is gone (or an assumed one was forgotten).
    AssignedPod { cluster: &'a Cluster, pod: &'a PodInfo, action: Action },
    /// A claim, volume, class or CSI node appeared or changed.
    Storage { namespace: &'a str, name: &'a str, action: Action },
    /// Labels of a namespace changed.
    Namespace,
    /// Nothing in particular: a pod has waited long enough to be tried again.
    Flush,
}

impl Event<'_> {
    /// A bound pod went away, or now needs less.
    pub fn frees_resources(&self) -> bool {
        matches!(self, Event::AssignedPod { action: Action::Deleted | Action::Updated, .. })
    }
}
