//! When a pod has to leave.
use crate::{
    node_fit::tolerates,
    pods,
    runtime::{Plan, Write},
};
use client::{Key, events::reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Taint};
use serde_json::json;
use std::time::Duration;

/// How long the pod tolerates the taint: not at all, for a time, or (`None`) for ever.
fn tolerated_s(pod: &Pod, taint: &Taint) -> Option<i64> {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let matching: Vec<_> = tolerations.filter(|toleration| tolerates(toleration, taint)).collect();
    if matching.is_empty() {
        return Some(0);
    }
    // Without a limit a toleration says nothing about time; the shortest of those with one counts.
    matching.iter().filter_map(|toleration| toleration.toleration_seconds).min().map(|seconds| seconds.max(0))
}

/// Whether the pod has to leave sooner or later.
pub fn has_to_leave(pod: &Pod, taints: &[Taint]) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && !pods::node(pod).is_empty()
        && taints.iter().any(|taint| tolerated_s(pod, taint).is_some())
}

/// When the pod has to leave; `None` if it may stay. A taint that says when it was added counts from then, or from when
/// the pod came to it; any other from when it was first seen.
fn deadline(pod: &Pod, taints: &[Taint], first_seen: Timestamp) -> Option<Timestamp> {
    let scheduled = pods::condition(pod, "PodScheduled").and_then(|condition| condition.last_transition_time.as_ref());
    let leaving = taints.iter().filter_map(|taint| {
        let added = taint.time_added.as_ref().map(|time| time.0);
        let since = added.map_or(first_seen, |added| added.max(scheduled.map_or(added, |time| time.0)));
        since.checked_add(SignedDuration::from_secs(tolerated_s(pod, taint)?)).ok()
    });
    leaving.min()
}

/// What to do now about a pod whose node has these `NoExecute` taints, known since `first_seen`.
pub fn plan(pod: &Pod, taints: &[Taint], first_seen: Timestamp, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    if !has_to_leave(pod, taints) {
        return plan;
    }
    let Some(deadline) = deadline(pod, taints, first_seen) else { return plan };
    if let Ok(left) = Duration::try_from(deadline.duration_since(now))
        && !left.is_zero()
    {
        plan.again_in(left);
        return plan;
    }
    let key = Key::of(pod);
    plan.normal(&reference(pod), "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": apimachinery::time::rfc3339(now),
    });
    let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
    plan.write(Write::strategic::<Pod>(key, patch).at("status").or_gone().or_conflict());
    plan.write(Write::delete(pod, None));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{now, object};
    use std::sync::Arc;

    fn planned(tolerations: &str, added: &str) -> String {
        let pod: Arc<Pod> = object(&format!(
            "metadata: {{name: p, namespace: a}}\nspec: {{nodeName: n, containers: [], tolerations: [{tolerations}]}}"
        ));
        let taint: Arc<Taint> =
            object(&format!("{{key: node.kubernetes.io/unreachable, effect: NoExecute, timeAdded: '{added}'}}"));
        plan(&pod, &[(*taint).clone()], now(), now()).to_string()
    }

    #[test]
    fn tolerated_for_a_time() {
        let for_300s =
            "{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}";
        assert_eq!(planned(for_300s, "2025-12-31T23:59:00Z"), "again in 4m0s\n");
        let late = planned(for_300s, "2025-12-31T23:55:00Z");
        assert!(late.contains("Marking for deletion Pod a/p") && late.ends_with("delete Pod a/p\n"), "{late}");
    }

    #[test]
    fn a_taint_without_a_time_counts_from_when_it_was_seen() {
        let pod: Arc<Pod> = object(
            "metadata: {name: p, namespace: a}\n\
             spec: {nodeName: n, containers: [], tolerations: [{operator: Exists, tolerationSeconds: 10}]}",
        );
        let taint: Arc<Taint> = object("{key: k, effect: NoExecute}");
        let seen = |seconds: i64| now() - SignedDuration::from_secs(seconds);
        assert_eq!(plan(&pod, &[(*taint).clone()], seen(4), now()).to_string(), "again in 6s\n");
        assert!(plan(&pod, &[(*taint).clone()], seen(10), now()).to_string().contains("delete Pod a/p"));
    }

    #[test]
    fn tolerated_for_ever_or_not_at_all() {
        assert_eq!(planned("{operator: Exists}", "2025-12-31T23:00:00Z"), "");
        assert!(planned("{key: other, operator: Exists}", "2025-12-31T23:59:59Z").contains("delete Pod a/p"));
    }
}
