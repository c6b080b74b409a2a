//! Which pods go first when there are too many: those whose loss costs least.
//!
//! Source: "ReplicaSet: scaling down" and upstream's `ActivePodsWithRanks`.
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::{borrow::Borrow, cmp::Ordering, collections::BTreeMap, sync::Arc};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// How many active pods each node has.
pub fn spread<P: Borrow<Pod>>(pods: impl IntoIterator<Item = P>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        let pod = pod.borrow();
        if pods::is_active(pod) && !pods::node(pod).is_empty() {
            *counts.entry(pods::node(pod).to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

/// The `count` pods to delete first.
pub fn victims(
    mut pods: Vec<Arc<Pod>>,
    count: usize,
    spread: &BTreeMap<String, usize>,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        pods.sort_by(|a, b| order(a, b, spread, now));
        pods.truncate(count);
    }
    pods
}

fn cost(pod: &Pod) -> i32 {
    let annotation = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    annotation.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn phase(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn order(a: &Pod, b: &Pod, spread: &BTreeMap<String, usize>, now: Timestamp) -> Ordering {
    let rank = |pod: &Pod| spread.get(pods::node(pod)).copied().unwrap_or(0);
    let assigned = |pod: &Pod| !pods::node(pod).is_empty();
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let by_ready_time = || match (pods::is_ready(a), pods::is_ready(b)) {
        (true, true) => newer_first(pods::ready_since(a), pods::ready_since(b), a, b, now),
        _ => Ordering::Equal,
    };
    (assigned(a).cmp(&assigned(b)))
        .then(phase(a).cmp(&phase(b)))
        .then(pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then(cost(a).cmp(&cost(b)))
        .then_with(|| rank(b).cmp(&rank(a)))
        .then_with(by_ready_time)
        .then_with(|| pods::restarts(b).cmp(&pods::restarts(a)))
        .then_with(|| newer_first(created(a), created(b), a, b, now))
}

/// Newer first, where ages of the same power of two count as equal and the UID decides, so that the
/// newest pods are not always the ones to go (KEP-2185).
fn newer_first(x: Option<Timestamp>, y: Option<Timestamp>, a: &Pod, b: &Pod, now: Timestamp) -> Ordering {
    let (Some(x), Some(y)) = (x, y) else { return y.is_none().cmp(&x.is_none()).reverse().then(Ordering::Equal) };
    if x == y {
        return Ordering::Equal;
    }
    let magnitude = |time: Timestamp| {
        let age = now.duration_since(time).as_nanos();
        if age > 0 { i64::from(age.ilog2()) } else { -1 }
    };
    magnitude(x).cmp(&magnitude(y)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}
