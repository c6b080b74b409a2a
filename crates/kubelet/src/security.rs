//! Security contexts in the runtime's terms. Pure.
use cri::v1;
use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, SELinuxOptions, SeccompProfile};

use crate::config::Config;
use crate::spec::{self, Kind};

fn seccomp(profile: Option<&SeccompProfile>, config: &Config) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (kind, reference) = match profile.map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let file = profile.and_then(|p| p.localhost_profile.as_deref()).unwrap_or_default();
            (ProfileType::Localhost, config.root_dir.join("seccomp").join(file).to_string_lossy().into_owned())
        }
        None if config.seccomp_default => (ProfileType::RuntimeDefault, String::new()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref: reference }
}

fn apparmor(profile: Option<&AppArmorProfile>) -> Option<v1::SecurityProfile> {
    use v1::security_profile::ProfileType;
    let profile = profile?;
    let (kind, reference) = match profile.type_.as_str() {
        "RuntimeDefault" => (ProfileType::RuntimeDefault, String::new()),
        "Localhost" => (ProfileType::Localhost, profile.localhost_profile.clone().unwrap_or_default()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: reference })
}

fn selinux(options: Option<&SELinuxOptions>) -> Option<v1::SeLinuxOption> {
    let options = options?;
    Some(v1::SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    })
}

fn number(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

/// The pod's namespaces; sharing of process ids differs between sandbox and container.
fn namespaces(pod: &Pod, kind: Kind, target_id: Option<String>) -> v1::NamespaceOption {
    use v1::NamespaceMode::{Container, Node, Pod as Shared, Target};
    let spec = spec::spec(pod);
    let pid = if spec.host_pid == Some(true) {
        Node
    } else if spec.share_process_namespace == Some(true) {
        Shared
    } else if kind == Kind::Ephemeral && target_id.is_some() {
        Target
    } else {
        Container
    };
    v1::NamespaceOption {
        network: if spec::host_network(pod) { Node } else { Shared }.into(),
        ipc: if spec.host_ipc == Some(true) { Node } else { Shared }.into(),
        pid: pid.into(),
        target_id: target_id.filter(|_| pid == Target).unwrap_or_default(),
        userns_options: None,
    }
}

fn privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|c| c.privileged).unwrap_or(false)
}

fn supplemental(pod: &Pod) -> Vec<i64> {
    let Some(context) = spec::spec(pod).security_context.as_ref() else { return Vec::new() };
    context.supplemental_groups.iter().flatten().copied().chain(context.fs_group).collect()
}

/// The sandbox's security context.
pub fn sandbox(pod: &Pod, config: &Config) -> v1::LinuxSandboxSecurityContext {
    let context = spec::spec(pod).security_context.as_ref();
    let all = spec::spec(pod).containers.iter().chain(spec::init_containers(pod));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, Kind::Main, None)),
        run_as_user: context.and_then(|c| c.run_as_user).map(number),
        run_as_group: context.filter(|c| c.run_as_user.is_some()).and_then(|c| c.run_as_group).map(number),
        supplemental_groups: supplemental(pod),
        privileged: all.into_iter().any(privileged),
        // The pause process needs nothing special; upstream confines it whatever the containers ask for.
        seccomp: Some(match context.and_then(|c| c.seccomp_profile.as_ref()) {
            Some(profile) => seccomp(Some(profile), config),
            None => v1::SecurityProfile::default(),
        }),
        selinux_options: selinux(context.and_then(|c| c.se_linux_options.as_ref())),
        ..Default::default()
    }
}

/// A container's security context; what it does not say, the pod's says.
pub fn container(
    pod: &Pod,
    kind: Kind,
    container: &Container,
    target_id: Option<String>,
    config: &Config,
) -> v1::LinuxContainerSecurityContext {
    let own = container.security_context.clone().unwrap_or_default();
    let shared = spec::spec(pod).security_context.as_ref();
    let user = own.run_as_user.or(shared.and_then(|c| c.run_as_user));
    let group = own.run_as_group.or(shared.and_then(|c| c.run_as_group));
    let profile = own.seccomp_profile.as_ref().or(shared.and_then(|c| c.seccomp_profile.as_ref()));
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let strict = shared.and_then(|c| c.supplemental_groups_policy.as_deref()) == Some("Strict");
    let list = |names: Option<&Vec<String>>| names.cloned().unwrap_or_default();
    let paths = |all: &[&str]| if unmasked { Vec::new() } else { all.iter().map(|p| (*p).to_owned()).collect() };
    v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|c| v1::Capability {
            add_capabilities: list(c.add.as_ref()),
            drop_capabilities: list(c.drop.as_ref()),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: privileged(container),
        namespace_options: Some(namespaces(pod, kind, target_id)),
        run_as_user: user.map(number),
        run_as_group: group.map(number),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: supplemental(pod),
        supplemental_groups_policy: i32::from(strict),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&[
            "/proc/asound",
            "/proc/acpi",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
            "/sys/devices/virtual/powercap",
        ]),
        readonly_paths: paths(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
        seccomp: Some(seccomp(profile, config)),
        apparmor: apparmor(own.app_armor_profile.as_ref().or(shared.and_then(|c| c.app_armor_profile.as_ref()))),
        selinux_options: selinux(own.se_linux_options.as_ref().or(shared.and_then(|c| c.se_linux_options.as_ref()))),
        ..Default::default()
    }
}

/// Refuses what `runAsNonRoot` forbids, given the image's user.
///
/// # Errors
/// Upstream's words.
pub fn verify_non_root(
    pod: &Pod,
    container: &Container,
    image_uid: Option<i64>,
    image_user: &str,
) -> Result<(), String> {
    let own = container.security_context.as_ref();
    let shared = spec::spec(pod).security_context.as_ref();
    let non_root = own.and_then(|c| c.run_as_non_root).or(shared.and_then(|c| c.run_as_non_root)).unwrap_or(false);
    if !non_root {
        return Ok(());
    }
    let of = format!("(pod: \"{}\", container: {})", spec::describe(pod), container.name);
    match own.and_then(|c| c.run_as_user).or(shared.and_then(|c| c.run_as_user)) {
        Some(0) => Err(format!("container's runAsUser breaks non-root policy {of}")),
        Some(_) => Ok(()),
        None if image_uid == Some(0) => Err(format!("container has runAsNonRoot and image will run as root {of}")),
        None if image_uid.is_none() && !image_user.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {of}"
        )),
        // An image without a user runs as root.
        None if image_uid.is_none() => Err(format!("container has runAsNonRoot and image will run as root {of}")),
        None => Ok(()),
    }
}
