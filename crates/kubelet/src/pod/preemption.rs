//! Which pods make room for a critical one that the node has no resources left for. Pure.
//!
//! As few of the better classes of service as possible: a burstable pod goes only for what all best-effort pods
//! together do not free, a guaranteed one only for what is missing after those. Within a class those go that come
//! closest to what is wanted. Source: `pkg/kubelet/preemption/preemption.go`.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::resources::{self, Qos};
use crate::spec;
use crate::status::{Ending, Verdict};

/// A resource of which the node has too little left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// `pods`, `cpu`, `memory` or `ephemeral-storage`.
    pub name: &'static str,
    /// What is missing: pods, milli-CPU or bytes.
    pub amount: i64,
}

/// The end of a pod that makes room.
pub fn verdict() -> Verdict {
    let disruption = "Pod was preempted by Kubelet to accommodate a critical pod.".to_owned();
    Verdict {
        ending: Ending { grace_s: None, disruption: Some(disruption) },
        ..Verdict::new("Preempting", "Preempted in order to admit critical pod")
    }
}

fn freed(pod: &Pod, name: &str) -> i64 {
    match name {
        "pods" => 1,
        "cpu" => resources::pod_requests(pod).cpu_milli,
        "memory" => resources::pod_requests(pod).memory_bytes,
        other => resources::pod_request(pod, other),
    }
}

/// What is missing still when `pods` have gone.
pub fn without<'a>(needs: &[Need], pods: impl Iterator<Item = &'a Arc<Pod>> + Clone) -> Vec<Need> {
    let left = needs.iter().map(|need| {
        let freed = pods.clone().map(|pod| freed(pod, need.name)).fold(0, i64::saturating_add);
        Need { amount: need.amount.saturating_sub(freed), ..need.clone() }
    });
    left.filter(|need| need.amount > 0).collect()
}

/// The pods that go for `critical`, which lacks `needs`.
///
/// # Errors
/// All that may go would not be enough.
pub fn victims(critical: &Pod, pods: &[Arc<Pod>], needs: &[Need]) -> Result<Vec<Arc<Pod>>, String> {
    let of = |class: Qos| -> Vec<Arc<Pod>> {
        pods.iter().filter(|pod| gives_way(critical, pod) && resources::qos(pod) == class).cloned().collect()
    };
    let (best_effort, burstable, guaranteed) = (of(Qos::BestEffort), of(Qos::Burstable), of(Qos::Guaranteed));
    let lacking = without(needs, best_effort.iter().chain(&burstable).chain(&guaranteed));
    if !lacking.is_empty() {
        return Err(not_enough(&lacking));
    }
    let chosen_guaranteed = closest(&guaranteed, without(needs, burstable.iter().chain(&best_effort)))?;
    let chosen_burstable = closest(&burstable, without(needs, best_effort.iter().chain(&chosen_guaranteed)))?;
    let chosen_best_effort = closest(&best_effort, without(needs, chosen_burstable.iter().chain(&chosen_guaranteed)))?;
    Ok([chosen_best_effort, chosen_burstable, chosen_guaranteed].concat())
}

fn not_enough(lacking: &[Need]) -> String {
    let list: String = lacking.iter().map(|need| format!("(res: {}, q: {}), ", need.name, need.amount)).collect();
    format!(
        "preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [{list}]"
    )
}

/// Whether `pod` may be ended for `critical`.
fn gives_way(critical: &Pod, pod: &Pod) -> bool {
    let priority = |pod: &Pod| spec::spec(pod).priority;
    let lower = priority(critical).zip(priority(pod)).is_some_and(|(mine, other)| mine > other);
    (spec::is_critical(critical) && !spec::is_critical(pod)) || lower
}

/// The pods that come closest to `needs`, one after the other until nothing is missing.
fn closest(pods: &[Arc<Pod>], mut needs: Vec<Need>) -> Result<Vec<Arc<Pod>>, String> {
    let mut left = pods.to_vec();
    let mut chosen = Vec::new();
    while !needs.is_empty() {
        let mut best: Option<(usize, f64)> = None;
        for (index, pod) in left.iter().enumerate() {
            let distance = distance(&needs, pod);
            let is_better = best.is_none_or(|(at, shortest)| {
                let smaller = left.get(at).is_some_and(|other| is_smaller(pod, other));
                distance < shortest || (distance == shortest && smaller)
            });
            if is_better {
                best = Some((index, distance));
            }
        }
        let Some((index, _)) = best else { return Err(not_enough(&needs)) };
        let pod = left.swap_remove(index);
        needs = without(&needs, [&pod].into_iter());
        chosen.push(pod);
    }
    Ok(chosen)
}

/// The sum of the squares of what part of each need the pod leaves.
fn distance(needs: &[Need], pod: &Pod) -> f64 {
    let part = |need: &Need| {
        let left = need.amount.saturating_sub(freed(pod, need.name)).max(0);
        (left as f64 / need.amount as f64).powi(2)
    };
    needs.iter().map(part).sum()
}

/// Whether `pod` asks for less than `other`: of memory first, then of CPU.
fn is_smaller(pod: &Pod, other: &Pod) -> bool {
    let order = |pod: &Pod| (freed(pod, "memory"), freed(pod, "cpu"));
    order(pod) <= order(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, priority: i32, cpu: &str, limits: bool) -> Arc<Pod> {
        let cpu = if cpu.is_empty() { String::new() } else { format!("cpu: {cpu}, memory: 1Mi") };
        let limits = if limits { format!(", limits: {{{cpu}}}") } else { String::new() };
        let yaml = format!(
            "{{metadata: {{name: {name}}}, spec: {{priority: {priority}, \
             containers: [{{name: c, resources: {{requests: {{{cpu}}}{limits}}}}}]}}}}"
        );
        let value = apimachinery::codec::yaml::parse(&yaml).expect("yaml");
        Arc::new(serde_json::from_value(value).expect("a pod"))
    }

    fn chosen(pods: &[Arc<Pod>], needs: &[(&'static str, i64)]) -> Result<Vec<String>, String> {
        let critical = pod("critical", 2_000_000_000, "1", false);
        let needs: Vec<Need> = needs.iter().map(|(name, amount)| Need { name, amount: *amount }).collect();
        let victims = victims(&critical, pods, &needs)?;
        Ok(victims.iter().map(|pod| spec::name(pod).to_owned()).collect())
    }

    #[test]
    fn the_lowest_class_and_the_closest_pods_go() {
        let pods = [
            pod("idle", 0, "", false),
            pod("small", 0, "100m", false),
            pod("large", 0, "500m", false),
            pod("sure", 0, "300m", true),
            pod("needed", 2_000_000_000, "2", false),
        ];
        for (needs, want) in [
            (&[("cpu", 100)][..], &["small"][..]),
            (&[("cpu", 400)], &["large"]),
            (&[("cpu", 550)], &["large", "small"]),
            // Only guaranteed pods have what is missing after all others.
            (&[("cpu", 700)], &["large", "sure"]),
            (&[("pods", 1)], &["idle"]),
            (&[("pods", 1), ("cpu", 100)], &["small"]),
        ] {
            assert_eq!(chosen(&pods, needs).expect("enough"), want, "{needs:?}");
        }
        let lacking = chosen(&pods, &[("cpu", 1000)]).expect_err("too much");
        assert!(
            lacking.ends_with("no set of running pods found to reclaim resources: [(res: cpu, q: 100), ]"),
            "{lacking}"
        );
    }
}
