//! Eviction: pods go before the node runs out of memory, disk, inodes or process ids.
//!
//! Every ten seconds the node is looked at ([`observe`]); what follows from that is decided purely
//! ([`state::State::step`]). What can be thrown away without harm goes first, then one pod a round, until all is
//! well. Pods over their own limits of local storage go as well. What nobody has to know is not asked: the runtime
//! is, only while something runs short or some pod has such a limit.
mod message;
mod state;
pub mod thresholds;
pub mod usage;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::server::node_usage;
use crate::status::{Ending, Verdict};
use crate::{image_gc, resources, spec};
use state::{Observation, Observations, State, is_crossed};
pub use thresholds::Condition;
use thresholds::{Signal, Starved, Threshold};

const EVERY: Duration = Duration::from_secs(10);
/// How long the next look waits for an evicted pod to be gone.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
const CLEANUP_POLL: Duration = Duration::from_secs(1);
/// Grace of pods that have to go at once, in seconds.
const IMMEDIATE_S: i64 = 1;
pub const REASON: &str = "Evicted";

/// The node's pressure conditions, as admission and the node's status see them.
#[derive(Debug, Default)]
pub struct Pressure {
    conditions: Mutex<BTreeSet<Condition>>,
    pub changed: Notify,
}

impl Pressure {
    pub fn has(&self, condition: Condition) -> bool {
        self.conditions.lock().contains(&condition)
    }

    fn set(&self, new: BTreeSet<Condition>) {
        let mut old = self.conditions.lock();
        if *old != new {
            *old = new;
            self.changed.notify_one();
        }
    }

    /// Why a pod cannot be taken while the node is under pressure.
    pub fn refuses(&self, pod: &Pod) -> Option<Verdict> {
        let conditions = self.conditions.lock();
        if conditions.is_empty() || spec::is_critical(pod) {
            return None;
        }
        let memory_only = conditions.iter().all(|c| *c == Condition::Memory);
        if memory_only && (resources::qos(pod) != resources::Qos::BestEffort || tolerates_memory_pressure(pod)) {
            return None;
        }
        let names: Vec<&str> = conditions.iter().map(|c| c.name()).collect();
        Some(Verdict::new(REASON, &format!("The node had condition: [{}]. ", names.join(" "))))
    }
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    spec::spec(pod).tolerations.iter().flatten().any(|t| {
        let effect = t.effect.as_deref().unwrap_or_default();
        let key = t.key.as_deref().unwrap_or_default();
        let value = t.value.as_deref().unwrap_or_default();
        let exists = t.operator.as_deref() == Some("Exists");
        (effect.is_empty() || effect == "NoSchedule")
            && match key {
                "" => exists,
                key => key == "node.kubernetes.io/memory-pressure" && (exists || value.is_empty()),
            }
    })
}

/// Runs until `shutdown`; started when all sources of pods are known.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: CancellationToken) {
    let mut state = State::default();
    let watch = async {
        let images = ImageFs::find(&kubelet).await;
        loop {
            let evicted = look(&kubelet, &images, &mut state).await;
            match evicted.is_empty() {
                true => tokio::time::sleep(EVERY).await,
                false => gone(&kubelet, &evicted).await,
            }
        }
    };
    tokio::select! { () = shutdown.cancelled() => {}, () = watch => {} }
}

/// Where images and containers' root file systems lie.
struct ImageFs {
    place: Option<PathBuf>,
    /// On another disk than the kubelet's folder.
    dedicated: bool,
}

impl ImageFs {
    async fn find(kubelet: &Kubelet) -> ImageFs {
        let place = image_gc::place(kubelet).await.ok().flatten();
        let device = |path: &std::path::Path| std::fs::metadata(path).map(|m| m.dev()).ok();
        let dedicated = place.as_deref().is_some_and(|place| device(place) != device(&kubelet.config.root_dir));
        ImageFs { place, dedicated }
    }
}

/// How much is left of everything that is watched.
fn observe(kubelet: &Kubelet, images: &ImageFs) -> Observations {
    let mut all = Observations::new();
    let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = node_usage::memory(&meminfo);
    if memory.capacity > 0 {
        let seen = Observation { available: whole(memory.available), capacity: whole(memory.capacity) };
        all.insert(Signal::MemoryAvailable, seen);
    }
    if let Some((used, limit)) = kubelet.cgroups.pods_memory() {
        let capacity = limit.min(kubelet.capacity.memory_bytes);
        all.insert(Signal::AllocatableMemoryAvailable, Observation { available: capacity - used, capacity });
    }
    let mut space = |path: &std::path::Path, bytes: Signal, inodes: Signal| {
        let Some(space) = node_usage::space(path) else { return };
        all.insert(bytes, Observation { available: whole(space.available), capacity: whole(space.capacity) });
        // Some file systems have no fixed number of inodes.
        if space.inodes > 0 {
            all.insert(inodes, Observation { available: whole(space.inodes_free), capacity: whole(space.inodes) });
        }
    };
    space(&kubelet.config.root_dir, Signal::NodeFsAvailable, Signal::NodeFsInodesFree);
    if let Some(place) = &images.place {
        space(place, Signal::ImageFsAvailable, Signal::ImageFsInodesFree);
    }
    let (most, present) = node_usage::processes();
    all.insert(Signal::PidAvailable, Observation { available: most - present, capacity: most });
    all
}

