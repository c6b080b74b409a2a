//! Quality of service, and what requests and limits come to in cgroup terms. Pure.
use std::collections::BTreeMap;

use apimachinery::quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
/// Length of a CFS period, in microseconds.
pub const QUOTA_PERIOD_US: i64 = 100_000;
const MIN_QUOTA_US: i64 = 1000;

/// A pod's quality-of-service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// The API's name.
    pub fn name(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Requests or limits, in milli-CPU and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
}

type List = Option<BTreeMap<String, Quantity>>;

fn amount(list: &List, name: &str, milli: bool) -> Option<i64> {
    let quantity = quantity::of(list.as_ref()?.get(name)?).ok()?;
    Some(if milli { quantity.milli_value() } else { quantity.value() })
}

/// A container's request of `name`, falling back to its limit as the API's defaulting does.
pub fn request(resources: Option<&ResourceRequirements>, name: &str, milli: bool) -> Option<i64> {
    let resources = resources?;
    amount(&resources.requests, name, milli).or_else(|| amount(&resources.limits, name, milli))
}

/// A container's limit of `name`.
pub fn limit(resources: Option<&ResourceRequirements>, name: &str, milli: bool) -> Option<i64> {
    amount(&resources?.limits, name, milli)
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The class as the API server computed it, or computed here.
pub fn qos(pod: &Pod) -> Qos {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => Qos::Guaranteed,
        Some("Burstable") => Qos::Burstable,
        Some("BestEffort") => Qos::BestEffort,
        _ => compute_qos(pod),
    }
}

