//! What the runtime is told about a sandbox or a container.
use std::path::Path;

use cri::v1;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::config::Config;
use crate::resources::{self, QUOTA_PERIOD_US};
use crate::spec::{self, Kind};
use crate::volumes::{self, Mounted};
use crate::{env, labels, network, security};

/// A sandbox's configuration.
pub fn sandbox(pod: &Pod, attempt: u32, config: &Config, cgroup_parent: String) -> v1::PodSandboxConfig {
    let (name, namespace, uid) = (spec::name(pod), spec::namespace(pod), spec::uid(pod));
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.entry(labels::CONFIG_SOURCE.into()).or_insert_with(|| "api".into());
    let mut ports = Vec::new();
    for container in spec::spec(pod).containers.iter().chain(spec::init_containers(pod)) {
        for port in container.ports.iter().flatten() {
            let Some(host_port) = port.host_port.filter(|p| *p > 0 && !spec::host_network(pod)) else { continue };
            ports.push(v1::PortMapping {
                protocol: protocol(port.protocol.as_deref()).into(),
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            });
        }
    }
    let context = spec::spec(pod).security_context.as_ref();
    let sysctls = context.and_then(|c| c.sysctls.as_ref()).into_iter().flatten();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.into(),
            uid: uid.into(),
            namespace: namespace.into(),
            attempt,
        }),
        hostname: network::hostname(pod, config),
        log_directory: labels::pod_log_dir(&config.pod_logs_dir, namespace, name, uid).to_string_lossy().into_owned(),
        dns_config: Some(network::dns(pod, config)),
        port_mappings: ports,
        labels: labels::sandbox_labels(pod).into_iter().collect(),
        annotations: annotations.into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent,
            security_context: Some(security::sandbox(pod, config)),
            sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
            overhead: None,
            resources: None,
        }),
    }
}

fn protocol(name: Option<&str>) -> v1::Protocol {
    match name {
        Some("UDP") => v1::Protocol::Udp,
        Some("SCTP") => v1::Protocol::Sctp,
        _ => v1::Protocol::Tcp,
    }
}

/// What a container's configuration is made of, besides its pod.
pub struct Input<'a> {
    pub pod: &'a Pod,
    pub kind: Kind,
    pub container: &'a Container,
    pub config: &'a Config,
    pub restarts: u32,
    pub image: &'a v1::Image,
    pub env: env::Vars,
    pub volumes: &'a Mounted,
    pub pod_ips: &'a [String],
    pub target_id: Option<String>,
    pub memory_capacity_bytes: i64,
    /// The lowest OOM score this process may give to others.
    pub oom_floor: i64,
}

/// A container's configuration; makes the files it mounts (hosts, termination message, subpaths).
///
/// # Errors
/// The message of `CreateContainerConfigError`.
pub fn container(input: &Input<'_>) -> Result<v1::ContainerConfig, String> {
    let Input { pod, container, .. } = input;
    let image_uid = input.image.uid.as_ref().map(|u| u.value);
    security::verify_non_root(pod, container, image_uid, &input.image.username)?;
    let lookup = |name: &str| input.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let expand = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| env::expand(text, lookup)).collect();
    let image = match input.image.id.is_empty() {
        true => container.image.clone().unwrap_or_default(),
        false => input.image.id.clone(),
    };
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: input.restarts }),
        image: Some(v1::ImageSpec {
            image,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: input.env.iter().map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: mounts(input, &lookup)?,
        devices: devices(input)?,
        labels: labels::container_labels(pod, container).into_iter().collect(),
        annotations: labels::container_annotations(pod, container, input.restarts).into_iter().collect(),
        log_path: labels::container_log_path(&container.name, input.restarts),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(linux_resources(
                pod,
                container,
                input.config,
                input.memory_capacity_bytes,
                input.oom_floor,
            )),
            security_context: Some(security::container(
                pod,
                input.kind,
                container,
                input.target_id.clone(),
                input.config,
            )),
        }),
        cdi_devices: Vec::new(),
    })
}

/// A container's cgroup limits.
pub fn linux_resources(
    pod: &Pod,
    container: &Container,
    config: &Config,
    memory_capacity_bytes: i64,
    oom_floor: i64,
) -> v1::LinuxContainerResources {
    let wanted = container.resources.as_ref();
    let cpu_request = resources::request(wanted, "cpu", true).unwrap_or(0);
    let cpu_limit = resources::limit(wanted, "cpu", true).unwrap_or(0);
    let quota = if config.cpu_cfs_quota { resources::quota(cpu_limit) } else { 0 };
    let oom = resources::oom_score_adj(pod, container, memory_capacity_bytes);
    v1::LinuxContainerResources {
        cpu_period: QUOTA_PERIOD_US,
        cpu_quota: quota,
        cpu_shares: resources::shares(cpu_request),
        memory_limit_in_bytes: resources::limit(wanted, "memory", false).unwrap_or(0),
        oom_score_adj: oom.max(oom_floor),
        ..Default::default()
    }
}

