//! Rules for pods and pod templates.
//!
//! Source: `ValidatePodSpec` and friends in `pkg/apis/core/validation/validation.go`. Paths are made only when there
//! is something to report: most objects are valid.
mod containers;
mod env;
mod host;
pub mod node_affinity;
mod pod_affinity;
mod probes;
mod resources;
mod security;
mod volume_sources;
mod volumes;

use crate::{core::taints, meta};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec, TopologySpreadConstraint};
use volumes::Volumes;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|t| !t.is_empty())
}

/// Adds every violation of `value`; the path is made only if there is one.
fn check(value: &str, rule: fn(&str) -> Vec<String>, path: impl FnOnce() -> Path, errors: &mut ErrorList) {
    let violations = rule(value);
    if violations.is_empty() {
        return;
    }
    let path = path();
    for violation in violations {
        errors.push(Error::invalid(&path, value, violation));
    }
}

/// A pod template at `path` (`spec.template`).
pub fn template(template: &PodTemplateSpec, path: &Path, errors: &mut ErrorList) {
    if let Some(metadata) = &template.metadata {
        if let Some(labels) = &metadata.labels {
            meta::validate_labels(labels, &path.child("labels"), errors);
        }
        if let Some(annotations) = &metadata.annotations {
            meta::validate_annotations(annotations, &path.child("annotations"), errors);
        }
    }
    let path = path.child("spec");
    let empty = PodSpec::default();
    let pod = template.spec.as_ref().unwrap_or(&empty);
    spec(pod, &path, errors);
    if pod.ephemeral_containers.as_ref().is_some_and(|c| !c.is_empty()) {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), detail));
    }
}

/// A pod's whole spec.
pub fn pod(pod: &Pod, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let empty = PodSpec::default();
    let pod_spec = pod.spec.as_ref().unwrap_or(&empty);
    spec(pod_spec, &path, errors);
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR));
    if mirror && set(&pod_spec.node_name).is_none() {
        let at = Path::new("metadata").child("annotations").key(MIRROR);
        errors.push(Error::required(&at, "must set spec.nodeName if mirror pod annotation is set"));
    }
}

/// What holds for new pods only.
pub fn pod_create(pod: &Pod, errors: &mut ErrorList) {
    let Some(spec) = &pod.spec else { return };
    let path = Path::new("spec");
    if spec.ephemeral_containers.as_ref().is_some_and(|c| !c.is_empty()) {
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if set(&spec.node_name).is_some() && spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()) {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.child("nodeName"), detail));
    }
}

fn spec(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let volumes = Volumes::check(spec, path, errors);
    containers::all(spec, &volumes, path, errors);
    policies(spec, path, errors);
    if let Some(selector) = &spec.node_selector {
        meta::validate_labels(selector, &path.child("nodeSelector"), errors);
    }
    security::pod(spec, path, errors);
    for (i, reference) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if reference.name.is_empty() {
            errors.push(Error::required(&path.child("imagePullSecrets").index(i).child("name"), ""));
        }
    }
    if let Some(affinity) = &spec.affinity {
        let path = path.child("affinity");
        if let Some(node) = &affinity.node_affinity {
            node_affinity::validate(node, &path.child("nodeAffinity"), errors);
        }
        pod_affinity::validate(affinity, &path, errors);
    }
    host::dns(spec, path, errors);
    gates(spec, path, errors);
    spread(spec.topology_spread_constraints.as_deref().unwrap_or_default(), path, errors);
    names(spec, path, errors);
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = validation::inclusive_range_error(1, i64::from(i32::MAX));
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, detail));
    }
    if let Some(tolerations) = spec.tolerations.as_deref().filter(|t| !t.is_empty()) {
        taints::validate_tolerations(tolerations, &path.child("tolerations"), errors);
    }
    host::aliases(spec, path, errors);
    if let Some(policy) = spec.preemption_policy.as_deref().filter(|p| !matches!(*p, "Never" | "PreemptLowerPriority"))
    {
        let known = ["Never", "PreemptLowerPriority"];
        errors.push(Error::not_supported(&path.child("preemptionPolicy"), policy, &known));
    }
    if spec.resources.is_some() {
        resources::pod_level(spec, path, errors);
    }
    if let Some(overhead) = &spec.overhead {
        resources::overhead(overhead, path, errors);
    }
    if let Some(os) = spec.os.as_ref().filter(|os| !matches!(os.name.as_str(), "linux" | "windows")) {
        errors.push(Error::not_supported(&path.child("os"), &os.name, &["linux", "windows"]));
    }
}

