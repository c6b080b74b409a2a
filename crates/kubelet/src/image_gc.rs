//! Images nobody uses: removed when the disk fills, when they are old, or when eviction needs the space.
//!
//! Least recently used ones go first. Of images found at the first look it is not known how long they are here;
//! they count as seen then.
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cri::v1;
use parking_lot::Mutex;

use crate::counts::IMAGES_COLLECTED;
use crate::kubelet::Kubelet;
use crate::server::node_usage;
use crate::spec;

#[derive(Debug, Clone, Copy)]
struct Known {
    detected: Instant,
    /// Used by a container at the last look that found one.
    used: Option<Instant>,
}

/// What is remembered of images, by id. Bounded by the images that are here.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<String, Known>>);

/// An image that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unused {
    id: String,
    bytes: u64,
    /// When it was last used, or else seen first.
    since: Instant,
    detected: Instant,
}

/// The folder images lie in, if the runtime tells one.
///
/// # Errors
/// The runtime failed.
pub async fn place(kubelet: &Kubelet) -> Result<Option<PathBuf>, cri::Error> {
    let info = kubelet.runtime.image_fs_info().await?;
    Ok(info.image_filesystems.first().and_then(|f| f.fs_id.as_ref()).map(|id| PathBuf::from(&id.mountpoint)))
}

/// Removes what is too old, and if the disk is fuller than the high threshold as much as brings it to the low one.
///
/// # Errors
/// The runtime failed.
pub async fn collect(kubelet: &Kubelet) -> Result<(), cri::Error> {
    let Some(place) = place(kubelet).await? else { return Ok(()) };
    let Some(space) = node_usage::space(&place).filter(|space| space.capacity > 0) else {
        kubelet.node_event(true, "InvalidDiskCapacity", "invalid capacity 0 on image filesystem");
        return Ok(());
    };
    let unused = unused(kubelet).await?;
    let now = Instant::now();
    let (old, rest): (Vec<Unused>, Vec<Unused>) = match kubelet.config.image_maximum_gc_age {
        limit if limit.is_zero() => (Vec::new(), unused),
        limit => unused.into_iter().partition(|image| now.duration_since(image.since) > limit),
    };
    for image in old {
        remove(kubelet, &image, "age").await?;
    }
    let config = &kubelet.config;
    let Some(excess) = excess(&space, config.image_gc_high_percent, config.image_gc_low_percent) else { return Ok(()) };
    let mut freed = 0_u64;
    for image in &rest {
        if freed >= excess {
            break;
        }
        if now.duration_since(image.detected) < config.image_minimum_gc_age {
            continue;
        }
        remove(kubelet, image, "space").await?;
        freed = freed.saturating_add(image.bytes);
    }
    if freed < excess {
        let text = format!(
            "Failed to garbage collect required amount of images. Attempted to free {excess} bytes, but only found \
             {freed} bytes eligible to free."
        );
        kubelet.node_event(true, "FreeDiskSpaceFailed", &text);
        kubelet.node_event(true, "ImageGCFailed", &text);
    }
    Ok(())
}

/// How many bytes have to go, if the disk is fuller than `high_percent`.
fn excess(space: &node_usage::Space, high_percent: u8, low_percent: u8) -> Option<u64> {
    let available = space.available.min(space.capacity);
    let used_percent = 100 - available.saturating_mul(100) / space.capacity.max(1);
    let wanted = space.capacity.saturating_mul(u64::from(100 - low_percent.min(100))) / 100;
    (used_percent >= u64::from(high_percent)).then(|| wanted.saturating_sub(available))
}

/// Removes every image no container uses.
///
/// # Errors
/// The runtime failed.
pub async fn remove_all_unused(kubelet: &Kubelet) -> Result<(), cri::Error> {
    for image in unused(kubelet).await? {
        remove(kubelet, &image, "space").await?;
    }
    Ok(())
}

async fn remove(kubelet: &Kubelet, image: &Unused, reason: &'static str) -> Result<(), cri::Error> {
    tracing::info!(image = %image.id, bytes = image.bytes, reason, "removing an unused image");
    kubelet.runtime.remove_image(&image.id).await?;
    kubelet.counts.add(IMAGES_COLLECTED, reason);
    Ok(())
}

