//! What happens in the cluster that could make a waiting pod schedulable.
use crate::{
    cluster::{Cluster, NodeChange, NodeIndex},
    pod::PodInfo,
    resources::Resources,
};
use std::sync::Arc;

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
    /// A pod that is bound appeared, changed, or is gone (or an assumed one was forgotten). `before`: what it was, if it
    /// changed.
    AssignedPod { cluster: &'a Cluster, pod: &'a Arc<PodInfo>, before: Option<&'a Arc<PodInfo>>, action: Action },
    /// A claim, volume, class or CSI node appeared or changed.
    Storage { namespace: &'a str, name: &'a str, action: Action },
    /// Labels of a namespace changed.
    Namespace,
    /// Nothing in particular: a pod has waited long enough to be tried again.
    Flush,
}

impl Event<'_> {
    /// A bound pod went away, or now asks for less of something that is `asked` for.
    pub fn frees(&self, asked: &Resources) -> bool {
        match self {
            Event::AssignedPod { action: Action::Deleted, .. } => true,
            Event::AssignedPod { pod, before: Some(before), action: Action::Updated, .. } => {
                let (old, new) = (&before.template.requests.requests, &pod.template.requests.requests);
                asked.names().any(|name| asked.get(name) > 0 && old.get(name) > new.get(name))
            }
            _ => false,
        }
    }
}

/// An event that is kept until it is known whom it may help.
#[derive(Clone)]
pub enum KeptEvent {
    Node { name: Arc<str>, change: NodeChange },
    NodeDeleted,
    AssignedPod { pod: Arc<PodInfo>, before: Option<Arc<PodInfo>>, action: Action },
    Storage { namespace: String, name: String, action: Action },
    Namespace,
    Flush,
}

impl From<&Event<'_>> for KeptEvent {
    fn from(event: &Event<'_>) -> Self {
        match *event {
            Event::Node { cluster, index, change } => KeptEvent::Node { name: cluster.row(index).name.clone(), change },
            Event::NodeDeleted => KeptEvent::NodeDeleted,
            Event::AssignedPod { pod, before, action, .. } => {
                KeptEvent::AssignedPod { pod: pod.clone(), before: before.cloned(), action }
            }
            Event::Storage { namespace, name, action } => {
                KeptEvent::Storage { namespace: namespace.to_owned(), name: name.to_owned(), action }
            }
            Event::Namespace => KeptEvent::Namespace,
            Event::Flush => KeptEvent::Flush,
        }
    }
}

impl KeptEvent {
    /// The event over the cluster as it is now; `None`: its node is gone again.
    pub fn over<'a>(&'a self, cluster: &'a Cluster) -> Option<Event<'a>> {
        Some(match self {
            KeptEvent::Node { name, change } => Event::Node { cluster, index: cluster.node(name)?, change: *change },
            KeptEvent::NodeDeleted => Event::NodeDeleted,
            KeptEvent::AssignedPod { pod, before, action } => {
                Event::AssignedPod { cluster, pod, before: before.as_ref(), action: *action }
            }
            KeptEvent::Storage { namespace, name, action } => Event::Storage { namespace, name, action: *action },
            KeptEvent::Namespace => Event::Namespace,
            KeptEvent::Flush => Event::Flush,
        })
    }
}