fn policies(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    match set(&spec.restart_policy) {
        None => errors.push(Error::required(&path.child("restartPolicy"), "")),
        Some(policy) if !RESTART_POLICIES.contains(&policy) => {
            errors.push(Error::not_supported(&path.child("restartPolicy"), policy, RESTART_POLICIES));
        }
        Some(_) => {}
    }
    match set(&spec.dns_policy) {
        None => errors.push(Error::required(&path.child("dnsPolicy"), "")),
        Some(policy) if !DNS_POLICIES.contains(&policy) => {
            errors.push(Error::not_supported(&path.child("dnsPolicy"), policy, DNS_POLICIES));
        }
        Some(_) => {}
    }
}

fn gates(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    for (i, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let at = || path.child("readinessGates").index(i).child("conditionType");
        check(&gate.condition_type, validation::is_qualified_name, at, errors);
    }
    let gates = spec.scheduling_gates.as_deref().unwrap_or_default();
    for (i, gate) in gates.iter().enumerate() {
        let at = || path.child("schedulingGates").index(i);
        check(&gate.name, validation::is_qualified_name, at, errors);
        if gates.iter().take(i).any(|g| g.name == gate.name) {
            errors.push(Error::duplicate(&at(), &gate.name));
        }
    }
}

fn names(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let subdomains = [
        (&spec.service_account_name, "serviceAccountName"),
        (&spec.node_name, "nodeName"),
        (&spec.priority_class_name, "priorityClassName"),
        (&spec.runtime_class_name, "runtimeClassName"),
    ];
    for (name, field) in subdomains {
        if let Some(name) = set(name) {
            check(name, validation::is_dns1123_subdomain, || path.child(field), errors);
        }
    }
    for (name, field) in [(&spec.hostname, "hostname"), (&spec.subdomain, "subdomain")] {
        if let Some(name) = set(name) {
            check(name, validation::is_dns1123_label, || path.child(field), errors);
        }
    }
    if let Some(name) = &spec.hostname_override {
        let at = || path.child("hostnameOverride");
        if spec.host_network == Some(true) {
            errors.push(Error::forbidden(&at(), "may not be specified when hostNetwork is true"));
        }
        if spec.set_hostname_as_fqdn == Some(true) {
            errors.push(Error::forbidden(&at(), "may not be specified when setHostnameAsFQDN is true"));
        }
        check(name, validation::is_dns1123_subdomain, at, errors);
    }
}

fn spread(constraints: &[TopologySpreadConstraint], path: &Path, errors: &mut ErrorList) {
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        if constraint.max_skew <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), constraint.max_skew, "must be greater than zero"));
        }
        if constraint.topology_key.is_empty() {
            errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
        } else {
            let at = || path.child("topologyKey");
            check(&constraint.topology_key, validation::is_qualified_name, at, errors);
        }
        let when = constraint.when_unsatisfiable.as_str();
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            let known = ["DoNotSchedule", "ScheduleAnyway"];
            errors.push(Error::not_supported(&path.child("whenUnsatisfiable"), when, &known));
        }
        if let Some(domains) = constraint.min_domains {
            let at = path.child("minDomains");
            if domains <= 0 {
                errors.push(Error::invalid(&at, domains, "must be greater than zero"));
            }
            if when != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.push(Error::invalid(&at, domains, detail));
            }
        }
        let key = (&constraint.topology_key, when);
        let pair = |c: &TopologySpreadConstraint| c.topology_key == *key.0 && c.when_unsatisfiable == key.1;
        if constraints.iter().skip(i + 1).any(pair) {
            let at = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(Error::duplicate(&at, format!("{{{}, {when}}}", constraint.topology_key)));
        }
        if let Some(selector) = &constraint.label_selector {
            meta::validate_label_selector(selector, &path.child("labelSelector"), errors);
        }
        let policies = [
            (&constraint.node_affinity_policy, "nodeAffinityPolicy"),
            (&constraint.node_taints_policy, "nodeTaintsPolicy"),
        ];
        for (policy, field) in policies {
            if let Some(policy) = policy.as_deref().filter(|p| !matches!(*p, "Ignore" | "Honor")) {
                errors.push(Error::not_supported(&path.child(field), policy, &["Honor", "Ignore"]));
            }
        }
    }
}