/// The images no container uses, least recently used first.
async fn unused(kubelet: &Kubelet) -> Result<Vec<Unused>, cri::Error> {
    let containers = kubelet.runtime.list_containers(v1::ContainerFilter::default()).await?;
    let images = kubelet.runtime.list_images().await?;
    let infra = kubelet.config.pod_infra_container_image.as_deref().unwrap_or_default();
    let mut in_use: HashSet<String> = containers
        .into_iter()
        .flat_map(|c| [c.image_ref, c.image_id, c.image.map(|i| i.image).unwrap_or_default()])
        .collect();
    for pod in kubelet.pods.all() {
        let volumes = spec::spec(&pod).volumes.iter().flatten();
        in_use.extend(volumes.filter_map(|v| v.image.as_ref()?.reference.clone()));
    }
    let mut seen = kubelet.images_seen.0.lock();
    Ok(sift(&mut seen, images, &in_use, infra, Instant::now()))
}

fn sift(
    seen: &mut HashMap<String, Known>,
    images: Vec<v1::Image>,
    in_use: &HashSet<String>,
    infra: &str,
    now: Instant,
) -> Vec<Unused> {
    let present: HashSet<&str> = images.iter().map(|image| image.id.as_str()).collect();
    seen.retain(|id, _| present.contains(id.as_str()));
    let mut unused = Vec::new();
    for image in &images {
        let known = seen.entry(image.id.clone()).or_insert(Known { detected: now, used: None });
        let names: Vec<&String> = image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]).collect();
        if names.iter().any(|name| in_use.contains(*name)) {
            known.used = Some(now);
            continue;
        }
        if image.pinned || names.iter().any(|name| name.as_str() == infra || name.contains("pause")) {
            continue;
        }
        unused.push(Unused {
            id: image.id.clone(),
            bytes: image.size,
            since: known.used.unwrap_or(known.detected),
            detected: known.detected,
        });
    }
    unused.sort_by_key(|image| (image.since, image.detected));
    unused
}

/// Removes the containers of finished pods, logs and all.
///
/// # Errors
/// The runtime failed.
pub async fn remove_dead_containers(kubelet: &Kubelet) -> Result<(), cri::Error> {
    for pod in kubelet.pods.all().iter().filter(|pod| spec::is_terminal(pod)) {
        let seen = crate::observed::observe(&*kubelet.runtime, spec::uid(pod)).await?;
        for container in seen.containers.iter().filter(|c| c.state == crate::observed::State::Exited) {
            crate::pod::cleanup::remove_container(kubelet, pod, container).await?;
        }
    }
    Ok(())
}

/// How often [`collect`] runs; upstream's `ImageGCPeriod`.
pub const EVERY: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn down_to_the_low_threshold() {
        let space = |available| node_usage::Space { available, capacity: 1000, ..Default::default() };
        assert_eq!(excess(&space(160), 85, 80), None);
        assert_eq!(excess(&space(159), 85, 80), Some(41), "whole percents count, as upstream");
        assert_eq!(excess(&space(0), 100, 80), Some(200));
    }

    #[test]
    fn least_recently_used_first_and_never_what_is_needed() {
        let image = |id: &str, pinned| v1::Image {
            id: id.into(),
            repo_tags: vec![format!("r/{id}:1")],
            size: 1,
            pinned,
            ..Default::default()
        };
        let all =
            || vec![image("a", false), image("b", false), image("c", true), image("d", false), image("pause", false)];
        let uses = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<HashSet<_>>();
        let (mut seen, start) = (HashMap::new(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let mut look = |images, used: &[&str], s| -> Vec<String> {
            sift(&mut seen, images, &uses(used), "r/d:1", at(s)).into_iter().map(|i| i.id).collect()
        };
        assert_eq!(look(all(), &["r/a:1", "b"], 0), Vec::<String>::new());
        assert_eq!(look(all(), &["a"], 1), ["b"]);
        assert_eq!(look(all(), &[], 2), ["b", "a"]);
        assert_eq!(look(vec![image("a", false), image("e", false)], &[], 3), ["a", "e"]);
    }
}
