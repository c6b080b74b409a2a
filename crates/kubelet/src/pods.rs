//! The pods of this node: from the API, from files, and what the runtime still has of pods nobody wants.
//!
//! Each pod has one worker; this hands it what is wanted of the pod, newest only.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::pod::worker::{Desired, Worker};
use crate::pod::{admission, preemption};
use crate::resources::{self, Amounts};
use crate::spec;
use crate::status::Verdict;

struct Entry {
    desired: watch::Sender<Desired>,
    sentence: watch::Sender<Option<Verdict>>,
    wake: Arc<Notify>,
    status: Option<PodStatus>,
    admitted: bool,
    /// Nothing of the pod runs or will run.
    ended: bool,
}

impl Entry {
    /// Whether the pod takes no resources any more. One that was told to end does until nothing of it runs.
    fn is_over(&self, pod: &Pod) -> bool {
        let says_so = self.is_done() || spec::is_terminal(pod);
        says_so && (self.ended || self.sentence.borrow().is_none())
    }

    fn is_done(&self) -> bool {
        self.status.as_ref().is_some_and(|s| matches!(s.phase.as_deref(), Some("Failed" | "Succeeded")))
    }
}

/// What becomes of a pod that is new here.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    Welcome,
    Refused(Verdict),
    /// Others are ending for it.
    Waits,
}

/// The workers by pod uid, and the API's mirrors of static pods by namespace and name.
#[derive(Default)]
pub struct Pods {
    workers: Mutex<BTreeMap<String, Entry>>,
    mirrors: Mutex<HashMap<(String, String), Arc<Pod>>>,
}

impl Pods {
    /// Says what is wanted of a pod; starts its worker if it has none.
    pub fn set(&self, kubelet: &Arc<Kubelet>, pod: Arc<Pod>, shutdown: &CancellationToken) {
        let uid = spec::uid(&pod).to_owned();
        let mut workers = self.workers.lock();
        if let Some(entry) = workers.get(&uid) {
            entry.desired.send_replace(Some(pod));
            return;
        }
        self.start(&mut workers, kubelet, uid, Some(pod.clone()), pod, shutdown);
    }

    /// A pod of that uid is not wanted here: ends what runs of it. `left` describes what the runtime has.
    pub fn remove(&self, kubelet: &Arc<Kubelet>, uid: &str, left: Option<Arc<Pod>>, shutdown: &CancellationToken) {
        let mut workers = self.workers.lock();
        match (workers.get(uid), left) {
            (Some(entry), _) => {
                entry.desired.send_replace(None);
            }
            (None, Some(left)) => self.start(&mut workers, kubelet, uid.to_owned(), None, left, shutdown),
            (None, None) => {}
        }
    }

    fn start(
        &self,
        workers: &mut BTreeMap<String, Entry>,
        kubelet: &Arc<Kubelet>,
        uid: String,
        desired: Desired,
        pod: Arc<Pod>,
        shutdown: &CancellationToken,
    ) {
        let (sender, receiver) = watch::channel(desired);
        let wake = Arc::new(Notify::new());
        let (sentence, told) = watch::channel(None);
        let entry =
            Entry { desired: sender, sentence, wake: wake.clone(), status: None, admitted: false, ended: false };
        workers.insert(uid.clone(), entry);
        let worker = Worker {
            kubelet: kubelet.clone(),
            desired: receiver,
            sentence: told,
            wake,
            shutdown: shutdown.clone(),
            pod,
        };
        let kubelet = kubelet.clone();
        tokio::spawn(async move {
            worker.run().await;
            kubelet.pods.workers.lock().remove(&uid);
        });
    }

    /// Has the pod's worker look again.
    pub fn wake(&self, uid: &str) {
        if let Some(entry) = self.workers.lock().get(uid) {
            entry.wake.notify_one();
        }
    }

    /// Has all workers look again.
    pub fn wake_all(&self) {
        self.workers.lock().values().for_each(|entry| entry.wake.notify_one());
    }

    /// The uids that have a worker.
    pub fn uids(&self) -> Vec<String> {
        self.workers.lock().keys().cloned().collect()
    }

