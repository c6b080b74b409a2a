//! Quota arithmetic: what an object uses, whether a quota covers it, and what exceeds it. Pure.
//!
//! The admission plugin charges with it; whoever recomputes usage (the resourcequota controller's work) sums
//! [`usage`] over all objects. Source: "Resource Quotas"; names and scopes as upstream's evaluators have them.
use crate::pod_resources::{self, add, parsed};
use apimachinery::quantity::{Format, Quantity};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, PodSpec, ResourceQuota, ScopedResourceSelectorRequirement, Service,
};
use std::{any::Any, collections::BTreeMap};

/// Amounts by quota resource name (`pods`, `requests.cpu`, `count/deployments.apps`, …).
pub type Usage = BTreeMap<String, Quantity>;

const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const STORAGE_CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn one() -> Quantity {
    Quantity::from_value(1, Format::DecimalSi)
}

/// The core kinds that have a quota name besides `count/…`.
fn short_count(group: &str, resource: &str) -> Option<&'static str> {
    if !group.is_empty() {
        return None;
    }
    match resource {
        "configmaps" => Some("configmaps"),
        "secrets" => Some("secrets"),
        "replicationcontrollers" => Some("replicationcontrollers"),
        "resourcequotas" => Some("resourcequotas"),
        "services" => Some("services"),
        "persistentvolumeclaims" => Some("persistentvolumeclaims"),
        "pods" => Some("pods"),
        _ => None,
    }
}

fn counts(group: &str, resource: &str) -> Usage {
    let name = if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") };
    let short = short_count(group, resource).map(|s| (s.to_owned(), one()));
    short.into_iter().chain([(name, one())]).collect()
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Extended resources and huge pages are limited by request.
fn by_request_only(name: &str) -> bool {
    name.starts_with("hugepages-") || name.contains('/')
}

/// Requests and limits under their quota names.
fn compute(requests: &Usage, limits: &Usage) -> Usage {
    let mut out = Usage::new();
    for (name, amount) in requests {
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            out.insert(name.clone(), *amount);
        }
        if COMPUTE.contains(&name.as_str()) || by_request_only(name) {
            out.insert(format!("requests.{name}"), *amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| COMPUTE.contains(&name.as_str())) {
        out.insert(format!("limits.{name}"), *amount);
    }
    out
}

fn pod_usage(pod: &Pod) -> Usage {
    let mut usage = Usage::from([("count/pods".to_owned(), one())]);
    if is_finished(pod) {
        return usage;
    }
    usage.insert("pods".into(), one());
    if let Some(spec) = &pod.spec {
        usage.extend(compute(&pod_resources::requests(spec), &pod_resources::limits(spec)));
    }
    usage
}

fn service_usage(service: &Service) -> Usage {
    let mut usage = counts("", "services");
    let Some(spec) = &service.spec else { return usage };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let count = |n: usize| Quantity::from_value(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    match spec.type_.as_deref() {
        Some("NodePort") => {
            usage.insert("services.nodeports".into(), count(ports.len()));
        }
        Some("LoadBalancer") => {
            usage.insert("services.loadbalancers".into(), one());
            let allocated = match spec.allocate_load_balancer_node_ports {
                Some(false) => ports.iter().filter(|p| p.node_port.is_some_and(|n| n != 0)).count(),
                _ => ports.len(),
            };
            usage.insert("services.nodeports".into(), count(allocated));
        }
        _ => {}
    }
    usage
}

fn claim_usage(claim: &PersistentVolumeClaim) -> Usage {
    let mut usage = counts("", "persistentvolumeclaims");
    let spec = claim.spec.as_ref();
    let annotated = claim.metadata.annotations.as_ref().and_then(|a| a.get(BETA_CLASS));
    let class = annotated.or(spec.and_then(|s| s.storage_class_name.as_ref())).filter(|c| !c.is_empty());
    let requests = parsed(spec.and_then(|s| s.resources.as_ref()?.requests.as_ref()));
    let storage = requests.get("storage").copied();
    if let Some(storage) = storage {
        usage.insert("requests.storage".into(), storage);
    }
    if let Some(class) = class {
        usage.insert(format!("{class}{STORAGE_CLASS_SUFFIX}persistentvolumeclaims"), one());
        if let Some(storage) = storage {
            usage.insert(format!("{class}{STORAGE_CLASS_SUFFIX}requests.storage"), storage);
        }
    }
    usage
}

/// What one object of `group`/`resource` uses; `object` is the k8s-openapi value when the kind is built in.
pub fn usage(group: &str, resource: &str, object: &dyn Any) -> Usage {
    if let Some(pod) = object.downcast_ref() {
        return pod_usage(pod);
    }
    if let Some(service) = object.downcast_ref() {
        return service_usage(service);
    }
    if let Some(claim) = object.downcast_ref() {
        return claim_usage(claim);
    }
    counts(group, resource)
}

/// No container asks for or limits processor or memory.
fn is_best_effort(spec: &PodSpec) -> bool {
    let requests = pod_resources::requests(&PodSpec { overhead: None, ..spec.clone() });
    let limits = pod_resources::limits(&PodSpec { overhead: None, ..spec.clone() });
    let set = |amounts: &Usage| ["cpu", "memory"].iter().any(|n| amounts.get(*n).is_some_and(|q| !q.is_zero()));
    !set(&requests) && !set(&limits)
}

fn reaches_other_namespaces(spec: &PodSpec) -> bool {
    let crosses =
        |t: &PodAffinityTerm| t.namespaces.as_ref().is_some_and(|n| !n.is_empty()) || t.namespace_selector.is_some();
    let Some(affinity) = &spec.affinity else { return false };
    let near = affinity.pod_affinity.as_ref();
    let far = affinity.pod_anti_affinity.as_ref();
    let required = near
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .chain(far.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()))
        .flatten();
    let preferred = near
        .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .chain(far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()))
        .flatten();
    required.chain(preferred.map(|p| &p.pod_affinity_term)).any(crosses)
}

/// Whether a value satisfies a scope's operator.
fn selects(scope: &ScopedResourceSelectorRequirement, value: &str) -> bool {
    let listed = || scope.values.iter().flatten().any(|v| v == value);
    match scope.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => !value.is_empty(),
        "DoesNotExist" => value.is_empty(),
        _ => false,
    }
}

