//! Keeping container logs within `containerLogMaxSize` and `containerLogMaxFiles`.
use std::sync::Arc;
use std::time::Duration;

use cri::v1;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::{labels, logs};

/// Upstream's `containerLogMonitorInterval`.
const EVERY: Duration = Duration::from_secs(10);

/// Runs until `shutdown`.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if kubelet.pods.uids().is_empty() {
            continue;
        }
        let running = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning.into() };
        let filter = v1::ContainerFilter { state: Some(running), ..Default::default() };
        let Ok(containers) = kubelet.runtime.list_containers(filter).await else { continue };
        for container in containers {
            let Some(path) = log_path(&kubelet, &container) else { continue };
            let (bytes, files) = (kubelet.config.container_log_max_bytes, kubelet.config.container_log_max_files);
            if let Err(error) = logs::rotate(&*kubelet.runtime, &container.id, &path, bytes, files).await {
                tracing::warn!(container = %container.id, %error, "cannot rotate a container's log");
            }
        }
    }
}

/// Where a container of ours logs to, told from its labels alone: no question to the runtime for each one.
fn log_path(kubelet: &Kubelet, container: &v1::Container) -> Option<std::path::PathBuf> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    let (namespace, name, uid) = (label(labels::POD_NAMESPACE)?, label(labels::POD_NAME)?, label(labels::POD_UID)?);
    let restarts = container.annotations.get(labels::RESTART_COUNT)?.parse().ok()?;
    let dir = labels::pod_log_dir(&kubelet.config.pod_logs_dir, namespace, name, uid);
    Some(dir.join(labels::container_log_path(label(labels::CONTAINER_NAME)?, restarts)))
}