/// One round; returns the uids of pods that were told to end.
async fn look(kubelet: &Arc<Kubelet>, images: &ImageFs, state: &mut State) -> Vec<String> {
    let settings = &kubelet.config.eviction;
    let seen = observe(kubelet, images);
    let step = state.step(settings, &seen, Timestamp::now());
    kubelet.pressure.set(step.conditions.clone());
    let active = kubelet.pods.active();
    let limited = active.iter().any(|pod| message::has_limits(pod));
    if !limited && step.reclaim.is_none() {
        return Vec::new();
    }
    if let Some(threshold) = &step.reclaim {
        let name = threshold.signal.starved().name();
        tracing::warn!(signal = threshold.signal.name(), "the node runs short of {name}; reclaiming");
        kubelet.node_event(true, "EvictionThresholdMet", &format!("Attempting to reclaim {name}"));
    }
    let mut candidates = match usage::gather(kubelet, active).await {
        Ok(candidates) => candidates,
        Err(error) => {
            tracing::warn!(%error, "the runtime does not tell what pods use; nothing is evicted");
            return Vec::new();
        }
    };
    let mut over = Vec::new();
    for candidate in &candidates {
        let Some(usage) = &candidate.usage else { continue };
        if let Some((signal, text)) = message::over_limit(&candidate.pod, usage, images.dedicated)
            && evict(kubelet, &candidate.pod, IMMEDIATE_S, text, false, signal)
        {
            over.push(spec::uid(&candidate.pod).to_owned());
        }
    }
    let Some(threshold) = step.reclaim.filter(|_| over.is_empty()) else { return over };
    if reclaimed_otherwise(kubelet, images, &threshold).await {
        return Vec::new();
    }
    usage::rank(&mut candidates, threshold.signal, images.dedicated);
    for victim in &candidates {
        let own = spec::spec(&victim.pod).termination_grace_period_seconds;
        let grace_s = match threshold.is_hard() {
            true => IMMEDIATE_S,
            false => own.map_or(settings.max_pod_grace_s, |own| own.min(settings.max_pod_grace_s)),
        };
        let text = message::node_low(threshold.signal.starved(), victim, &step.crossed, &seen);
        if evict(kubelet, &victim.pod, grace_s, text, true, threshold.signal.name()) {
            return vec![spec::uid(&victim.pod).to_owned()];
        }
    }
    tracing::warn!("no pod can be evicted");
    Vec::new()
}

/// Whether the node has enough again once dead containers and unused images are gone.
async fn reclaimed_otherwise(kubelet: &Arc<Kubelet>, images: &ImageFs, threshold: &Threshold) -> bool {
    if !matches!(threshold.signal.starved(), Starved::Disk | Starved::Inodes) {
        return false;
    }
    let node_fs = matches!(threshold.signal, Signal::NodeFsAvailable | Signal::NodeFsInodesFree);
    if images.dedicated && node_fs {
        return false;
    }
    if let Err(error) = image_gc::remove_dead_containers(kubelet).await {
        tracing::warn!(%error, "cannot remove dead containers");
    }
    if let Err(error) = image_gc::remove_all_unused(kubelet).await {
        tracing::warn!(%error, "cannot remove unused images");
    }
    let seen = observe(kubelet, images);
    !kubelet.config.eviction.thresholds.iter().any(|threshold| is_crossed(threshold, &seen, true))
}

/// Tells a pod's worker to end it; critical pods stay.
fn evict(kubelet: &Kubelet, pod: &Pod, grace_s: i64, text: String, disrupts: bool, signal: &'static str) -> bool {
    if spec::is_critical(pod) {
        tracing::warn!(pod = %spec::describe(pod), "a critical pod is not evicted");
        return false;
    }
    kubelet.pod_event(pod, true, REASON, &text);
    kubelet.counts.evicted(signal);
    let disruption = disrupts.then(|| text.clone());
    let verdict = Verdict { ending: Ending { grace_s: Some(grace_s), disruption }, ..Verdict::new(REASON, &text) };
    kubelet.pods.end(spec::uid(pod), verdict)
}

/// Waits until the pods have ended, or for so long that something else has to be tried.
async fn gone(kubelet: &Kubelet, uids: &[String]) {
    let wait = async {
        while !uids.iter().all(|uid| kubelet.pods.has_ended(uid)) {
            tokio::time::sleep(CLEANUP_POLL).await;
        }
    };
    if tokio::time::timeout(CLEANUP_TIMEOUT, wait).await.is_err() {
        tracing::warn!("an evicted pod takes its time to end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_taken_under_pressure() {
        let pod = |spec: &str| -> Pod {
            let value = apimachinery::codec::yaml::parse(&format!("spec: {spec}")).expect("yaml");
            serde_json::from_value(value).expect("a pod")
        };
        let plain = pod("{containers: [{name: a}]}");
        let burstable = pod("{containers: [{name: a, resources: {requests: {cpu: 1m}}}]}");
        let tolerant = pod(
            "{tolerations: [{key: node.kubernetes.io/memory-pressure, operator: Exists, effect: NoSchedule}], containers: [{name: a}]}",
        );
        let critical = pod("{priority: 2000001000, containers: [{name: a}]}");
        let pressure = Pressure::default();
        assert_eq!(pressure.refuses(&plain), None);
        pressure.set(BTreeSet::from([Condition::Memory]));
        let refused = |pod: &Pod| pressure.refuses(pod).map(|verdict| verdict.message);
        assert_eq!(refused(&plain).as_deref(), Some("The node had condition: [MemoryPressure]. "));
        assert_eq!([&burstable, &tolerant, &critical].map(refused), [None, None, None]);
        pressure.set(BTreeSet::from([Condition::Memory, Condition::Disk]));
        let both = Some("The node had condition: [MemoryPressure DiskPressure]. ".to_owned());
        assert_eq!([&plain, &burstable, &tolerant, &critical].map(refused), [both.clone(), both.clone(), both, None]);
    }
}
