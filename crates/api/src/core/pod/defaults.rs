//! Defaults of pods and pod templates.
//!
//! Source: `pkg/apis/core/v1/defaults.go`.
use crate::{
    amounts::{self, ResourceList},
    core::volume_defaults,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EphemeralContainer, HTTPGetAction, Lifecycle, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements,
};

/// Sets an absent or empty text.
pub fn text(field: &mut Option<String>, value: &str) {
    if field.as_ref().is_none_or(String::is_empty) {
        *field = Some(value.to_owned());
    }
}

/// Sets an absent or zero number.
fn number(field: &mut Option<i32>, value: i32) {
    if field.unwrap_or_default() == 0 {
        *field = Some(value);
    }
}

/// What `imagePullPolicy` is for an image nobody gave one for: always for `latest`, spoken or not.
pub fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return match tag(image) {
            Some("latest") => "Always",
            _ => "IfNotPresent",
        };
    }
    match tag(image) {
        None | Some("latest") => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn tag(image: &str) -> Option<&str> {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let last = image.rsplit_once('/').map_or(image, |(_, last)| last);
    last.split_once(':').map(|(_, tag)| tag).filter(|t| !t.is_empty())
}

pub fn template(template: &mut PodTemplateSpec) {
    // Upstream's fields are no pointers: they are always written.
    template.metadata.get_or_insert_default();
    spec(template.spec.get_or_insert_default());
}

/// What pods and templates share.
pub fn spec(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(30);
    if spec.service_account_name.as_ref().is_none_or(String::is_empty) {
        spec.service_account_name = spec.service_account.clone().filter(|n| !n.is_empty());
    }
    if spec.service_account != spec.service_account_name {
        spec.service_account.clone_from(&spec.service_account_name);
    }
    amounts::canonicalize(&mut spec.overhead);
    requirements(&mut spec.resources);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        self::container(container);
    }
    for ephemeral in spec.ephemeral_containers.iter_mut().flatten() {
        ephemeral_container(ephemeral);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        volume_defaults::volume(volume);
    }
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        if constraint.when_unsatisfiable.is_empty() {
            constraint.when_unsatisfiable = "DoNotSchedule".into();
        }
    }
}

/// What only pods get: requests from limits, host ports on the host's network.
pub fn pod_only(spec: &mut PodSpec) {
    spec.enable_service_links.get_or_insert(true);
    let on_host = spec.host_network == Some(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(resources) = &mut container.resources {
            requests_from_limits(&resources.limits, &mut resources.requests);
        }
        if on_host {
            for port in container.ports.iter_mut().flatten() {
                number(&mut port.host_port, port.container_port);
            }
        }
    }
    pod_level_requests(spec);
}

fn requests_from_limits(limits: &Option<ResourceList>, requests: &mut Option<ResourceList>) {
    let Some(limits) = limits.as_ref().filter(|l| !l.is_empty()) else { return };
    let requests = requests.get_or_insert_default();
    for (name, amount) in limits {
        if !requests.contains_key(name) {
            requests.insert(name.clone(), amount.clone());
        }
    }
}

/// Pod-level requests: what the containers ask for together, else the pod's limit.
fn pod_level_requests(spec: &mut PodSpec) {
    if spec.resources.as_ref().is_none_or(|r| r.limits.is_none() && r.requests.is_none()) {
        return;
    }
    let sum = super::resources::containers_requests(spec);
    let Some(resources) = &mut spec.resources else { return };
    let limits = resources.limits.get_or_insert_default();
    let requests = resources.requests.get_or_insert_default();
    for name in ["cpu", "memory"] {
        if requests.contains_key(name) {
            continue;
        }
        if let Some(amount) = sum.get(name).filter(|a| !a.is_zero()) {
            requests.insert(name.to_owned(), amount.to_api());
        } else if let Some(limit) = limits.get(name) {
            requests.insert(name.to_owned(), limit.clone());
        }
    }
    if limits.is_empty() {
        resources.limits = None;
    }
    if resources.requests.as_ref().is_some_and(ResourceList::is_empty) {
        resources.requests = None;
    }
}

fn requirements(resources: &mut Option<ResourceRequirements>) {
    if let Some(resources) = resources {
        amounts::canonicalize(&mut resources.limits);
        amounts::canonicalize(&mut resources.requests);
    }
}

fn container(c: &mut Container) {
    common(
        Common {
            image: c.image.as_deref(),
            pull_policy: &mut c.image_pull_policy,
            message_path: &mut c.termination_message_path,
            message_policy: &mut c.termination_message_policy,
            resources: &mut c.resources,
        },
        &mut c.ports,
        &mut c.env,
    );
    for probe in [&mut c.liveness_probe, &mut c.readiness_probe, &mut c.startup_probe].into_iter().flatten() {
        self::probe(probe);
    }
    if let Some(hooks) = &mut c.lifecycle {
        lifecycle(hooks);
    }
}

fn ephemeral_container(c: &mut EphemeralContainer) {
    common(
        Common {
            image: c.image.as_deref(),
            pull_policy: &mut c.image_pull_policy,
            message_path: &mut c.termination_message_path,
            message_policy: &mut c.termination_message_policy,
            resources: &mut c.resources,
        },
        &mut c.ports,
        &mut c.env,
    );
    for probe in [&mut c.liveness_probe, &mut c.readiness_probe, &mut c.startup_probe].into_iter().flatten() {
        self::probe(probe);
    }
    if let Some(hooks) = &mut c.lifecycle {
        lifecycle(hooks);
    }
}

struct Common<'a> {
    image: Option<&'a str>,
    pull_policy: &'a mut Option<String>,
    message_path: &'a mut Option<String>,
    message_policy: &'a mut Option<String>,
    resources: &'a mut Option<ResourceRequirements>,
}

fn common(c: Common<'_>, ports: &mut Option<Vec<ContainerPort>>, env: &mut Option<Vec<EnvVar>>) {
    text(c.pull_policy, pull_policy(c.image.unwrap_or_default()));
    text(c.message_path, "/dev/termination-log");
    text(c.message_policy, "File");
    // Upstream's field is no pointer: it is always written.
    c.resources.get_or_insert_default();
    requirements(c.resources);
    for port in ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
    }
    for source in env.iter_mut().flatten().filter_map(|e| e.value_from.as_mut()) {
        if let Some(field) = &mut source.field_ref {
            text(&mut field.api_version, "v1");
        }
        if let Some(field) = &mut source.resource_field_ref {
            field.divisor.get_or_insert_with(zero);
        }
        if let Some(file) = &mut source.file_key_ref {
            file.optional.get_or_insert(false);
        }
    }
}

/// The divisor nobody gave: upstream writes it as `0`.
pub fn zero() -> k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    k8s_openapi::apimachinery::pkg::api::resource::Quantity("0".into())
}

fn probe(probe: &mut Probe) {
    number(&mut probe.timeout_seconds, 1);
    number(&mut probe.period_seconds, 10);
    number(&mut probe.success_threshold, 1);
    number(&mut probe.failure_threshold, 3);
    if let Some(get) = &mut probe.http_get {
        http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn http_get(get: &mut HTTPGetAction) {
    text(&mut get.path, "/");
    text(&mut get.scheme, "HTTP");
}

fn lifecycle(lifecycle: &mut Lifecycle) {
    for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
        if let Some(get) = &mut handler.http_get {
            http_get(get);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policy_follows_the_tag() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry.local:5000/nginx", "Always"),
            ("registry.local:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
        ];
        for (image, want) in cases {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }
}
