//! What runs: a pod's sandboxes and containers as the runtime reports them.
//!
//! Rebuilt from the runtime alone; nothing here is remembered.
use std::collections::BTreeMap;

use cri::{Runtime, v1};
use futures::future::try_join_all;

use crate::labels;

/// A pod's sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created_at_ns: i64,
    /// First the address that becomes `podIP`. Filled in for the newest sandbox only.
    pub ips: Vec<String>,
    pub host_network: bool,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    Created,
    Running,
    Exited,
    #[default]
    Unknown,
}

/// A container of a pod, alive or dead.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub sandbox_id: String,
    pub state: State,
    pub restarts: u32,
    pub hash: String,
    pub image: String,
    pub image_id: String,
    pub created_at_ns: i64,
    pub started_at_ns: i64,
    pub finished_at_ns: i64,
    pub exit_code: i32,
    pub reason: String,
    /// The runtime's message, or what the container left as its termination message.
    pub message: String,
    pub log_path: String,
    pub user: Option<v1::LinuxContainerUser>,
    pub annotations: BTreeMap<String, String>,
    /// The termination message file on this host.
    pub message_file: Option<String>,
    /// (path in the container, read-only, recursively so)
    pub mounts: Vec<(String, bool, bool)>,
}

/// All of a pod that the runtime knows, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
}

impl Observed {
    /// The newest container of that name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest sandbox, if it is ready.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    /// The newest container of that name in the newest sandbox.
    pub fn active(&self, name: &str) -> Option<&Container> {
        let sandbox = self.sandboxes.first()?;
        self.containers.iter().find(|c| c.name == name && c.sandbox_id == sandbox.id)
    }

    /// Containers that run or may run.
    pub fn alive(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| matches!(c.state, State::Running | State::Unknown))
    }

    /// Whether anything of the pod still runs.
    pub fn is_running(&self) -> bool {
        self.alive().next().is_some() || self.sandboxes.iter().any(|s| s.ready)
    }
}

/// Asks the runtime for everything that belongs to the pod `uid`.
///
/// # Errors
/// The runtime failed; what vanished between two calls is no failure.
pub async fn observe(runtime: &dyn Runtime, uid: &str) -> Result<Observed, cri::Error> {
    let selector = std::collections::HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
    let sandbox_filter = v1::PodSandboxFilter { label_selector: selector.clone(), ..Default::default() };
    let container_filter = v1::ContainerFilter { label_selector: selector, ..Default::default() };
    let (sandboxes, containers) =
        tokio::try_join!(runtime.list_pod_sandbox(sandbox_filter), runtime.list_containers(container_filter))?;
    let mut sandboxes: Vec<Sandbox> = sandboxes.into_iter().map(sandbox).collect();
    sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at_ns, s.attempt)));
    if let Some(newest) = sandboxes.first_mut().filter(|s| s.ready) {
        match runtime.pod_sandbox_status(&newest.id, false).await {
            Ok(answer) => fill(newest, answer),
            Err(error) if error.is_not_found() => newest.ready = false,
            Err(error) => return Err(error),
        }
    }
    let statuses = try_join_all(containers.into_iter().map(|c| status_of(runtime, c))).await?;
    let mut containers: Vec<Container> = statuses.into_iter().flatten().collect();
    containers.sort_by_key(|c| std::cmp::Reverse(c.created_at_ns));
    Ok(Observed { sandboxes, containers })
}

fn sandbox(from: v1::PodSandbox) -> Sandbox {
    Sandbox {
        attempt: from.metadata.as_ref().map_or(0, |m| m.attempt),
        ready: from.state() == v1::PodSandboxState::SandboxReady,
        id: from.id,
        created_at_ns: from.created_at,
        ips: Vec::new(),
        host_network: false,
    }
}

fn fill(sandbox: &mut Sandbox, answer: v1::PodSandboxStatusResponse) {
    let Some(status) = answer.status else { return };
    sandbox.ready = status.state() == v1::PodSandboxState::SandboxReady;
    let options = status.linux.and_then(|l| l.namespaces).and_then(|n| n.options);
    sandbox.host_network = options.is_some_and(|o| o.network() == v1::NamespaceMode::Node);
    if let Some(network) = status.network {
        let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        sandbox.ips = all.filter(|ip| !ip.is_empty()).collect();
    }
}

async fn status_of(runtime: &dyn Runtime, listed: v1::Container) -> Result<Option<Container>, cri::Error> {
    match runtime.container_status(&listed.id, false).await {
        Ok(answer) => Ok(answer.status.map(|status| container(status, &listed.pod_sandbox_id))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A container from the runtime's status of it.
pub fn container(from: v1::ContainerStatus, sandbox_id: &str) -> Container {
    let state = match from.state() {
        v1::ContainerState::ContainerCreated => State::Created,
        v1::ContainerState::ContainerRunning => State::Running,
        v1::ContainerState::ContainerExited => State::Exited,
        v1::ContainerState::ContainerUnknown => State::Unknown,
    };
    let annotations: BTreeMap<String, String> = from.annotations.into_iter().collect();
    let attempt = from.metadata.as_ref().map_or(0, |m| m.attempt);
    let message_path = annotations.get(labels::TERMINATION_MESSAGE_PATH).filter(|p| !p.is_empty());
    let message_file = message_path
        .and_then(|path| from.mounts.iter().find(|m| &m.container_path == path))
        .map(|mount| mount.host_path.clone());
    let mut container = Container {
        id: from.id,
        name: from.metadata.map(|m| m.name).unwrap_or_default(),
        sandbox_id: sandbox_id.to_owned(),
        state,
        restarts: annotations.get(labels::RESTART_COUNT).and_then(|c| c.parse().ok()).unwrap_or(attempt),
        hash: annotations.get(labels::CONTAINER_HASH).cloned().unwrap_or_default(),
        image: from.image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
        image_id: from.image_ref,
        created_at_ns: from.created_at,
        started_at_ns: from.started_at,
        finished_at_ns: from.finished_at,
        exit_code: from.exit_code,
        reason: from.reason,
        message: from.message,
        log_path: from.log_path,
        user: from.user.and_then(|u| u.linux),
        mounts: from.mounts.into_iter().map(|m| (m.container_path, m.readonly, m.recursive_read_only)).collect(),
        message_file,
        annotations,
    };
    if container.state == State::Exited {
        container.message = termination_message(&container);
    }
    container
}

/// Longest termination message the API takes from one container, in bytes.
const MESSAGE_LIMIT: usize = 4096;
const LOG_FALLBACK_BYTES: usize = 2048;
const LOG_FALLBACK_LINES: usize = 80;

/// What a dead container has to say: its message file, else with the fallback policy the end of its log.
fn termination_message(container: &Container) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !container.message.is_empty() {
        parts.push(container.message.clone());
    }
    let file = container.message_file.as_ref().and_then(|path| read_end(path, MESSAGE_LIMIT).ok());
    match file.filter(|text| !text.is_empty()) {
        Some(text) => parts.push(text),
        None => {
            let policy = container.annotations.get(labels::TERMINATION_MESSAGE_POLICY).map(String::as_str);
            if policy == Some("FallbackToLogsOnError") && container.exit_code != 0 {
                let tail = crate::logs::last_lines(&container.log_path, LOG_FALLBACK_LINES, LOG_FALLBACK_BYTES);
                parts.extend(tail.filter(|text| !text.is_empty()));
            }
        }
    }
    parts.join(": ")
}

fn read_end(path: &str, limit: usize) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit as u64)))?;
    let mut bytes = Vec::with_capacity(limit.min(usize::try_from(length).unwrap_or(limit)));
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
