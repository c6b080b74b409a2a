//! What nobody asks for and nobody else takes away: pods the API no longer has, their folders and cgroups,
//! images when the disk fills.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cri::v1;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::{image_gc, labels, volumes};

const EVERY: Duration = Duration::from_secs(60);

/// Runs until `shutdown`; started when all sources of pods are known.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: CancellationToken) {
    let mut images_at = tokio::time::Instant::now() + image_gc::EVERY;
    loop {
        if let Err(error) = orphans(&kubelet, &shutdown).await {
            tracing::warn!(%error, "cannot look for pods that are no longer wanted");
        }
        if tokio::time::Instant::now() >= images_at {
            if let Err(error) = image_gc::collect(&kubelet).await {
                tracing::warn!(%error, "cannot collect images");
                kubelet.node_event(true, "ImageGCFailed", &error.to_string());
            }
            images_at = tokio::time::Instant::now() + image_gc::EVERY;
        }
        kubelet.images.sweep(jiff::Timestamp::now());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn orphans(kubelet: &Arc<Kubelet>, shutdown: &CancellationToken) -> Result<(), cri::Error> {
    let sandboxes = kubelet.runtime.list_pod_sandbox(v1::PodSandboxFilter::default()).await?;
    let wanted: HashSet<String> = kubelet.pods.uids().into_iter().collect();
    let mut present = wanted.clone();
    for sandbox in sandboxes {
        let Some(uid) = sandbox.labels.get(labels::POD_UID).filter(|uid| !uid.is_empty()) else { continue };
        if present.insert(uid.clone()) {
            let pod = left_over(&sandbox.labels, uid);
            tracing::info!(pod = %crate::spec::describe(&pod), "ending a pod that is no longer wanted");
            kubelet.pods.remove(kubelet, uid, Some(Arc::new(pod)), shutdown);
        }
    }
    for entry in std::fs::read_dir(kubelet.config.root_dir.join("pods")).into_iter().flatten().flatten() {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if !present.contains(&uid) {
            if let Err(error) = volumes::tear_down(&kubelet.config.root_dir, &uid) {
                tracing::warn!(%uid, %error, "cannot remove what is left of a pod");
            }
            kubelet.cgroups.remove_pod(&uid);
        }
    }
    Ok(())
}

/// What labels tell of a pod.
fn left_over(found: &std::collections::HashMap<String, String>, uid: &str) -> Pod {
    Pod {
        metadata: kube::core::ObjectMeta {
            name: found.get(labels::POD_NAME).cloned(),
            namespace: found.get(labels::POD_NAMESPACE).cloned(),
            uid: Some(uid.to_owned()),
            ..Default::default()
        },
        spec: Some(PodSpec::default()),
        status: None,
    }
}
