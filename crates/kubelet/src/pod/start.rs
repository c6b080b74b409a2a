//! Starting sandboxes and containers.
use cri::v1;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{hooks, kill};
use crate::counts::{STARTED_CONTAINERS, STARTED_PODS, STARTED_PODS_ERRORS};
use crate::images::Wanted;
use crate::kubelet::Kubelet;
use crate::observed::{self, Observed};
use crate::spec::{self, Kind};
use crate::volumes::Mounted;
use crate::{container_config, env, labels, plan};

/// Why a container or the sandbox did not start: the waiting reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    pub message: String,
}

fn failure(reason: &str, message: String) -> Failure {
    Failure { reason: reason.to_owned(), message }
}

/// Runs a sandbox; returns its id.
///
/// # Errors
/// The message, also told as an event.
pub async fn sandbox(kubelet: &Kubelet, pod: &Pod, attempt: u32) -> Result<(String, v1::PodSandboxConfig), String> {
    let failed = |message: String| {
        let text = format!("Failed to create pod sandbox: {message}");
        kubelet.pod_event(pod, true, "FailedCreatePodSandBox", &text);
        kubelet.counts.add(STARTED_PODS_ERRORS, "");
        message
    };
    let config = sandbox_config(kubelet, pod, attempt);
    std::fs::create_dir_all(&config.log_directory).map_err(|e| failed(format!("{}: {e}", config.log_directory)))?;
    if spec::spec(pod).host_users == Some(false) {
        return Err(failed("can't set `spec.hostUsers: false`, runtime does not support user namespaces".into()));
    }
    let handler = match spec::spec(pod).runtime_class_name.as_deref().filter(|name| !name.is_empty()) {
        None => String::new(),
        Some(class) => {
            let found = kubelet.objects.runtime_handler(class).await;
            found.map_err(|e| failed(format!("failed to get sandbox runtime: {e}")))?
        }
    };
    let id = kubelet.runtime.run_pod_sandbox(config.clone(), &handler).await.map_err(|e| failed(e.to_string()))?;
    kubelet.counts.add(STARTED_PODS, "");
    Ok((id, config))
}

/// The configuration the sandbox with that attempt number has.
pub fn sandbox_config(kubelet: &Kubelet, pod: &Pod, attempt: u32) -> v1::PodSandboxConfig {
    container_config::sandbox(pod, attempt, &kubelet.config, kubelet.cgroups.parent(pod))
}

/// The sandbox a container is started in.
pub struct Place<'a> {
    pub sandbox_id: &'a str,
    pub sandbox_config: &'a v1::PodSandboxConfig,
    pub ips: &'a [String],
    pub volumes: &'a Mounted,
}

/// Pulls, creates and starts one container, and runs its postStart hook.
///
/// # Errors
/// The waiting reason and message.
pub async fn container(
    kubelet: &Kubelet,
    pod: &Pod,
    seen: &Observed,
    place: &Place<'_>,
    kind: Kind,
    container: &Container,
) -> Result<(), Failure> {
    let tell = |warning: bool, reason: &str, message: String| {
        kubelet.container_event(pod, kind, &container.name, warning, reason, &message);
    };
    let wanted = Wanted { pod, container, sandbox: place.sandbox_config, tell: &tell, now: Timestamp::now() };
    let image = kubelet.images.ensure(&*kubelet.runtime, &kubelet.objects, &wanted).await.map_err(|f| {
        tell(true, "Failed", format!("Error: {}", f.reason));
        failure(f.reason, f.message)
    })?;
    let restarts = seen.container(&container.name).map_or(0, |previous| previous.restarts + 1);
    let config =
        configuration(kubelet, pod, seen, place, kind, container, &image, restarts).await.map_err(|message| {
            tell(true, "Failed", format!("Error: {message}"));
            failure("CreateContainerConfigError", message)
        })?;
    let log_dir = std::path::Path::new(&place.sandbox_config.log_directory).join(&container.name);
    let _ = std::fs::create_dir_all(&log_dir);
    let log_path = std::path::Path::new(&place.sandbox_config.log_directory).join(&config.log_path);
    let created = kubelet.runtime.create_container(place.sandbox_id, config, place.sandbox_config.clone()).await;
    let id = created.map_err(|error| {
        tell(true, "Failed", format!("Error: {}", error.message()));
        failure("CreateContainerError", error.message())
    })?;
    tell(false, "Created", "Container created".into());
    if let Err(error) = kubelet.runtime.start_container(&id).await {
        tell(true, "Failed", format!("Error: {}", error.message()));
        return Err(failure("RunContainerError", error.message()));
    }
    tell(false, "Started", "Container started".into());
    let label = match kind {
        Kind::Main => "container",
        Kind::Init => "init_container",
        Kind::Ephemeral => "ephemeral_container",
    };
    kubelet.counts.add(STARTED_CONTAINERS, label);
    link_log(kubelet, pod, &container.name, &id, &log_path);
    post_start(kubelet, pod, place, kind, container, &id).await
}

