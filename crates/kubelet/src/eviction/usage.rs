//! What pods use of what runs short, and which of them goes first. Pure, but for [`gather`].
use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::thresholds::{Signal, Starved};
use crate::disk_usage::{DiskUsage, Taken};
use crate::kubelet::Kubelet;
use crate::server::stats;
use crate::{labels, resources, spec, volumes};

/// What a container uses; memory is its working set, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerUse {
    pub name: String,
    pub memory: Option<i64>,
    pub root: Taken,
    pub logs: Taken,
}

/// What a pod uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodUse {
    pub memory: Option<i64>,
    pub processes: u64,
    pub containers: Vec<ContainerUse>,
    /// By volume name; those on the node's disk.
    pub volumes: HashMap<String, Taken>,
}

/// A pod that runs here; `usage` is absent when the runtime did not tell.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub pod: Arc<Pod>,
    pub usage: Option<PodUse>,
}

/// Which parts of a pod's disk usage count for a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub root: bool,
    pub logs_and_volumes: bool,
}

impl Parts {
    /// With images on a disk of their own, containers' root file systems are there, logs and volumes are not.
    pub fn of(signal: Signal, dedicated_image_fs: bool) -> Parts {
        let images = !matches!(signal, Signal::NodeFsAvailable | Signal::NodeFsInodesFree);
        match dedicated_image_fs {
            true => Parts { root: images, logs_and_volumes: !images },
            false => Parts { root: true, logs_and_volumes: true },
        }
    }
}

impl PodUse {
    pub fn disk(&self, parts: Parts) -> Taken {
        let mut sum = Taken::default();
        for container in &self.containers {
            if parts.root {
                sum = sum.and(container.root);
            }
            if parts.logs_and_volumes {
                sum = sum.and(container.logs);
            }
        }
        if parts.logs_and_volumes {
            sum = self.volumes.values().fold(sum, |sum, taken| sum.and(*taken));
        }
        sum
    }
}

fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// First those over their requests, then by priority, then by how far they are over; pods nothing is known of go
/// before all others.
pub fn rank(candidates: &mut [Candidate], signal: Signal, dedicated_image_fs: bool) {
    let parts = Parts::of(signal, dedicated_image_fs);
    let over = |candidate: &Candidate| -> Option<i64> {
        let (usage, pod) = (candidate.usage.as_ref()?, &*candidate.pod);
        let disk = usage.disk(parts);
        Some(match signal.starved() {
            Starved::Memory => usage.memory.unwrap_or(0) - resources::pod_requests(pod).memory_bytes,
            Starved::Disk => as_i64(disk.bytes) - resources::pod_request(pod, "ephemeral-storage"),
            Starved::Inodes => as_i64(disk.inodes),
            Starved::Pids => as_i64(usage.processes),
        })
    };
    let exceeds = |over: i64| signal.starved() != Starved::Pids && over > 0;
    let priority = |candidate: &Candidate| spec::spec(&candidate.pod).priority.unwrap_or(0);
    candidates.sort_by(|a, b| match (over(a), over(b)) {
        (Some(left), Some(right)) => exceeds(right)
            .cmp(&exceeds(left))
            .then_with(|| priority(a).cmp(&priority(b)))
            .then_with(|| right.cmp(&left)),
        (None, None) => Ordering::Equal,
        (left, right) => left.is_some().cmp(&right.is_some()),
    });
}

/// Whether a volume lies on the node's disk and goes with the pod, or is the node's own.
fn is_local(volume: &Volume) -> bool {
    let memory = volume.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref().unwrap_or_default() == "Memory");
    (volume.empty_dir.is_some() && !memory) || volume.config_map.is_some()
}

/// Asks the runtime and the disk what the pods use.
///
/// # Errors
/// The runtime failed.
pub async fn gather(kubelet: &Kubelet, pods: Vec<Arc<Pod>>) -> Result<Vec<Candidate>, cri::Error> {
    let mut told: HashMap<String, stats::PodUsage> =
        stats::pods(&*kubelet.runtime).await?.into_iter().map(|usage| (usage.uid.clone(), usage)).collect();
    let mut candidates = Vec::with_capacity(pods.len());
    for pod in pods {
        let usage = match told.remove(spec::uid(&pod)) {
            Some(usage) => Some(of_pod(kubelet, &pod, &usage).await),
            None => None,
        };
        candidates.push(Candidate { pod, usage });
    }
    Ok(candidates)
}

