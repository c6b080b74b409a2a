//! The words of evictions, upstream's. Pure.
use apimachinery::quantity::{Format, Quantity, of};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::state::Observations;
use super::thresholds::{Starved, Threshold};
use super::usage::{Candidate, ContainerUse, Parts, PodUse};
use crate::{resources, spec};

fn amount(starved: Starved, value: i64) -> Quantity {
    let binary = matches!(starved, Starved::Memory | Starved::Disk);
    Quantity::from_value(value, if binary { Format::BinarySi } else { Format::DecimalSi })
}

/// Why a pod goes because the node runs short.
pub fn node_low(starved: Starved, victim: &Candidate, crossed: &[Threshold], seen: &Observations) -> String {
    let name = starved.name();
    let mut text = format!("The node was low on resource: {name}. ");
    let met = crossed.iter().find(|t| t.signal.starved() == starved);
    if let Some((threshold, seen)) = met.and_then(|t| Some((t, seen.get(&t.signal)?))) {
        let least = amount(starved, threshold.amount.of(seen.capacity));
        text.push_str(&format!("Threshold quantity: {least}, available: {}. ", amount(starved, seen.available)));
    }
    let Some(usage) = &victim.usage else { return text };
    let pod = spec::spec(&victim.pod);
    let request = |list: Option<&k8s_openapi::api::core::v1::ResourceRequirements>| {
        list.and_then(|r| r.requests.as_ref()?.get(name)).and_then(|q| of(q).ok())
    };
    if starved == Starved::Memory
        && let (Some(asked), Some(used)) = (request(pod.resources.as_ref()), usage.memory)
    {
        let (pod, used) = (spec::name(&victim.pod), amount(starved, used));
        text.push_str(&format!("Pod {pod} was using {used}, request is {asked}, has larger consumption of {name}. "));
    }
    let containers: Vec<&Container> = pod.containers.iter().chain(spec::init_containers(&victim.pod)).collect();
    for used in &usage.containers {
        let Some(container) = containers.iter().find(|c| c.name == used.name) else { continue };
        let Some(value) = used_of(starved, used) else { continue };
        let asked = request(container.resources.as_ref()).unwrap_or_else(|| amount(starved, 0));
        if value > asked.value() {
            let (container, value) = (&used.name, amount(starved, value));
            text.push_str(&format!(
                "Container {container} was using {value}, request is {asked}, has larger consumption of {name}. "
            ));
        }
    }
    text
}

fn used_of(starved: Starved, used: &ContainerUse) -> Option<i64> {
    match starved {
        Starved::Memory => used.memory,
        Starved::Disk => i64::try_from(used.root.and(used.logs).bytes).ok(),
        Starved::Inodes | Starved::Pids => None,
    }
}

/// The limit on local storage that a pod breaks, if any: (what the metric calls it, why it goes).
pub fn over_limit(pod: &Pod, usage: &PodUse, dedicated_image_fs: bool) -> Option<(&'static str, String)> {
    for volume in spec::spec(pod).volumes.iter().flatten() {
        let limit = volume.empty_dir.as_ref().and_then(|empty| of(empty.size_limit.as_ref()?).ok());
        let (Some(limit), Some(used)) = (limit, usage.volumes.get(&volume.name)) else { continue };
        if limit.value() > 0 && i64::try_from(used.bytes).unwrap_or(i64::MAX) > limit.value() {
            let text = format!("Usage of EmptyDir volume {:?} exceeds the limit \"{limit}\". ", volume.name);
            return Some(("emptydirfs.limit", text));
        }
    }
    let bytes = |taken: crate::disk_usage::Taken| i64::try_from(taken.bytes).unwrap_or(i64::MAX);
    if let Some(limit) = resources::pod_limit(pod, "ephemeral-storage") {
        let used = bytes(usage.disk(Parts { root: true, logs_and_volumes: true }));
        if used > limit {
            let limit = amount(Starved::Disk, limit);
            let text = format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. ");
            return Some(("ephemeralpodfs.limit", text));
        }
    }
    for container in &spec::spec(pod).containers {
        let limit = resources::limit(container.resources.as_ref(), "ephemeral-storage", false).filter(|l| *l > 0);
        let used = usage.containers.iter().find(|used| used.name == container.name);
        let (Some(limit), Some(used)) = (limit, used) else { continue };
        let taken = if dedicated_image_fs { used.logs } else { used.logs.and(used.root) };
        if bytes(taken) > limit {
            let (name, limit) = (&container.name, amount(Starved::Disk, limit));
            let text = format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". ");
            return Some(("ephemeralcontainerfs.limit", text));
        }
    }
    None
}

