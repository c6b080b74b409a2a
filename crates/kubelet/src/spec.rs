//! A pod's containers of all three kinds under one view, and small questions about a pod. Pure.
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

/// Which of a pod's lists a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Init,
    Main,
    Ephemeral,
}

impl Kind {
    /// The field of the pod's spec.
    pub fn field(self) -> &'static str {
        match self {
            Kind::Init => "initContainers",
            Kind::Main => "containers",
            Kind::Ephemeral => "ephemeralContainers",
        }
    }
}

/// The pod's spec; an absent one is empty.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// `name_namespace(uid)`, as upstream names pods in its messages.
pub fn describe(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// Init containers that keep running beside the main ones.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or_default()
}

/// The container of that name with its kind; ephemeral ones are turned into plain ones.
pub fn find(pod: &Pod, name: &str) -> Option<(Kind, Container)> {
    let spec = spec(pod);
    if let Some(found) = spec.containers.iter().find(|c| c.name == name) {
        return Some((Kind::Main, found.clone()));
    }
    if let Some(found) = init_containers(pod).iter().find(|c| c.name == name) {
        return Some((Kind::Init, found.clone()));
    }
    ephemeral_containers(pod).iter().find(|c| c.name == name).map(|c| (Kind::Ephemeral, from_ephemeral(c)))
}

/// The container at an index of one of the lists.
pub fn at(pod: &Pod, kind: Kind, index: usize) -> Option<Container> {
    match kind {
        Kind::Init => init_containers(pod).get(index).cloned(),
        Kind::Main => spec(pod).containers.get(index).cloned(),
        Kind::Ephemeral => ephemeral_containers(pod).get(index).map(from_ephemeral),
    }
}

/// An ephemeral container as a plain one.
pub fn from_ephemeral(from: &EphemeralContainer) -> Container {
    Container {
        name: from.name.clone(),
        image: from.image.clone(),
        command: from.command.clone(),
        args: from.args.clone(),
        working_dir: from.working_dir.clone(),
        env: from.env.clone(),
        env_from: from.env_from.clone(),
        volume_mounts: from.volume_mounts.clone(),
        security_context: from.security_context.clone(),
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        tty: from.tty,
        image_pull_policy: from.image_pull_policy.clone(),
        termination_message_path: from.termination_message_path.clone(),
        termination_message_policy: from.termination_message_policy.clone(),
        ..Default::default()
    }
}

pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

/// `Always`, `OnFailure` or `Never`.
pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

/// Whether the API holds this pod as finished.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Static pods come from files; what the API shows of them is a mirror.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, crate::labels::CONFIG_SOURCE).is_some_and(|source| source != "api")
}

/// The API's image of a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, crate::labels::CONFIG_MIRROR).is_some()
}

/// Pods that are not evicted, and for which others make room.
pub fn is_critical(pod: &Pod) -> bool {
    /// Upstream's `SystemCriticalPriority`.
    const SYSTEM_CRITICAL: i32 = 2_000_000_000;
    is_static(pod) || is_mirror(pod) || spec(pod).priority.is_some_and(|priority| priority >= SYSTEM_CRITICAL)
}

pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}