fn in_scope(scope: &ScopedResourceSelectorRequirement, object: &dyn Any) -> bool {
    if let Some(claim) = object.downcast_ref::<PersistentVolumeClaim>() {
        let class = claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref());
        return scope.scope_name == "VolumeAttributesClass" && selects(scope, class.unwrap_or_default());
    }
    let Some(spec) = object.downcast_ref::<Pod>().and_then(|p| p.spec.as_ref()) else { return false };
    let ends = spec.active_deadline_seconds.is_some_and(|s| s >= 0);
    match scope.scope_name.as_str() {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => is_best_effort(spec),
        "NotBestEffort" => !is_best_effort(spec),
        "PriorityClass" => selects(scope, spec.priority_class_name.as_deref().unwrap_or_default()),
        "CrossNamespacePodAffinity" => reaches_other_namespaces(spec),
        _ => false,
    }
}

/// Whether the object is within all of the quota's scopes.
pub fn covers(quota: &ResourceQuota, object: &dyn Any) -> bool {
    let Some(spec) = &quota.spec else { return true };
    let plain = spec.scopes.iter().flatten().map(|name| ScopedResourceSelectorRequirement {
        operator: "Exists".into(),
        scope_name: name.clone(),
        values: None,
    });
    let selected = spec.scope_selector.iter().filter_map(|s| s.match_expressions.clone()).flatten();
    plain.chain(selected).all(|scope| in_scope(&scope, object))
}

/// `requests.cpu` and the like that the quota limits and a container does not state, in upstream's words.
pub fn unstated(pod: &Pod, limited: &[&str]) -> Option<String> {
    const STATED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    let spec = pod.spec.as_ref()?;
    let required: Vec<&str> = limited.iter().copied().filter(|n| STATED.contains(n)).collect();
    let of_pod = spec.resources.as_ref();
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let resources = container.resources.as_ref();
        let mut requests = parsed(resources.and_then(|r| r.requests.as_ref()));
        let mut limits = parsed(resources.and_then(|r| r.limits.as_ref()));
        requests.extend(parsed(of_pod.and_then(|r| r.requests.as_ref())));
        limits.extend(parsed(of_pod.and_then(|r| r.limits.as_ref())));
        let stated = compute(&requests, &limits);
        for name in required.iter().filter(|n| !stated.contains_key(**n)) {
            missing.entry(name).or_default().push(&container.name);
        }
    }
    if missing.is_empty() {
        return None;
    }
    let texts: Vec<String> = missing
        .into_iter()
        .map(|(name, mut containers)| {
            containers.sort_unstable();
            format!("{name} for: {}", containers.join(","))
        })
        .collect();
    Some(format!("must specify {}", texts.join("; ")))
}

/// `new` less `old`, never below nothing.
pub fn increase(new: &Usage, old: &Usage) -> Usage {
    new.iter()
        .filter_map(|(name, amount)| {
            let more = old.get(name).map_or(*amount, |before| *amount - *before);
            (!more.is_negative() && !more.is_zero()).then(|| (name.clone(), more))
        })
        .collect()
}

/// What a charge leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The quota limits nothing of this.
    Unconcerned,
    /// The new `status.used`.
    Used(Usage),
    /// The refusal, in upstream's words.
    Refused(String),
}

/// `pods=1,requests.cpu=2`
fn shown(usage: &Usage, names: &[&String]) -> String {
    let pairs: Vec<String> =
        names.iter().map(|n| format!("{n}={}", usage.get(*n).copied().unwrap_or(Quantity::ZERO))).collect();
    pairs.join(",")
}