/// Whether a pod has a limit that [`over_limit`] would hold it to.
pub fn has_limits(pod: &Pod) -> bool {
    let volumes = spec::spec(pod).volumes.iter().flatten();
    let mut sized = volumes.filter(|v| v.empty_dir.as_ref().is_some_and(|e| e.size_limit.is_some()));
    sized.next().is_some()
        || spec::spec(pod)
            .containers
            .iter()
            .any(|c| resources::limit(c.resources.as_ref(), "ephemeral-storage", false).is_some())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::time::Duration;

    use super::super::state::Observation;
    use super::super::thresholds::Signal;
    use super::super::usage::tests::candidate;
    use super::*;
    use crate::disk_usage::Taken;
    use crate::reserved::Threshold as Amount;

    #[test]
    fn the_node_is_low() {
        let usage = PodUse {
            memory: Some(3 << 20),
            containers: vec![
                ContainerUse { name: "a".into(), memory: Some(2 << 20), ..ContainerUse::default() },
                ContainerUse { name: "b".into(), memory: Some(4096), ..ContainerUse::default() },
            ],
            ..PodUse::default()
        };
        let spec = "{containers: [{name: a}, {name: b, resources: {requests: {memory: 8Ki}}}]}";
        let victim = candidate("p", spec, Some(usage));
        let threshold = Threshold {
            signal: Signal::MemoryAvailable,
            amount: Amount::Bytes(100 << 20),
            grace: Duration::ZERO,
            min_reclaim: None,
        };
        let seen = BTreeMap::from([(Signal::MemoryAvailable, Observation { available: 60 << 20, capacity: 1 << 30 })]);
        assert_eq!(
            node_low(Starved::Memory, &victim, &[threshold], &seen),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. \
             Container a was using 2Mi, request is 0, has larger consumption of memory. "
        );
    }

    #[test]
    fn limits_on_local_storage() {
        let taken = |bytes| Taken { bytes, inodes: 1 };
        let usage = PodUse {
            containers: vec![
                ContainerUse { name: "a".into(), root: taken(900), logs: taken(200), ..ContainerUse::default() },
                ContainerUse { name: "b".into(), ..ContainerUse::default() },
            ],
            volumes: HashMap::from([("v".to_owned(), taken(2000))]),
            ..PodUse::default()
        };
        let limited = |a: &str| format!("{{name: a, resources: {{limits: {{ephemeral-storage: {a}}}}}}}");
        let volumes = "volumes: [{name: v, emptyDir: {sizeLimit: 1Ki}}]";
        for (spec, dedicated, want) in [
            (
                format!("{{containers: [], {volumes}}}"),
                false,
                "Usage of EmptyDir volume \"v\" exceeds the limit \"1Ki\". ",
            ),
            (
                format!("{{containers: [{}]}}", limited("2Ki")),
                false,
                "Pod ephemeral local storage usage exceeds the total limit of containers 2Ki. ",
            ),
            (
                format!(
                    "{{containers: [{}, {{name: b, resources: {{limits: {{ephemeral-storage: 1Gi}}}}}}]}}",
                    limited("1Ki")
                ),
                false,
                "Container a exceeded its local ephemeral storage limit \"1Ki\". ",
            ),
            (
                format!(
                    "{{containers: [{}, {{name: b, resources: {{limits: {{ephemeral-storage: 1Gi}}}}}}]}}",
                    limited("1Ki")
                ),
                true,
                "",
            ),
            ("{containers: [{name: a}]}".to_owned(), false, ""),
        ] {
            let pod = candidate("p", &spec, None).pod;
            let told = over_limit(&pod, &usage, dedicated).map(|(_, text)| text).unwrap_or_default();
            assert_eq!(told, want, "{spec}");
            assert_eq!(has_limits(&pod), spec.contains("imit"), "{spec}");
        }
    }
}