#[allow(clippy::too_many_arguments)]
async fn configuration(
    kubelet: &Kubelet,
    pod: &Pod,
    seen: &Observed,
    place: &Place<'_>,
    kind: Kind,
    container: &Container,
    image: &v1::Image,
    restarts: u32,
) -> Result<v1::ContainerConfig, String> {
    let services = kubelet.services.as_ref().map(|cache| cache.list()).unwrap_or_default();
    let ips = if spec::host_network(pod) { &kubelet.host_ips } else { place.ips };
    let source = env::Source {
        pod,
        container,
        objects: &kubelet.objects,
        services: &services,
        pod_ips: ips,
        host_ips: &kubelet.host_ips,
        node_name: &kubelet.config.node_name,
        allocatable: kubelet.allocatable,
        allocatable_disk_bytes: kubelet.allocatable_disk_bytes,
    };
    let env = env::variables(&source).await?;
    let target = spec::ephemeral_containers(pod).iter().find(|c| c.name == container.name);
    let target = target.and_then(|c| c.target_container_name.as_deref()).filter(|_| kind == Kind::Ephemeral);
    let target_id = match target.filter(|name| !name.is_empty()) {
        Some(name) => {
            let running = seen.container(name).filter(|c| c.state == observed::State::Running);
            Some(running.map(|c| c.id.clone()).ok_or_else(|| format!("unable to find target container {name}"))?)
        }
        None => None,
    };
    container_config::container(&container_config::Input {
        pod,
        kind,
        container,
        config: &kubelet.config,
        restarts,
        image,
        env,
        volumes: place.volumes,
        pod_ips: ips,
        target_id,
        memory_capacity_bytes: kubelet.capacity.memory_bytes,
        oom_floor: kubelet.oom_floor,
    })
}

async fn post_start(
    kubelet: &Kubelet,
    pod: &Pod,
    place: &Place<'_>,
    kind: Kind,
    container: &Container,
    id: &str,
) -> Result<(), Failure> {
    let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
    let ip = place.ips.first().map(String::as_str).unwrap_or_default();
    let Err(error) = hooks::run(kubelet, id, container, ip, hook).await else { return Ok(()) };
    tracing::warn!(pod = %spec::describe(pod), container = %container.name, %error, "PostStart hook failed");
    kubelet.container_event(pod, kind, &container.name, true, "FailedPostStartHook", "PostStartHook failed");
    let seen = observed::Container {
        id: id.to_owned(),
        name: container.name.clone(),
        state: observed::State::Running,
        ..Default::default()
    };
    let grace = kill::grace_of(pod, &container.name, plan::Because::Changed);
    if let Err(error) = kill::container(kubelet, pod, &seen, ip, "FailedPostStartHook", grace).await {
        tracing::warn!(pod = %spec::describe(pod), container = %container.name, %error, "cannot stop a container whose PostStart hook failed");
    }
    Err(failure("PostStartHookError", "PostStartHook failed".into()))
}

/// The link by which log collectors find the file.
fn link_log(kubelet: &Kubelet, pod: &Pod, container: &str, id: &str, log_path: &std::path::Path) {
    let name = labels::log_link_name(spec::name(pod), spec::namespace(pod), container, id);
    let folder = &kubelet.config.container_log_links;
    let make = std::fs::create_dir_all(folder).and_then(|()| std::os::unix::fs::symlink(log_path, folder.join(name)));
    if let Err(error) = make
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        tracing::warn!(pod = %spec::describe(pod), %error, "cannot link a container's log");
    }
}