    /// The pods wanted here, with their newest status.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        let with_status = |entry: &Entry| {
            let pod = entry.desired.borrow().clone()?;
            match &entry.status {
                Some(status) => Some(Arc::new(Pod { status: Some(status.clone()), ..(*pod).clone() })),
                None => Some(pod),
            }
        };
        self.workers.lock().values().filter_map(with_status).collect()
    }

    /// Keeps a pod's newest status for [`Pods::all`].
    pub fn set_status(&self, uid: &str, status: &PodStatus) {
        if let Some(entry) = self.workers.lock().get_mut(uid) {
            entry.status = Some(status.clone());
        }
    }

    /// A pod that runs already counts as admitted.
    pub fn count_in(&self, uid: &str) {
        if let Some(entry) = self.workers.lock().get_mut(uid) {
            entry.admitted = true;
        }
    }

    /// The pods that run here or are about to: wanted, let in, not finished and not told to end.
    pub fn active(&self) -> Vec<Arc<Pod>> {
        let workers = self.workers.lock();
        let active = |entry: &&Entry| entry.admitted && !entry.is_done() && entry.sentence.borrow().is_none();
        let wanted = workers.values().filter(active).filter_map(|entry| entry.desired.borrow().clone());
        wanted.filter(|pod| !spec::is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// Has a pod end as `verdict` says; whether there is such a pod.
    pub fn end(&self, uid: &str, verdict: Verdict) -> bool {
        let workers = self.workers.lock();
        workers.get(uid).is_some_and(|entry| entry.sentence.send(Some(verdict)).is_ok())
    }

    /// Notes that nothing of a finished pod is left running.
    pub fn set_ended(&self, uid: &str) {
        if let Some(entry) = self.workers.lock().get_mut(uid) {
            entry.ended = true;
        }
    }

    /// Whether a pod is finished, or no longer here.
    pub fn has_ended(&self, uid: &str) -> bool {
        self.workers.lock().get(uid).is_none_or(|entry| entry.ended)
    }

    /// Decides whether a pod that does not run yet may, and counts it in if so. For a critical one others are told to
    /// end if that makes the room it lacks.
    pub fn admit(&self, kubelet: &Kubelet, pod: &Pod) -> Admission {
        let mut workers = self.workers.lock();
        let node = kubelet.node.as_ref().and_then(|cache| cache.get("", &kubelet.config.node_name));
        let active = |(uid, entry): (&String, &Entry)| {
            let other = entry.desired.borrow().clone()?;
            (entry.admitted && !entry.is_over(&other) && uid != spec::uid(pod)).then_some(other)
        };
        let others: Vec<Arc<Pod>> = workers.iter().filter_map(active).collect();
        let view = admission::View {
            allocatable: kubelet.allocatable,
            allocatable_disk_bytes: kubelet.allocatable_disk_bytes,
            max_pods: usize::try_from(kubelet.config.max_pods).unwrap_or(0),
            node: node.as_deref(),
            unsafe_sysctls: &kubelet.config.allowed_unsafe_sysctls,
            others: &others,
        };
        let verdict = kubelet.pressure.refuses(pod).or_else(|| admission::admit(pod, &view));
        let admission = match verdict {
            Some(verdict) if spec::is_critical(pod) => make_room(kubelet, &workers, pod, &view, verdict),
            Some(verdict) => Admission::Refused(verdict),
            None => Admission::Welcome,
        };
        if let Some(entry) = workers.get_mut(spec::uid(pod)) {
            entry.admitted = matches!(admission, Admission::Welcome);
        }
        admission
    }

    /// CPU that the burstable pods here ask for together, in milli-CPU.
    pub fn burstable_cpu_milli(&self) -> i64 {
        let workers = self.workers.lock();
        let wanted = workers.values().filter_map(|entry| entry.desired.borrow().clone());
        wanted
            .filter(|pod| !spec::is_terminal(pod) && resources::qos(pod) == resources::Qos::Burstable)
            .map(|pod| resources::pod_requests(&pod).cpu_milli)
            .fold(0, i64::saturating_add)
    }

    /// What the other pods here ask for.
    pub fn used_beside(&self, uid: &str) -> Amounts {
        let workers = self.workers.lock();
        let others = workers.iter().filter(|(other, entry)| other.as_str() != uid && entry.admitted);
        let wanted = others.filter_map(|(_, entry)| entry.desired.borrow().clone());
        wanted.filter(|pod| !spec::is_terminal(pod)).map(|pod| resources::pod_requests(&pod)).fold(
            Amounts::default(),
            |sum, more| Amounts {
                cpu_milli: sum.cpu_milli.saturating_add(more.cpu_milli),
                memory_bytes: sum.memory_bytes.saturating_add(more.memory_bytes),
            },
        )
    }

    /// The mirror of a static pod.
    pub fn mirror(&self, pod: &Pod) -> Option<Arc<Pod>> {
        self.mirrors.lock().get(&(spec::namespace(pod).to_owned(), spec::name(pod).to_owned())).cloned()
    }

    /// All mirrors the API has for this node.
    pub fn mirrors(&self) -> Vec<Arc<Pod>> {
        self.mirrors.lock().values().cloned().collect()
    }

    /// Notes what the API has as mirror under that name.
    pub fn set_mirror(&self, namespace: &str, name: &str, mirror: Option<Arc<Pod>>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut mirrors = self.mirrors.lock();
        match mirror {
            Some(mirror) => mirrors.insert(key, mirror),
            None => mirrors.remove(&key),
        };
    }
}

/// Have others end for a critical pod that was refused, if it lacks nothing but what they have.
fn make_room(
    kubelet: &Kubelet,
    workers: &BTreeMap<String, Entry>,
    pod: &Pod,
    view: &admission::View<'_>,
    verdict: Verdict,
) -> Admission {
    let shortages = admission::shortages(pod, view);
    if shortages.is_empty() || admission::refused_anyway(pod, view).is_some() {
        return Admission::Refused(verdict);
    }
    let needs: Vec<_> =
        shortages.iter().map(|short| preemption::Need { name: short.name, amount: short.missing() }).collect();
    let entry = |other: &Arc<Pod>| workers.get(spec::uid(other));
    let is_ending = |other: &&Arc<Pod>| {
        other.metadata.deletion_timestamp.is_some()
            || entry(other).is_some_and(|entry| entry.sentence.borrow().is_some())
    };
    let (ending, staying): (Vec<_>, Vec<_>) = view.others.iter().partition(is_ending);
    let needs = preemption::without(&needs, ending.iter().copied());
    if needs.is_empty() {
        return Admission::Waits;
    }
    let staying: Vec<Arc<Pod>> = staying.into_iter().cloned().collect();
    match preemption::victims(pod, &staying, &needs) {
        Ok(victims) => {
            for victim in &victims {
                let verdict = preemption::verdict();
                kubelet.pod_event(victim, true, &verdict.reason, &verdict.message);
                if let Some(entry) = entry(victim) {
                    entry.sentence.send_replace(Some(verdict));
                }
            }
            Admission::Waits
        }
        Err(why) => {
            let message = format!("Unexpected error while attempting to recover from admission failure: {why}");
            Admission::Refused(Verdict::new("UnexpectedAdmissionError", &message))
        }
    }
}
