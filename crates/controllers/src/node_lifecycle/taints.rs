//! Which taints a node's conditions call for.
use super::zones::Eviction;
use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition, its status, and the taint for it.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// Whether a taint is ours to set and remove.
fn is_ours(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        "NoSchedule" => taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key),
        "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    }
}

/// Whether the node carries one of our taints that drive pods away.
pub fn is_evicting(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().any(|taint| taint.effect == "NoExecute" && is_ours(taint))
}

/// The node's taints as they should be. Whoever drives pods away already goes on, with the taint that fits.
pub fn wanted(node: &Node, conditions: &[(&str, &str)], eviction: Eviction, now: jiff::Timestamp) -> Vec<Taint> {
    let spec = node.spec.clone().unwrap_or_default();
    let evict = match eviction {
        Eviction::Allowed => true,
        Eviction::Waits(_) => is_evicting(node),
        Eviction::Stopped => false,
    };
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for (condition, status, key) in BY_CONDITION {
        if conditions.contains(&(condition, status)) {
            keys.push((key, "NoSchedule"));
            if evict && condition == "Ready" {
                keys.push((key, "NoExecute"));
            }
        }
    }
    if spec.unschedulable == Some(true) {
        keys.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let known = spec.taints.unwrap_or_default();
    let stays = |taint: &Taint| !is_ours(taint) || keys.contains(&(&taint.key, &taint.effect));
    let mut taints: Vec<Taint> = known.iter().filter(|taint| stays(taint)).cloned().collect();
    for (key, effect) in keys {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let time_added = Some(Time(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    taints
}