fn compute_qos(pod: &Pod) -> Qos {
    let Some(spec) = pod.spec.as_ref() else { return Qos::BestEffort };
    let positive = |value: Option<i64>| value.filter(|v| *v > 0);
    let (mut any, mut guaranteed) = (false, true);
    let of_containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    // What is said of the pod as a whole counts alone (KEP-2837).
    let all: Vec<Option<&ResourceRequirements>> = match &spec.resources {
        Some(whole) if whole.requests.is_some() || whole.limits.is_some() => vec![Some(whole)],
        _ => of_containers.map(|container| container.resources.as_ref()).collect(),
    };
    for resources in all {
        for (name, milli) in [("cpu", true), ("memory", false)] {
            let wanted = positive(request(resources, name, milli));
            let bound = positive(limit(resources, name, milli));
            any |= wanted.is_some() || bound.is_some();
            guaranteed &= bound.is_some() && wanted == bound;
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// What a pod asks for in all: containers and sidecars together, or the largest init container, plus overhead.
pub fn pod_requests(pod: &Pod) -> Amounts {
    total(pod, &request)
}

/// The same of any resource, in whole units.
pub fn pod_request(pod: &Pod, name: &str) -> i64 {
    sum(pod, &request, name, false)
}

/// What a pod may use of a resource in all, in whole units; `None` if no container has a limit of it.
pub fn pod_limit(pod: &Pod, name: &str) -> Option<i64> {
    let spec = pod.spec.as_ref()?;
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let limited = containers.any(|c| limit(c.resources.as_ref(), name, false).is_some());
    limited.then(|| sum(pod, &limit, name, false))
}

type OfOne = dyn Fn(Option<&ResourceRequirements>, &str, bool) -> Option<i64>;

/// Of the pod as a whole, where that is said; else of its containers.
fn total(pod: &Pod, of_one: &OfOne) -> Amounts {
    Amounts { cpu_milli: sum(pod, of_one, "cpu", true), memory_bytes: sum(pod, of_one, "memory", false) }
}

fn sum(pod: &Pod, of_one: &OfOne, name: &str, milli: bool) -> i64 {
    let Some(spec) = pod.spec.as_ref() else { return 0 };
    let of = |container: &Container| of_one(container.resources.as_ref(), name, milli).unwrap_or(0);
    let mut sum: i64 = spec.containers.iter().map(of).fold(0, i64::saturating_add);
    let (mut sidecars, mut largest_init) = (0_i64, 0_i64);
    for init in spec.init_containers.iter().flatten() {
        let wanted = of(init);
        if is_sidecar(init) {
            sum = sum.saturating_add(wanted);
            sidecars = sidecars.saturating_add(wanted);
            largest_init = largest_init.max(sidecars);
        } else {
            largest_init = largest_init.max(sidecars.saturating_add(wanted));
        }
    }
    let whole = of_one(spec.resources.as_ref(), name, milli);
    whole.unwrap_or(sum.max(largest_init)).saturating_add(amount(&spec.overhead, name, milli).unwrap_or(0))
}

/// Limits of a pod's cgroup. CPU and memory are bound only if every container is.
pub fn pod_limits(pod: &Pod) -> (Option<i64>, Option<i64>) {
    let Some(spec) = pod.spec.as_ref() else { return (None, None) };
    let all = |name: &str, milli: bool| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .all(|c| limit(c.resources.as_ref(), name, milli).is_some_and(|v| v > 0))
            || limit(spec.resources.as_ref(), name, milli).is_some_and(|v| v > 0)
    };
    let sum = total(pod, &limit);
    (all("cpu", true).then_some(sum.cpu_milli), all("memory", false).then_some(sum.memory_bytes))
}

/// cgroup v1 `cpu.shares` of a CPU request.
pub fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CFS quota of a CPU limit, in microseconds a [`QUOTA_PERIOD_US`].
pub fn quota(milli: i64) -> i64 {
    if milli == 0 { 0 } else { (milli.saturating_mul(QUOTA_PERIOD_US) / 1000).max(MIN_QUOTA_US) }
}

/// cgroup v2 `cpu.weight` of v1 shares, by the kernel documentation's linear mapping.
pub fn weight(shares: i64) -> i64 {
    let shares = shares.clamp(MIN_SHARES, MAX_SHARES);
    1 + (shares - 2) * 9999 / 262_142
}

/// How readily the kernel kills a container's processes when memory runs out.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity_bytes: i64) -> i64 {
    if pod.spec.as_ref().is_some_and(|s| s.priority_class_name.as_deref() == Some("system-node-critical")) {
        return -997;
    }
    match qos(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let wanted = request(container.resources.as_ref(), "memory", false).unwrap_or(0);
            let share = wanted.saturating_mul(1000) / memory_capacity_bytes.max(1);
            // Always between the two other classes.
            (1000 - share).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> Pod {
        let value = apimachinery::codec::yaml::parse(yaml).expect("yaml");
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn classes() {
        for (containers, want) in [
            ("[{name: a}]", Qos::BestEffort),
            ("[{name: a, resources: {requests: {cpu: 1m}}}]", Qos::Burstable),
            ("[{name: a, resources: {limits: {cpu: 1, memory: 1Mi}}}]", Qos::Guaranteed),
            ("[{name: a, resources: {limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 500m}}}]", Qos::Burstable),
            ("[{name: a, resources: {limits: {cpu: 1, memory: 1Mi}}}, {name: b}]", Qos::Burstable),
        ] {
            assert_eq!(qos(&pod(&format!("spec: {{containers: {containers}}}"))), want, "{containers}");
        }
        let whole = pod("spec: {resources: {limits: {cpu: 1, memory: 1Mi}}, containers: [{name: a}]}");
        assert_eq!(qos(&whole), Qos::Guaranteed);
        assert_eq!(pod_requests(&whole), Amounts { cpu_milli: 1000, memory_bytes: 1 << 20 });
        assert_eq!(pod_limits(&whole), (Some(1000), Some(1 << 20)));
    }

    #[test]
    fn cgroup_numbers() {
        assert_eq!([shares(0), shares(100), shares(1000)], [2, 102, 1024]);
        assert_eq!([quota(0), quota(5), quota(500)], [0, 1000, 50_000]);
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
    }

    #[test]
    fn the_larger_of_init_and_main_counts() {
        let pod = pod(
            "spec: {initContainers: [{name: i, resources: {requests: {cpu: 2}}}, {name: s, restartPolicy: Always, resources: {requests: {cpu: 500m}}}], containers: [{name: a, resources: {requests: {cpu: 1}}}]}",
        );
        assert_eq!(pod_requests(&pod).cpu_milli, 2000);
    }
}