fn mounts(input: &Input<'_>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<v1::Mount>, String> {
    let (pod, container) = (input.pod, input.container);
    let pod_dir = volumes::pod_dir(&input.config.root_dir, spec::uid(pod));
    let mut all = Vec::new();
    let mut own_hosts = false;
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = input.volumes.get(&mount.name);
        let path = volume.ok_or_else(|| {
            format!("cannot find volume \"{}\" to mount into container \"{}\"", mount.name, container.name)
        })?;
        let sub_path =
            match (mount.sub_path.as_deref().unwrap_or_default(), mount.sub_path_expr.as_deref().unwrap_or_default()) {
                ("", "") => String::new(),
                ("", expression) => {
                    let missing = std::cell::RefCell::new(std::collections::BTreeSet::new());
                    let expanded = env::expand(expression, |name| {
                        let value = lookup(name).filter(|value| !value.is_empty());
                        if value.is_none() {
                            missing.borrow_mut().insert(name.to_owned());
                        }
                        value
                    });
                    let missing: Vec<String> = missing.into_inner().into_iter().collect();
                    if !missing.is_empty() {
                        return Err(format!("missing value for {}", missing.join(", ")));
                    }
                    expanded
                }
                (plain, _) => plain.to_owned(),
            };
        if sub_path.starts_with('/') {
            return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
        }
        if sub_path.split('/').any(|part| part == "..") {
            return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
        }
        let host_path = match sub_path.is_empty() {
            true => path.clone(),
            false => {
                let bound = volumes::subpath::bind(&pod_dir, &mount.name, path, &container.name, index, &sub_path);
                bound.map_err(|error| {
                    // What was found in the volume is not told: it may be the host's.
                    tracing::warn!(pod = %spec::describe(pod), container = %container.name, %error, "subPath");
                    format!(
                        "failed to prepare subPath for volumeMount \"{}\" of container \"{}\"",
                        mount.name, container.name
                    )
                })?
            }
        };
        if mount.recursive_read_only.as_deref() == Some("Enabled") {
            return Err(format!(
                "failed to resolve recursive read-only mode: volume \"{}\" requested recursive read-only mode, but it is not supported by the runtime",
                mount.name
            ));
        }
        // What the kubelet writes, or is claimed for reading only, is never the container's to change.
        let fixed = spec::spec(pod).volumes.iter().flatten().any(|v| {
            v.name == mount.name
                && (v.persistent_volume_claim.as_ref().is_some_and(|claim| claim.read_only == Some(true))
                    || v.config_map.is_some()
                    || v.secret.is_some()
                    || v.downward_api.is_some()
                    || v.projected.is_some())
        });
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
            _ => v1::MountPropagation::PropagationPrivate,
        };
        own_hosts |= mount.mount_path == "/etc/hosts";
        all.push(v1::Mount {
            container_path: mount.mount_path.clone(),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: fixed || mount.read_only.unwrap_or(false),
            propagation: propagation.into(),
            ..Default::default()
        });
    }
    if !own_hosts && (input.kind != Kind::Init || !input.pod_ips.is_empty()) {
        all.push(plain_mount("/etc/hosts", &hosts(input, &pod_dir)?));
    }
    let message_path = container.termination_message_path.as_deref().unwrap_or_default();
    if !message_path.is_empty() {
        all.push(plain_mount(message_path, &message_file(&pod_dir, &container.name)?));
    }
    Ok(all)
}

/// The block volumes that the container sees as devices.
fn devices(input: &Input<'_>) -> Result<Vec<v1::Device>, String> {
    let one = |device: &k8s_openapi::api::core::v1::VolumeDevice| {
        let path = input.volumes.get(&device.name).ok_or_else(|| {
            format!("cannot find volume \"{}\" to pass into container \"{}\"", device.name, input.container.name)
        })?;
        let mut volumes = spec::spec(input.pod).volumes.iter().flatten();
        let claim = volumes.find(|v| v.name == device.name).and_then(|v| v.persistent_volume_claim.as_ref());
        let read_only = claim.is_some_and(|claim| claim.read_only == Some(true));
        Ok(v1::Device {
            container_path: device.device_path.clone(),
            host_path: path.to_string_lossy().into_owned(),
            permissions: if read_only { "r" } else { "mrw" }.into(),
        })
    };
    input.container.volume_devices.iter().flatten().map(one).collect()
}

fn plain_mount(container_path: &str, host: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn hosts(input: &Input<'_>, pod_dir: &Path) -> Result<std::path::PathBuf, String> {
    let path = pod_dir.join("etc-hosts");
    let text = network::hosts_file(input.pod, input.pod_ips, &input.config.cluster_domain);
    let write = || {
        std::fs::create_dir_all(pod_dir)?;
        std::fs::write(&path, &text)
    };
    write().map_err(|e| format!("/etc/hosts: {e}"))?;
    Ok(path)
}

/// A fresh file for the container's last words, writable for whoever the container runs as.
fn message_file(pod_dir: &Path, container: &str) -> Result<std::path::PathBuf, String> {
    use std::os::unix::fs::PermissionsExt;
    let dir = pod_dir.join("containers").join(container);
    let path = dir.join(format!("{:08x}", rand::random::<u32>()));
    let make = || {
        std::fs::create_dir_all(&dir)?;
        std::fs::write(&path, b"")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
    };
    make().map_err(|e: std::io::Error| format!("termination message file: {e}"))?;
    Ok(path)
}
