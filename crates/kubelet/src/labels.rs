//! The labels and annotations by which containers and sandboxes are found again, and the names of their files.
//!
//! They are upstream's, so that a kubelet can adopt what another kubelet started.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const CONTAINER_PORTS: &str = "io.kubernetes.container.ports";
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
pub const POD_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
pub const POD_DELETION_GRACE_PERIOD: &str = "io.kubernetes.pod.deletionGracePeriod";

/// Where a pod came from: `api` or `file`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Prefix of container ids in the API.
pub const RUNTIME_SCHEME: &str = "containerd://";

/// The hash that tells whether a running container is still the one its spec asks for.
///
/// Upstream hashes only name and image, as FNV-1a over Go's dump of the JSON bytes.
pub fn container_hash(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    let json = serde_json::json!({"image": image, "name": container.name}).to_string();
    // Go's encoding/json escapes these three for HTML.
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let bytes: Vec<String> = json.bytes().map(|b| b.to_string()).collect();
    let dump = format!("([]uint8)[{}]", bytes.join(" "));
    let hash = dump.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

/// Labels of a pod's sandbox: its own and those that identify it.
pub fn sandbox_labels(pod: &Pod) -> BTreeMap<String, String> {
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.extend(identity(pod));
    labels
}

/// Labels of a container.
pub fn container_labels(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<_, _> = identity(pod).into_iter().collect();
    labels.insert(CONTAINER_NAME.into(), container.name.clone());
    labels
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    [
        (POD_NAME.into(), pod.metadata.name.clone().unwrap_or_default()),
        (POD_NAMESPACE.into(), pod.metadata.namespace.clone().unwrap_or_default()),
        (POD_UID.into(), pod.metadata.uid.clone().unwrap_or_default()),
    ]
}

/// Annotations of a container, from which state is rebuilt after a restart.
pub fn container_annotations(pod: &Pod, container: &Container, restarts: u32) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        (CONTAINER_HASH.to_owned(), container_hash(container)),
        (RESTART_COUNT.to_owned(), restarts.to_string()),
        (TERMINATION_MESSAGE_PATH.to_owned(), container.termination_message_path.clone().unwrap_or_default()),
        (TERMINATION_MESSAGE_POLICY.to_owned(), container.termination_message_policy.clone().unwrap_or_default()),
    ]);
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        all.insert(POD_DELETION_GRACE_PERIOD.into(), seconds.to_string());
    }
    if let Some(seconds) = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds) {
        all.insert(POD_GRACE_PERIOD.into(), seconds.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let Some(json) = pre_stop.and_then(|handler| serde_json::to_string(handler).ok()) {
        all.insert(PRE_STOP.into(), json);
    }
    if let Some(json) = container.ports.as_ref().filter(|p| !p.is_empty()).and_then(|p| serde_json::to_string(p).ok()) {
        all.insert(CONTAINER_PORTS.into(), json);
    }
    all
}

/// `<logs>/<namespace>_<name>_<uid>`.
pub fn pod_log_dir(logs: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    logs.join(format!("{namespace}_{name}_{uid}"))
}

/// A container's log file, relative to its pod's folder: `<container>/<restart count>.log`.
pub fn container_log_path(container: &str, restarts: u32) -> String {
    format!("{container}/{restarts}.log")
}

/// The link collectors follow: `<pod>_<namespace>_<container>-<id>.log`, cut to what a file name can hold.
pub fn log_link_name(pod: &str, namespace: &str, container: &str, id: &str) -> String {
    const LONGEST: usize = 255 - ".log".len();
    let mut stem = format!("{pod}_{namespace}_{container}-{id}");
    stem.truncate(LONGEST);
    format!("{stem}.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_upstreams() {
        let container =
            Container { name: "test_container".into(), image: Some("foo/image:v1".into()), ..Default::default() };
        assert_eq!(container_hash(&container), "8e45cbd0");
    }

    #[test]
    fn long_link_names_are_cut() {
        let name = log_link_name(&"p".repeat(253), "ns", "c", "id");
        assert_eq!(name.len(), 255);
        assert!(name.ends_with(".log"));
    }
}
