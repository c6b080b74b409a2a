//! What nobody asks for and nobody else takes away: pods the API no longer has, their folders and cgroups,
//! images when the disk fills.
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cri::v1;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::{labels, volumes};

const EVERY: Duration = Duration::from_secs(60);
/// Image collection is looked at every so many rounds.
const IMAGES_EVERY: u32 = 5;

/// Runs until `shutdown`; started when all sources of pods are known.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: CancellationToken) {
    let mut round = 0_u32;
    loop {
        if let Err(error) = orphans(&kubelet, &shutdown).await {
            tracing::warn!(%error, "cannot look for pods that are no longer wanted");
        }
        if round % IMAGES_EVERY == IMAGES_EVERY - 1
            && let Err(error) = images(&kubelet).await
        {
            tracing::warn!(%error, "cannot collect images");
        }
        kubelet.images.sweep(jiff::Timestamp::now());
        round = round.wrapping_add(1);
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

/// Removes images no container uses, the largest first, once the disk is fuller than the high threshold, until
/// it is below the low one.
async fn images(kubelet: &Kubelet) -> Result<(), cri::Error> {
    let info = kubelet.runtime.image_fs_info().await?;
    let Some(place) = info.image_filesystems.first().and_then(|f| f.fs_id.as_ref()).map(|id| id.mountpoint.clone())
    else {
        return Ok(());
    };
    let used = || {
        let s = rustix::fs::statvfs(&place).ok()?;
        let percent = 100 - s.f_bavail.saturating_mul(100).checked_div(s.f_blocks)?;
        u8::try_from(percent).ok()
    };
    if used().unwrap_or(0) < kubelet.config.image_gc_high_percent {
        return Ok(());
    }
    let containers = kubelet.runtime.list_containers(v1::ContainerFilter::default()).await?;
    let in_use: HashSet<String> = containers
        .into_iter()
        .flat_map(|c| [c.image_ref, c.image_id, c.image.map(|i| i.image).unwrap_or_default()])
        .collect();
    let infra = kubelet.config.pod_infra_container_image.as_deref().unwrap_or_default();
    let mut unused: BTreeMap<std::cmp::Reverse<u64>, String> = BTreeMap::new();
    for image in kubelet.runtime.list_images().await? {
        let names: Vec<&String> = image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]).collect();
        let spared =
            image.pinned || names.iter().any(|n| in_use.contains(*n) || n.as_str() == infra || n.contains("pause"));
        if !spared {
            unused.insert(std::cmp::Reverse(image.size), image.id);
        }
    }
    for id in unused.into_values() {
        if used().unwrap_or(0) <= kubelet.config.image_gc_low_percent {
            break;
        }
        tracing::info!(image = %id, "removing an unused image to free disk space");
        kubelet.runtime.remove_image(&id).await?;
    }
    Ok(())
}
