//! Amounts of the common resources, one array each, indexed by a node's slot.
//!
//! All columns are of one length. CPU in thousandths, the rest in whole units.
use super::NodeIndex;
use crate::resources::{PodRequests, Resources};

#[derive(Default)]
pub struct Columns {
    pub allocatable_milli_cpu: Vec<i64>,
    pub allocatable_memory: Vec<i64>,
    pub allocatable_ephemeral_storage: Vec<i64>,
    pub allocatable_pods: Vec<i64>,
    pub requested_milli_cpu: Vec<i64>,
    pub requested_memory: Vec<i64>,
    pub requested_ephemeral_storage: Vec<i64>,
    /// As requested, with defaults for containers that ask for nothing: what scores compare.
    pub nonzero_milli_cpu: Vec<i64>,
    pub nonzero_memory: Vec<i64>,
    pub pods: Vec<i64>,
}

impl Columns {
    fn all(&mut self) -> [&mut Vec<i64>; 10] {
        [
            &mut self.allocatable_milli_cpu,
            &mut self.allocatable_memory,
            &mut self.allocatable_ephemeral_storage,
            &mut self.allocatable_pods,
            &mut self.requested_milli_cpu,
            &mut self.requested_memory,
            &mut self.requested_ephemeral_storage,
            &mut self.nonzero_milli_cpu,
            &mut self.nonzero_memory,
            &mut self.pods,
        ]
    }

    pub(super) fn grow(&mut self) {
        for column in self.all() {
            column.push(0);
        }
    }

    pub(super) fn clear(&mut self, index: NodeIndex) {
        for column in self.all() {
            column[index] = 0;
        }
    }

    pub(super) fn set_allocatable(&mut self, index: NodeIndex, amounts: &Resources, pods: i64) {
        self.allocatable_milli_cpu[index] = amounts.milli_cpu;
        self.allocatable_memory[index] = amounts.memory;
        self.allocatable_ephemeral_storage[index] = amounts.ephemeral_storage;
        self.allocatable_pods[index] = pods;
    }

    pub(super) fn account(&mut self, index: NodeIndex, pod: &PodRequests, sign: i64) {
        self.requested_milli_cpu[index] += sign * pod.requests.milli_cpu;
        self.requested_memory[index] += sign * pod.requests.memory;
        self.requested_ephemeral_storage[index] += sign * pod.requests.ephemeral_storage;
        self.nonzero_milli_cpu[index] += sign * pod.nonzero_milli_cpu;
        self.nonzero_memory[index] += sign * pod.nonzero_memory;
        self.pods[index] += sign;
    }
}
