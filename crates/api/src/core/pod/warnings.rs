//! What is allowed in a pod but not wise.
//!
//! Source: `pkg/api/pod/warnings.go`.
use super::status::is_restartable_init;
use apimachinery::validation;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

const DEPRECATED_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

pub fn template(template: Option<&PodTemplateSpec>, path: &str) -> Vec<String> {
    template.and_then(|t| t.spec.as_ref()).map(|s| spec(s, &format!("{path}.spec"))).unwrap_or_default()
}

/// Names that become part of host names should be labels. `what`: `the Pod's hostname`.
pub fn name(meta: &ObjectMeta, what: &str) -> Option<String> {
    let violations = validation::is_dns1123_label(meta.name.as_deref().unwrap_or_default());
    (!violations.is_empty()).then(|| {
        let listed = violations.join(" ");
        format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: [{listed}]"
        )
    })
}

/// What is unwise in a workload: its name and its template.
pub fn workload(meta: &ObjectMeta, pods: Option<&PodTemplateSpec>) -> Vec<String> {
    let mut warnings = template(pods, "spec.template");
    warnings.extend(name(meta, "Pod names and hostnames"));
    warnings
}

/// `path`: where the spec stands (`spec`, `spec.template.spec`).
pub fn spec(spec: &PodSpec, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for key in spec.node_selector.iter().flat_map(|s| s.keys()) {
        if let Some((_, text)) = DEPRECATED_LABELS.iter().find(|(label, _)| label == key) {
            warnings.push(format!("{path}.nodeSelector[{key}]: {text}"));
        }
    }
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        let at = |field: &str| format!("{path}.volumes[{i}].{field}");
        if volume.git_repo.is_some() {
            warnings.push(format!("{}: deprecated in v1.11, and disabled by default in v1.33+", at("gitRepo")));
        }
        if volume.glusterfs.is_some() {
            warnings.push(format!("{}: deprecated in v1.25, non-functional in v1.26+", at("glusterfs")));
        }
        if volume.cephfs.is_some() {
            warnings.push(format!("{}: deprecated in v1.28, non-functional in v1.31+", at("cephfs")));
        }
        if volume.rbd.is_some() {
            warnings.push(format!("{}: deprecated in v1.28, non-functional in v1.31+", at("rbd")));
        }
        if volume.storageos.is_some() {
            warnings.push(format!("{}: deprecated in v1.22, non-functional in v1.25+", at("storageos")));
        }
        if let Some(empty) = &volume.empty_dir
            && empty.size_limit.as_ref().is_some_and(|l| l.0.ends_with('m'))
        {
            let limit = empty.size_limit.as_ref().map(|l| l.0.as_str()).unwrap_or_default();
            warnings.push(format!(
                "{path}.volumes[{i}].emptyDir.sizeLimit: fractional byte value {limit:?} is invalid, must be an integer"
            ));
        }
    }
    for (i, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if spec.host_aliases.iter().flatten().take(i).any(|a| a.ip == alias.ip) {
            warnings.push(format!("{path}.hostAliases[{i}].ip: duplicate alias with IP {:?}", alias.ip));
        }
    }
    for (i, reference) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let twice = spec.image_pull_secrets.iter().flatten().take(i).any(|r| r.name == reference.name);
        if reference.name.is_empty() {
            warnings.push(format!("{path}.imagePullSecrets[{i}].name: invalid empty name {:?}", reference.name));
        } else if twice {
            warnings.push(format!("{path}.imagePullSecrets: duplicate name {:?}", reference.name));
        }
    }
    for (i, container) in spec.containers.iter().enumerate() {
        of_container(container, &format!("{path}.containers[{i}]"), &mut warnings);
    }
    for (i, container) in spec.init_containers.iter().flatten().enumerate() {
        of_container(container, &format!("{path}.initContainers[{i}]"), &mut warnings);
    }
    if spec.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    duplicate_ports(spec, path, &mut warnings);
    warnings
}

fn of_container(container: &Container, path: &str, warnings: &mut Vec<String>) {
    let env = container.env.as_deref().unwrap_or_default();
    for (i, variable) in env.iter().enumerate() {
        // A later variable may be made from an earlier one of the same name.
        let reference = format!("$({})", variable.name);
        let builds_on = variable.value.as_ref().is_some_and(|v| v.contains(&reference));
        if !builds_on && env.iter().take(i).any(|e| e.name == variable.name) {
            warnings.push(format!(
                "{path}.env[{i}]: hides previous definition of {:?}, which may be dropped when using apply",
                variable.name
            ));
        }
    }
    let resources = container.resources.as_ref();
    let lists = [
        (resources.and_then(|r| r.limits.as_ref()), "limits"),
        (resources.and_then(|r| r.requests.as_ref()), "requests"),
    ];
    for (list, field) in lists {
        for name in ["memory", "ephemeral-storage"] {
            if let Some(amount) = list.and_then(|l| l.get(name)).filter(|q| q.0.ends_with('m')) {
                warnings.push(format!(
                    "{path}.resources.{field}[{name}]: fractional byte value {:?} is invalid, must be an integer",
                    amount.0
                ));
            }
        }
    }
}

fn duplicate_ports(spec: &PodSpec, path: &str, warnings: &mut Vec<String>) {
    let mut seen: Vec<(i32, Option<&str>, Option<i32>)> = Vec::new();
    let sidecars = spec.init_containers.iter().flatten().enumerate().filter(|(_, c)| is_restartable_init(c));
    let all = spec.containers.iter().enumerate().map(|(i, c)| (i, c, "containers"));
    for (i, container, field) in all.chain(sidecars.map(|(i, c)| (i, c, "initContainers"))) {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let key = (port.container_port, port.protocol.as_deref(), port.host_port);
            if seen.contains(&key) {
                let at = format!("{path}.{field}[{i}].ports[{j}]");
                warnings.push(format!("{at}: duplicate port definition with {path}.containers"));
            } else {
                seen.push(key);
            }
        }
    }
}