/// Charges `delta` to a quota, by what its status says is limited and used.
pub fn charge(quota: &ResourceQuota, delta: &Usage) -> Charge {
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    let status = quota.status.clone().unwrap_or_default();
    let (hard, used) = (parsed(status.hard.as_ref()), parsed(status.used.as_ref()));
    let requested: Usage = delta.iter().filter(|(n, _)| hard.contains_key(*n)).map(|(n, q)| (n.clone(), *q)).collect();
    if requested.is_empty() {
        return Charge::Unconcerned;
    }
    let unknown: Vec<&str> = requested.keys().filter(|n| !used.contains_key(*n)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Charge::Refused(format!("status unknown for quota: {name}, resources: {}", unknown.join(",")));
    }
    let mut next = used.clone();
    add(&mut next, &requested);
    let exceeds = |n: &&String| next.get(*n) > hard.get(*n);
    let exceeded: Vec<&String> = requested.keys().filter(exceeds).collect();
    if exceeded.is_empty() {
        return Charge::Used(next);
    }
    Charge::Refused(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        shown(&requested, &exceeded),
        shown(&used, &exceeded),
        shown(&hard, &exceeded)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn texts(usage: &Usage) -> Vec<String> {
        usage.iter().map(|(n, q)| format!("{n}={q}")).collect()
    }

    #[test]
    fn usage_of_kinds() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "resources": {
            "requests": {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "1"}, "limits": {"cpu": "1"}}}]}}))
        .expect("pod");
        assert_eq!(
            texts(&usage("", "pods", &pod)),
            [
                "count/pods=1",
                "cpu=100m",
                "limits.cpu=1",
                "memory=1Gi",
                "pods=1",
                "requests.cpu=100m",
                "requests.example.com/gpu=1",
                "requests.memory=1Gi"
            ]
        );
        let finished = Pod { status: serde_json::from_value(json!({"phase": "Succeeded"})).expect("status"), ..pod };
        assert_eq!(texts(&usage("", "pods", &finished)), ["count/pods=1"]);
        let service: Service =
            serde_json::from_value(json!({"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}}))
                .expect("service");
        assert_eq!(texts(&usage("", "services", &service)), ["count/services=1", "services=1", "services.nodeports=2"]);
        let claim: PersistentVolumeClaim = serde_json::from_value(
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
        )
        .expect("claim");
        assert!(
            texts(&usage("", "persistentvolumeclaims", &claim))
                .contains(&"gold.storageclass.storage.k8s.io/requests.storage=1Gi".to_owned())
        );
        assert_eq!(texts(&usage("apps", "deployments", &())), ["count/deployments.apps=1"]);
        assert_eq!(texts(&usage("", "secrets", &())), ["count/secrets=1", "secrets=1"]);
    }

    fn quota(spec: Value, hard: Value, used: Value) -> ResourceQuota {
        let value = json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}});
        serde_json::from_value(value).expect("quota")
    }

    #[test]
    fn scopes() {
        let pod = |spec: Value| -> Pod { serde_json::from_value(json!({ "spec": spec })).expect("pod") };
        let plain = pod(json!({"containers": [{"name": "c"}]}));
        let ending = pod(json!({"activeDeadlineSeconds": 5, "priorityClassName": "high", "containers": [
            {"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
        let by = |name: &str| quota(json!({"scopes": [name]}), json!({}), json!({}));
        for (scope, plain_is_in, ending_is_in) in [
            ("Terminating", false, true),
            ("NotTerminating", true, false),
            ("BestEffort", true, false),
            ("NotBestEffort", false, true),
            ("PriorityClass", false, true),
            ("CrossNamespacePodAffinity", false, false),
        ] {
            assert_eq!(covers(&by(scope), &plain), plain_is_in, "{scope}");
            assert_eq!(covers(&by(scope), &ending), ending_is_in, "{scope}");
        }
        assert!(!covers(&by("Terminating"), &Service::default()));
        let high = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]});
        assert!(covers(&quota(json!({ "scopeSelector": high }), json!({}), json!({})), &ending));
    }

    #[test]
    fn charges() {
        let delta = Usage::from([("pods".to_owned(), one()), ("secrets".to_owned(), one())]);
        let of = |hard: Value, used: Value| charge(&quota(json!({}), hard, used), &delta);
        assert_eq!(of(json!({"services": "1"}), json!({})), Charge::Unconcerned);
        assert_eq!(
            of(json!({"pods": "2"}), json!({"pods": "2"})),
            Charge::Refused("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2".into())
        );
        assert_eq!(
            of(json!({"pods": "2"}), json!({})),
            Charge::Refused("status unknown for quota: q, resources: pods".into())
        );
        let Charge::Used(used) = of(json!({"pods": "2"}), json!({"pods": "1", "services": "4"})) else {
            panic!("fits");
        };
        assert_eq!(texts(&used), ["pods=2", "services=4"]);
    }

    #[test]
    fn what_must_be_stated() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}]}}))
        .expect("pod");
        assert_eq!(
            unstated(&pod, &["requests.cpu", "limits.memory", "pods"]).as_deref(),
            Some("must specify limits.memory for: a,b; requests.cpu for: b")
        );
        assert_eq!(unstated(&pod, &["pods"]), None);
    }
}
