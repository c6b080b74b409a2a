//! What a pod's state says: ready, finished, its quality of service.
use crate::amounts;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodSpec, PodStatus};

/// The condition of that type.
pub fn condition<'a>(status: Option<&'a PodStatus>, type_: &str) -> Option<&'a PodCondition> {
    status?.conditions.iter().flatten().find(|c| c.type_ == type_)
}

/// `Ready` is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod.status.as_ref(), "Ready").is_some_and(|c| c.status == "True")
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Succeeded or Failed: nothing of it will run again.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// An init container that keeps running beside the others.
pub fn is_restartable_init(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// `Guaranteed`, `Burstable` or `BestEffort`; from `spec` alone.
///
/// Source: `pkg/apis/core/v1/helper/qos`.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let pod_level = spec.resources.as_ref().filter(|r| r.requests.is_some() || r.limits.is_some());
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.resources.as_ref());
    let all: Vec<_> = match pod_level {
        Some(resources) => vec![Some(resources)],
        None => containers.collect(),
    };
    let (mut requests, mut limits) = (Default::default(), Default::default());
    let mut guaranteed = true;
    for resources in all {
        let (mut has_cpu, mut has_memory) = (false, false);
        for (name, amount) in amounts::parsed(resources.and_then(|r| r.limits.as_ref())) {
            has_cpu |= name == "cpu" && !amount.is_zero();
            has_memory |= name == "memory" && !amount.is_zero();
        }
        guaranteed &= has_cpu && has_memory;
        amounts::add(&mut requests, resources.and_then(|r| r.requests.as_ref()));
        amounts::add(&mut limits, resources.and_then(|r| r.limits.as_ref()));
    }
    for sums in [&mut requests, &mut limits] {
        sums.retain(|name, amount| matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero());
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let equal = requests.iter().all(|(name, amount)| limits.get(name) == Some(amount));
    if guaranteed && equal && requests.len() == limits.len() { "Guaranteed" } else { "Burstable" }
}
