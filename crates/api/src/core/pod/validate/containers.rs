//! Rules for containers of all three sorts.
use super::{
    check, env, probes,
    resources::requirements,
    security, set,
    volumes::{Volumes, devices, mounts},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvFromSource, EnvVar, PodSpec, ResourceRequirements, SecurityContext, VolumeDevice,
    VolumeMount,
};

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];

/// What containers and ephemeral containers have in common.
struct Common<'a> {
    name: &'a str,
    image: &'a Option<String>,
    message_policy: &'a Option<String>,
    pull_policy: &'a Option<String>,
    env: &'a [EnvVar],
    env_from: &'a [EnvFromSource],
    mounts: &'a [VolumeMount],
    devices: &'a [VolumeDevice],
    resources: Option<&'a ResourceRequirements>,
    security: Option<&'a SecurityContext>,
}

pub fn all(spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let containers_path = path.child("containers");
    if spec.containers.is_empty() {
        errors.push(Error::required(&containers_path, ""));
    }
    let mut host_ports = HostPorts::default();
    let on_host = spec.host_network == Some(true);
    for (i, container) in spec.containers.iter().enumerate() {
        let path = containers_path.index(i);
        one(container, spec, volumes, &path, errors);
        if spec.containers.iter().take(i).any(|c| c.name == container.name) {
            errors.push(Error::duplicate(&path.child("name"), &container.name));
        }
        host_ports.check(container.ports.as_deref().unwrap_or_default(), on_host, &path, errors);
        restart(container, false, &path, errors);
        probes::of(container, &path, errors);
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (i, container) in init.iter().enumerate() {
        let path = path.child("initContainers").index(i);
        one(container, spec, volumes, &path, errors);
        let mut others = init.iter().take(i).chain(&spec.containers);
        if others.any(|c| c.name == container.name) {
            errors.push(Error::duplicate(&path.child("name"), &container.name));
        }
        host_ports.check(container.ports.as_deref().unwrap_or_default(), on_host, &path, errors);
        restart(container, true, &path, errors);
        if super::super::status::is_restartable_init(container) {
            probes::of(container, &path, errors);
        } else {
            only_for_restartable(container, &path, errors);
        }
    }
    ephemeral(spec, volumes, path, errors);
}

fn one(container: &Container, spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let c = Common {
        name: &container.name,
        image: &container.image,
        message_policy: &container.termination_message_policy,
        pull_policy: &container.image_pull_policy,
        env: container.env.as_deref().unwrap_or_default(),
        env_from: container.env_from.as_deref().unwrap_or_default(),
        mounts: container.volume_mounts.as_deref().unwrap_or_default(),
        devices: container.volume_devices.as_deref().unwrap_or_default(),
        resources: container.resources.as_ref(),
        security: container.security_context.as_ref(),
    };
    common(&c, spec, volumes, path, errors);
    ports(container.ports.as_deref().unwrap_or_default(), path, errors);
    for (i, policy) in container.resize_policy.iter().flatten().enumerate() {
        let at = || path.child("resizePolicy").index(i);
        if !matches!(policy.resource_name.as_str(), "cpu" | "memory") {
            errors.push(Error::not_supported(&at().child("resourceName"), &policy.resource_name, &["cpu", "memory"]));
        }
        if !matches!(policy.restart_policy.as_str(), "NotRequired" | "RestartContainer") {
            let known = ["NotRequired", "RestartContainer"];
            errors.push(Error::not_supported(&at().child("restartPolicy"), &policy.restart_policy, &known));
        }
        if spec.restart_policy.as_deref() == Some("Never") && policy.restart_policy != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(Error::invalid(&path.child("resizePolicy"), &policy.restart_policy, detail));
        }
    }
}

fn common(c: &Common<'_>, spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    if c.name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        check(c.name, validation::is_dns1123_label, || path.child("name"), errors);
    }
    match set(c.image) {
        None => errors.push(Error::required(&path.child("image"), "")),
        Some(image) if image.trim().len() != image.len() => {
            let detail = "must not have leading or trailing whitespace";
            errors.push(Error::invalid(&path.child("image"), image, detail));
        }
        Some(_) => {}
    }
    match set(c.message_policy) {
        None => errors.push(Error::required(&path.child("terminationMessagePolicy"), "")),
        Some(policy) if !MESSAGE_POLICIES.contains(&policy) => {
            errors.push(Error::not_supported(&path.child("terminationMessagePolicy"), policy, MESSAGE_POLICIES));
        }
        Some(_) => {}
    }
    env::validate(c.env, path, errors);
    env::validate_from(c.env_from, path, errors);
    let privileged = c.security.and_then(|s| s.privileged) == Some(true);
    mounts(c.mounts, volumes, privileged, path, errors);
    devices(c.devices, c.mounts, volumes, path, errors);
    match set(c.pull_policy) {
        None => errors.push(Error::required(&path.child("imagePullPolicy"), "")),
        Some(policy) if !PULL_POLICIES.contains(&policy) => {
            errors.push(Error::not_supported(&path.child("imagePullPolicy"), policy, PULL_POLICIES));
        }
        Some(_) => {}
    }
    if let Some(resources) = c.resources {
        requirements(resources, spec, path, errors);
    }
    if let Some(context) = c.security {
        security::container(context, path, errors);
    }
}

