//! Which pods to delete.
use crate::{
    pods,
    runtime::{Plan, Write},
};
use client::Key;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How long a node must be missing before its pods count as lost.
pub const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);

/// What there is: all pods, the nodes that are certainly gone, whether others may turn out to be, and
/// how many ended pods may stay.
pub struct View {
    pub pods: Vec<Arc<Pod>>,
    pub gone_nodes: Vec<String>,
    pub waiting: bool,
    pub threshold: i64,
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    for pod in ended(view) {
        plan.write(Write::delete(&**pod, None).grace(0));
    }
    for pod in &view.pods {
        let node = pods::node(pod);
        if view.gone_nodes.iter().any(|gone| gone == node) {
            if !pods::is_terminal(pod) {
                plan.write(fail(pod, now));
            }
            plan.write(Write::delete(&**pod, None).grace(0));
        } else if node.is_empty() && pod.metadata.deletion_timestamp.is_some() {
            plan.write(Write::delete(&**pod, None).grace(0));
        }
    }
    if view.waiting {
        plan.again_in(Duration::from_secs(20));
    }
    plan
}

/// The oldest ended pods past the threshold.
fn ended(view: &View) -> Vec<&Arc<Pod>> {
    let Ok(threshold) = usize::try_from(view.threshold) else { return Vec::new() };
    let terminal = |pod: &&Arc<Pod>| pods::is_terminal(pod) && pod.metadata.deletion_timestamp.is_none();
    let mut ended: Vec<_> = view.pods.iter().filter(terminal).collect();
    if threshold == 0 || ended.len() <= threshold {
        return Vec::new();
    }
    ended.sort_by_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), Key::of(&***pod)));
    ended.truncate(ended.len() - threshold);
    ended
}

/// A pod that cannot report its end any more has failed; so its owner may replace it.
fn fail(pod: &Pod, now: Timestamp) -> Write {
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
        "lastTransitionTime": apimachinery::time::rfc3339(now),
        "observedGeneration": pod.metadata.generation,
    });
    let patch = json!({ "status": { "phase": "Failed", "conditions": [condition] } });
    Write::strategic::<Pod>(Key::of(pod), patch).at("status").or_gone()
}