async fn of_pod(kubelet: &Kubelet, pod: &Pod, told: &stats::PodUsage) -> PodUse {
    let working_set =
        |memory: &Option<cri::v1::MemoryUsage>| stats::value(memory.as_ref()?.working_set_bytes.as_ref()).map(as_i64);
    let uid = spec::uid(pod);
    let logs = labels::pod_log_dir(&kubelet.config.pod_logs_dir, spec::namespace(pod), spec::name(pod), uid);
    let mut usage =
        PodUse { memory: working_set(&told.memory), processes: told.processes.unwrap_or(0), ..PodUse::default() };
    for container in &told.containers {
        let root = container.root.as_ref();
        let number = |of: fn(&cri::v1::FilesystemUsage) -> Option<&cri::v1::UInt64Value>| {
            root.and_then(|root| stats::value(of(root))).unwrap_or(0)
        };
        usage.containers.push(ContainerUse {
            name: container.name.clone(),
            memory: working_set(&container.memory),
            root: Taken {
                bytes: number(|root| root.used_bytes.as_ref()),
                inodes: number(|root| root.inodes_used.as_ref()),
            },
            logs: kubelet.disk_usage.of(&Path::new(&logs).join(&container.name)).await,
        });
    }
    usage.volumes = local_volumes(&kubelet.disk_usage, &kubelet.config.root_dir, pod).await;
    usage
}

/// What the pod's volumes on the node's disk take, by name.
pub async fn local_volumes(disk: &DiskUsage, root: &Path, pod: &Pod) -> HashMap<String, Taken> {
    let mut all = HashMap::new();
    for volume in spec::spec(pod).volumes.iter().flatten().filter(|volume| is_local(volume)) {
        let taken = disk.of(&volumes::place(root, spec::uid(pod), volume)).await;
        all.insert(volume.name.clone(), taken);
    }
    all
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn candidate(name: &str, spec: &str, usage: Option<PodUse>) -> Candidate {
        let value = apimachinery::codec::yaml::parse(&format!("metadata: {{name: {name}}}\nspec: {spec}"));
        let pod = serde_json::from_value(value.expect("yaml")).expect("a pod");
        Candidate { pod: Arc::new(pod), usage }
    }

    fn memory(bytes: i64) -> Option<PodUse> {
        Some(PodUse { memory: Some(bytes), ..PodUse::default() })
    }

    fn order(mut all: Vec<Candidate>, signal: Signal, dedicated: bool) -> Vec<String> {
        rank(&mut all, signal, dedicated);
        all.iter().map(|c| spec::name(&c.pod).to_owned()).collect()
    }

    #[test]
    fn memory_by_excess_priority_and_amount() {
        let asks = |n: i64, priority: i64| {
            format!("{{priority: {priority}, containers: [{{name: a, resources: {{requests: {{memory: {n}}}}}}}]}}")
        };
        let all = vec![
            candidate("within", &asks(1000, 0), memory(999)),
            candidate("important", &asks(10, 5), memory(900)),
            candidate("much", &asks(100, 0), memory(300)),
            candidate("little", &asks(100, 0), memory(200)),
            candidate("unknown", &asks(100, 9), None),
        ];
        let want = ["unknown", "much", "little", "important", "within"];
        assert_eq!(order(all, Signal::MemoryAvailable, false), want);
    }

    #[test]
    fn disk_counts_what_lies_on_the_disk_that_is_full() {
        let disk = |root, volume| {
            let taken = |bytes| Taken { bytes, inodes: 1 };
            let container = ContainerUse { root: taken(root), ..ContainerUse::default() };
            let volumes = HashMap::from([("v".to_owned(), taken(volume))]);
            Some(PodUse { containers: vec![container], volumes, ..PodUse::default() })
        };
        let all = || {
            vec![
                candidate("root", "{containers: []}", disk(10, 1)),
                candidate("volume", "{containers: []}", disk(1, 20)),
            ]
        };
        assert_eq!(order(all(), Signal::NodeFsAvailable, false), ["volume", "root"]);
        assert_eq!(order(all(), Signal::ImageFsAvailable, false), ["volume", "root"]);
        assert_eq!(order(all(), Signal::ImageFsAvailable, true), ["root", "volume"]);
        assert_eq!(order(all(), Signal::NodeFsAvailable, true), ["volume", "root"]);
    }
}
