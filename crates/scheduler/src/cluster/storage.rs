//! Volumes and claims, as far as they decide where a pod can run.
use crate::{
    objects::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
    pod::PodKey,
};
use foldhash::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Storage {
    pub claims: HashMap<PodKey, PersistentVolumeClaim>,
    pub volumes: HashMap<String, PersistentVolume>,
    pub classes: HashMap<String, StorageClass>,
    pub csi_nodes: HashMap<String, CsiNode>,
}

impl Storage {
    pub fn claim(&self, namespace: &Arc<str>, name: &str) -> Option<&PersistentVolumeClaim> {
        self.claims.get(&PodKey { namespace: namespace.clone(), name: Arc::from(name) })
    }
}
