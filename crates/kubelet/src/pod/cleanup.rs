//! Taking away what a pod no longer needs: former runs, former sandboxes, in the end everything.
//!
//! All of it may be broken off at any point and done again.
use k8s_openapi::api::core::v1::Pod;

use crate::kubelet::Kubelet;
use crate::observed::Observed;
use crate::{spec, volumes};

/// Containers, sandboxes, volumes, logs and cgroups of a pod that no longer is.
pub async fn remove_everything(kubelet: &Kubelet, pod: &Pod, seen: &Observed) -> Result<(), String> {
    for container in &seen.containers {
        remove_container(kubelet, pod, container).await.map_err(|e| e.to_string())?;
    }
    for sandbox in &seen.sandboxes {
        kubelet.runtime.remove_pod_sandbox(&sandbox.id).await.map_err(|e| e.to_string())?;
    }
    let uid = spec::uid(pod);
    volumes::tear_down(&kubelet.config.root_dir, uid).map_err(|e| e.to_string())?;
    let logs = crate::labels::pod_log_dir(&kubelet.config.pod_logs_dir, spec::namespace(pod), spec::name(pod), uid);
    let _ = std::fs::remove_dir_all(logs);
    kubelet.cgroups.remove_pod(uid);
    kubelet.objects.forget(uid);
    kubelet.counts.forget(uid);
    Ok(())
}

/// Of each container's former runs one is kept, for `kubectl logs --previous`.
pub async fn prune(kubelet: &Kubelet, pod: &Pod, seen: &Observed) {
    let mut count: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for container in &seen.containers {
        let runs = count.entry(&container.name).or_default();
        *runs += 1;
        if *runs <= 2 || container.state != crate::observed::State::Exited {
            continue;
        }
        if let Err(error) = remove_container(kubelet, pod, container).await {
            tracing::warn!(pod = %spec::describe(pod), container = %container.name, %error, "cannot remove a former run");
        }
    }
}

/// Sandboxes that are over and hold no container any more, except the newest.
pub async fn prune_sandboxes(kubelet: &Kubelet, pod: &Pod, seen: &Observed) {
    for old in seen.sandboxes.iter().skip(1).filter(|s| !s.ready) {
        if seen.containers.iter().any(|c| c.sandbox_id == old.id) {
            continue;
        }
        if let Err(error) = kubelet.runtime.remove_pod_sandbox(&old.id).await {
            tracing::warn!(pod = %spec::describe(pod), %error, "cannot remove a former sandbox");
        }
    }
}

/// Removes a container that no longer runs, with its log.
///
/// # Errors
/// The runtime failed.
pub async fn remove_container(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &crate::observed::Container,
) -> Result<(), cri::Error> {
    kubelet.runtime.remove_container(&container.id).await?;
    let link = crate::labels::log_link_name(spec::name(pod), spec::namespace(pod), &container.name, &container.id);
    let _ = std::fs::remove_file(kubelet.config.container_log_links.join(link));
    if !container.log_path.is_empty() {
        let _ = std::fs::remove_file(&container.log_path);
    }
    Ok(())
}
