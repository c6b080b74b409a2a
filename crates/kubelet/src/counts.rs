//! What the kubelet has counted since it started, by upstream's metric names.
use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::probes::results::ProbeKind;

/// A counter with at most one label of few values: name, help, label (none if empty).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub label: &'static str,
}

pub const EVICTIONS: Family = Family {
    name: "kubelet_evictions",
    help: "[ALPHA] Cumulative number of pod evictions by eviction signal",
    label: "eviction_signal",
};
pub const STARTED_PODS: Family =
    Family { name: "kubelet_started_pods_total", help: "[ALPHA] Cumulative number of pods started", label: "" };
pub const STARTED_PODS_ERRORS: Family = Family {
    name: "kubelet_started_pods_errors_total",
    help: "[ALPHA] Cumulative number of errors when starting pods",
    label: "",
};
pub const STARTED_CONTAINERS: Family = Family {
    name: "kubelet_started_containers_total",
    help: "[ALPHA] Cumulative number of containers started",
    label: "container_type",
};
pub const IMAGES_COLLECTED: Family = Family {
    name: "kubelet_image_garbage_collected_total",
    help: "[ALPHA] Total number of images garbage collected by the kubelet, whether through disk usage or image age.",
    label: "reason",
};

/// Whose probe ended how; the labels of `prober_probe_total`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probed {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub kind: ProbeKind,
    /// `successful`, `failed` or `unknown`.
    pub result: &'static str,
}

/// The counters. Bounded: by the families above and, for probes, by the pods that are here.
#[derive(Debug, Default)]
pub struct Counts {
    families: Mutex<BTreeMap<(Family, &'static str), u64>>,
    probes: Mutex<BTreeMap<Probed, u64>>,
}

impl Counts {
    pub fn add(&self, family: Family, label: &'static str) {
        *self.families.lock().entry((family, label)).or_default() += 1;
    }

    pub fn evicted(&self, signal: &'static str) {
        self.add(EVICTIONS, signal);
    }

    pub fn probed(&self, what: Probed) {
        *self.probes.lock().entry(what).or_default() += 1;
    }

    /// Drops what was counted of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.probes.lock().retain(|probed, _| probed.uid != uid);
    }

    pub fn families(&self) -> Vec<(Family, &'static str, u64)> {
        self.families.lock().iter().map(|((family, label), count)| (*family, *label, *count)).collect()
    }

    pub fn probes(&self) -> Vec<(Probed, u64)> {
        self.probes.lock().iter().map(|(probed, count)| (probed.clone(), *count)).collect()
    }
}
