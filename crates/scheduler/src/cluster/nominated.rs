//! Pods that room was made for by preemption and that wait to take it.
//!
//! Others of lower priority must not take their place in the meantime, so they count at their node when a pod
//! of no higher priority is filtered there.
use crate::pod::PodInfo;
use foldhash::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Nominated {
    by_node: HashMap<Arc<str>, Vec<Arc<PodInfo>>>,
    node_of: HashMap<Arc<str>, Arc<str>>,
}

impl Nominated {
    /// Nominates a pod for a node, instead of whatever it was nominated for.
    pub fn set(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        self.remove(&pod.uid);
        self.by_node.entry(node.clone()).or_default().push(pod.clone());
        self.node_of.insert(pod.uid.clone(), node.clone());
    }

    pub fn remove(&mut self, uid: &str) {
        let Some(node) = self.node_of.remove(uid) else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|p| &*p.uid != uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// The pods nominated for a node.
    pub fn at(&self, node: &str) -> &[Arc<PodInfo>] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    pub fn node_of(&self, uid: &str) -> Option<&Arc<str>> {
        self.node_of.get(uid)
    }

    pub fn is_empty(&self) -> bool {
        self.node_of.is_empty()
    }
}
