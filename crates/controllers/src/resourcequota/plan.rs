//! The status of a ResourceQuota.
use super::usage::{self, Usage};
use crate::{
    pods,
    runtime::{Plan, Write},
};
use apimachinery::quantity::{Format, Quantity};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, Service,
};
use std::{collections::BTreeMap, sync::Arc};

/// What there is: the quota, what its namespace has, and how many of each kind, by `<resource>.<group>`.
pub struct View {
    pub quota: Arc<ResourceQuota>,
    pub pods: Vec<Arc<Pod>>,
    pub services: Vec<Arc<Service>>,
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    pub counts: BTreeMap<String, usize>,
}

fn is_best_effort(pod: &Pod) -> bool {
    let spec = pod.spec.iter();
    let mut containers = spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.all(|container| {
        container.resources.as_ref().is_none_or(|resources| {
            resources.requests.as_ref().is_none_or(BTreeMap::is_empty)
                && resources.limits.as_ref().is_none_or(BTreeMap::is_empty)
        })
    })
}

/// Whether one scope of a quota takes the pod in.
fn in_scope(pod: &Pod, scope: &str, operator: &str, values: &[String]) -> bool {
    let spec = pod.spec.as_ref();
    let has_deadline = spec.and_then(|spec| spec.active_deadline_seconds).is_some();
    match scope {
        "Terminating" => has_deadline,
        "NotTerminating" => !has_deadline,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = spec.and_then(|spec| spec.priority_class_name.clone()).filter(|class| !class.is_empty());
            match operator {
                "In" => class.is_some_and(|class| values.contains(&class)),
                "NotIn" => class.is_none_or(|class| !values.contains(&class)),
                "DoesNotExist" => class.is_none(),
                _ => class.is_some(),
            }
        }
        "CrossNamespacePodAffinity" => {
            let affinity = spec.and_then(|spec| spec.affinity.as_ref());
            let text = affinity.and_then(|affinity| serde_json::to_string(affinity).ok()).unwrap_or_default();
            text.contains("\"namespaces\"") || text.contains("\"namespaceSelector\"")
        }
        _ => false,
    }
}

fn takes(spec: &ResourceQuotaSpec, pod: &Pod) -> bool {
    let plain = spec.scopes.iter().flatten().all(|scope| in_scope(pod, scope, "Exists", &[]));
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    plain
        && selected.into_iter().all(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            in_scope(pod, &requirement.scope_name, &requirement.operator, values)
        })
}

fn used(view: &View, spec: &ResourceQuotaSpec) -> Usage {
    let mut used = Usage::new();
    let scoped = spec.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty()) || spec.scope_selector.is_some();
    let ours = |pod: &&Arc<Pod>| !pods::is_terminal(pod) && takes(spec, pod);
    let from_pods = view.pods.iter().filter(ours).map(|pod| usage::pod(pod));
    let others = view.services.iter().map(|service| usage::service(service));
    let claims = view.claims.iter().map(|claim| usage::claim(claim));
    // Scopes are about pods: a quota with scopes counts nothing else.
    let rest = others.chain(claims).filter(|_| !scoped);
    for usage in from_pods.chain(rest) {
        usage.into_iter().for_each(|(name, amount)| usage::add(&mut used, &name, amount));
    }
    for (kind, count) in view.counts.iter().filter(|_| !scoped) {
        let count = Quantity::from_value(i64::try_from(*count).unwrap_or(i64::MAX), Format::DecimalSi);
        used.insert(format!("count/{kind}"), count);
        if matches!(kind.as_str(), "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") {
            used.insert(kind.clone(), count);
        }
    }
    used
}

/// What to do now.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    let quota = &*view.quota;
    let Some(spec) = quota.spec.as_ref().filter(|_| quota.metadata.deletion_timestamp.is_none()) else { return plan };
    let used = used(view, spec);
    let hard = spec.hard.clone().unwrap_or_default();
    let zero = Quantity::from_value(0, Format::DecimalSi);
    let shown = hard.keys().map(|name| (name.clone(), used.get(name).copied().unwrap_or(zero).to_api()));
    let status = ResourceQuotaStatus { used: Some(shown.collect()), hard: Some(hard) };
    if Some(&status) != quota.status.as_ref() {
        let (metadata, spec) = (quota.metadata.clone(), quota.spec.clone());
        plan.write(Write::replace_status(&ResourceQuota { metadata, spec, status: Some(status) }).or_gone());
    }
    plan
}