fn ports(ports: &[ContainerPort], path: &Path, errors: &mut ErrorList) {
    for (i, port) in ports.iter().enumerate() {
        let at = || path.child("ports").index(i);
        if let Some(name) = set(&port.name) {
            check(name, validation::is_valid_port_name, || at().child("name"), errors);
            if ports.iter().take(i).any(|p| p.name == port.name) {
                errors.push(Error::duplicate(&at().child("name"), name));
            }
        }
        if port.container_port == 0 {
            errors.push(Error::required(&at().child("containerPort"), ""));
        } else {
            for violation in validation::is_valid_port_num(i64::from(port.container_port)) {
                errors.push(Error::invalid(&at().child("containerPort"), port.container_port, violation));
            }
        }
        if let Some(number) = port.host_port.filter(|p| *p != 0) {
            for violation in validation::is_valid_port_num(i64::from(number)) {
                errors.push(Error::invalid(&at().child("hostPort"), number, violation));
            }
        }
        match set(&port.protocol) {
            None => errors.push(Error::required(&at().child("protocol"), "")),
            Some(protocol) if !PROTOCOLS.contains(&protocol) => {
                errors.push(Error::not_supported(&at().child("protocol"), protocol, PROTOCOLS));
            }
            Some(_) => {}
        }
        if let Some(ip) = set(&port.host_ip) {
            check(ip, validation::is_valid_ip, || at().child("hostIP"), errors);
        }
    }
}

/// Ports of the node that this pod takes.
#[derive(Default)]
struct HostPorts(Vec<String>);

impl HostPorts {
    fn check(&mut self, ports: &[ContainerPort], on_host: bool, path: &Path, errors: &mut ErrorList) {
        for (i, port) in ports.iter().enumerate() {
            let host_port = port.host_port.unwrap_or_default();
            if on_host && host_port != port.container_port {
                let at = path.child("ports").index(i).child("containerPort");
                let detail = "must match `hostPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&at, port.container_port, detail));
            }
            if host_port == 0 {
                continue;
            }
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let taken = format!("{protocol}/{}/{host_port}", port.host_ip.as_deref().unwrap_or_default());
            if self.0.contains(&taken) {
                errors.push(Error::duplicate(&path.child("ports").index(i).child("hostPort"), &taken));
            }
            self.0.push(taken);
        }
    }
}

fn restart(container: &Container, init: bool, path: &Path, errors: &mut ErrorList) {
    if let Some(policy) = &container.restart_policy
        && !RESTART_POLICIES.contains(&policy.as_str())
    {
        errors.push(Error::not_supported(&path.child("restartPolicy"), policy, RESTART_POLICIES));
    }
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    if !rules.is_empty() && container.restart_policy.is_none() {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.push(Error::required(&path.child("restartPolicy"), detail));
    }
    if !rules.is_empty() && init && container.restart_policy.as_deref() == Some("Always") {
        let detail = "restartPolicyRules are not allowed for init containers with restart policy Always";
        errors.push(Error::forbidden(&path.child("restartPolicyRules"), detail));
    }
}

fn only_for_restartable(container: &Container, path: &Path, errors: &mut ErrorList) {
    let fields = [
        (container.lifecycle.is_some(), "lifecycle"),
        (container.liveness_probe.is_some(), "livenessProbe"),
        (container.readiness_probe.is_some(), "readinessProbe"),
        (container.startup_probe.is_some(), "startupProbe"),
    ];
    for (there, field) in fields {
        if there {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    }
}

fn ephemeral(spec: &PodSpec, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let ephemeral = spec.ephemeral_containers.as_deref().unwrap_or_default();
    for (i, e) in ephemeral.iter().enumerate() {
        let path = path.child("ephemeralContainers").index(i);
        let c = Common {
            name: &e.name,
            image: &e.image,
            message_policy: &e.termination_message_policy,
            pull_policy: &e.image_pull_policy,
            env: e.env.as_deref().unwrap_or_default(),
            env_from: e.env_from.as_deref().unwrap_or_default(),
            mounts: e.volume_mounts.as_deref().unwrap_or_default(),
            devices: e.volume_devices.as_deref().unwrap_or_default(),
            resources: None,
            security: e.security_context.as_ref(),
        };
        common(&c, spec, volumes, &path, errors);
        let ordinary = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mut names = ordinary.map(|c| &c.name).chain(ephemeral.iter().take(i).map(|c| &c.name));
        if names.any(|name| *name == e.name) {
            errors.push(Error::duplicate(&path.child("name"), &e.name));
        }
        if let Some(target) = set(&e.target_container_name) {
            let mut ordinary = spec.init_containers.iter().flatten().chain(&spec.containers);
            if !ordinary.any(|c| c.name == target) {
                errors.push(Error::not_found(&path.child("targetContainerName"), target));
            }
        }
        let resources = e.resources.as_ref().is_some_and(|r| r.limits.is_some() || r.requests.is_some());
        let fields = [
            (e.ports.is_some(), "ports"),
            (e.liveness_probe.is_some(), "livenessProbe"),
            (e.readiness_probe.is_some(), "readinessProbe"),
            (e.startup_probe.is_some(), "startupProbe"),
            (e.lifecycle.is_some(), "lifecycle"),
            (resources, "resources"),
            (e.restart_policy.is_some(), "restartPolicy"),
        ];
        for (there, field) in fields {
            if there {
                errors.push(Error::forbidden(&path.child(field), "cannot be set for an Ephemeral Container"));
            }
        }
        if e.volume_mounts.iter().flatten().any(|m| set(&m.sub_path).is_some() || set(&m.sub_path_expr).is_some()) {
            let detail = "cannot be set for an Ephemeral Container";
            errors.push(Error::forbidden(&path.child("volumeMounts").child("subPath"), detail));
        }
    }
}
