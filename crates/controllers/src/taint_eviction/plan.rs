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

/// When the pod has to leave; `None` if it may stay.
fn deadline(pod: &Pod, taints: &[Taint], now: Timestamp) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
    let leaving = taints.iter().filter_map(|taint| {
        let matching: Vec<_> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if matching.is_empty() {
            return Some(now);
        }
        // Without a limit a toleration says nothing about time; the shortest of those with one counts.
        let limit = matching.iter().filter_map(|toleration| toleration.toleration_seconds).min()?;
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        since.checked_add(SignedDuration::from_secs(limit.max(0))).ok()
    });
    leaving.min()
}

/// What to do now about a pod whose node has these `NoExecute` taints.
pub fn plan(pod: &Pod, taints: &[Taint], now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    if pod.metadata.deletion_timestamp.is_some() || pods::node(pod).is_empty() {
        return plan;
    }
    let Some(deadline) = deadline(pod, taints, now) else { return plan };
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
        plan(&pod, &[(*taint).clone()], now()).to_string()
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
    fn tolerated_for_ever_or_not_at_all() {
        assert_eq!(planned("{operator: Exists}", "2025-12-31T23:00:00Z"), "");
        assert!(planned("{key: other, operator: Exists}", "2025-12-31T23:59:59Z").contains("delete Pod a/p"));
    }
}
