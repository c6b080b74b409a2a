//! A container runtime that somebody else runs: where it looks for its network, and which of its pods are ours.
//!
//! CRI has no fields for either. Runtimes tell both in what a verbose status adds, as JSON; containerd's form is read,
//! and for another runtime what everybody's default is.
use super::layout::{Cluster, Layout};
use cri::{Runtime, v1};
use serde_json::Value;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Where runtimes look for CNI configurations if nobody told them otherwise.
const CNI_DEFAULT: &str = "/etc/cni/net.d";

/// Whether the cluster uses such a runtime.
pub fn is_used(cluster: &Cluster) -> bool {
    !cluster.container_runtime_endpoint.is_empty()
}

fn told(info: &HashMap<String, String>, key: &str, pointer: &str) -> Option<PathBuf> {
    let json: Value = serde_json::from_str(info.get(key)?).ok()?;
    json.pointer(pointer)?.as_str().filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// The file for the cluster's network in the folder that the runtime reads.
pub async fn cni_file(client: &cri::Client, cluster: &Cluster) -> PathBuf {
    let folder = match client.status(true).await {
        Ok(status) => told(&status.info, "config", "/cni/confDir"),
        Err(error) => {
            tracing::warn!(%error, "the container runtime does not tell its CNI folder; taking {CNI_DEFAULT}");
            None
        }
    };
    folder.unwrap_or_else(|| CNI_DEFAULT.into()).join(format!("10-{}.conflist", cluster.bridge()))
}

/// Whether the cluster's kubelet made this pod: it alone lets pods log there.
pub fn is_ours(layout: &Layout, sandbox: &v1::PodSandboxStatusResponse) -> bool {
    told(&sandbox.info, "info", "/config/log_directory").is_some_and(|folder| folder.starts_with(pod_logs(layout)))
}

/// Where the kubelet lets containers log.
pub fn pod_logs(layout: &Layout) -> PathBuf {
    layout.path("pod-logs")
}

/// Takes the network's configuration out of the runtime's folder.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_cni_file(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containerd_tells() {
        let info = HashMap::from([("config".to_owned(), r#"{"cni": {"confDir": "/x", "binDir": ""}}"#.to_owned())]);
        assert_eq!(told(&info, "config", "/cni/confDir"), Some(PathBuf::from("/x")));
        assert_eq!(told(&info, "config", "/cni/binDir"), None);
        assert_eq!(told(&info, "info", "/config"), None);
    }
}
