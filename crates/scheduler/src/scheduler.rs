//! The scheduler's state: takes in changes, says what is to be done about the next pod.
//!
//! Nothing here waits or talks to anybody; time comes as an argument. What [`Scheduler::next`] returns has been
//! counted already (an assumed pod takes its room), and what becomes of it is told by [`Scheduler::bound`] or
//! [`Scheduler::unbound`].
use crate::{
    cluster::{Cluster, NodeChange, Placed},
    config::{Configuration, Error},
    cycle::{Cycle, Failure, Placement},
    feed::{Change, Delta},
    framework::{Action, Context, Event, FitError, Permit, Plugin, Point, Rejection, profile::Profile},
    objects::{self, Metadata},
    plugins::volume_binding::{self, ClaimDecision},
    pod::{Interner, PodInfo, PodKey},
    queue::{Cause, Policy, Queue, QueueKey},
};
use foldhash::{HashMap, HashSet};
use rand::{SeedableRng, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The profiles by scheduler name; orders and gates the queue.
pub struct Profiles {
    by_name: HashMap<Arc<str>, Arc<Profile>>,
    sort: Arc<dyn Plugin>,
}

impl Profiles {
    fn new(profiles: Vec<Profile>) -> Result<Self, Error> {
        let sort = profiles.first().and_then(|p| p.at(Point::QueueSort).first()).map(|e| e.plugin.clone());
        let missing = || Error::Invalid { field: "profiles", why: "no queue sort plugin".to_owned() };
        let by_name = profiles.into_iter().map(|profile| (profile.name.clone(), Arc::new(profile))).collect();
        Ok(Profiles { by_name, sort: sort.ok_or_else(missing)? })
    }

    pub fn of(&self, pod: &PodInfo) -> Option<&Arc<Profile>> {
        self.by_name.get(pod.profile())
    }
}

impl Policy for Profiles {
    fn key(&self, pod: &PodInfo, added: Instant) -> QueueKey {
        self.sort.queue_key(pod, added)
    }

    fn gated_by(&self, pod: &PodInfo) -> Option<&'static str> {
        let plugins = self.of(pod)?.at(Point::PreEnqueue).iter();
        plugins.map(|e| &e.plugin).find(|plugin| plugin.pre_enqueue(pod).is_err()).map(|plugin| plugin.name())
    }

    fn plugin(&self, pod: &PodInfo, name: &str) -> Option<&Arc<dyn Plugin>> {
        self.of(pod)?.plugin(name)
    }
}

/// What is to be done about a pod.
pub enum Step {
    /// Bind it; see [`Scheduler::bound`] and [`Scheduler::unbound`].
    Bind {
        profile: Arc<Profile>,
        pod: Arc<PodInfo>,
        node: Arc<str>,
        volumes: Arc<[ClaimDecision]>,
        permits: crate::binding::Permits,
    },
    /// Say that it cannot be scheduled.
    Report(Report),
}

/// A pod that could not be scheduled, for its status and events.
pub struct Report {
    pub pod: Arc<PodInfo>,
    /// `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    pub message: String,
    /// The node to nominate the pod for; `Some` of an empty name: take an earlier nomination back.
    pub nominate: Option<Arc<str>>,
    /// Pods to be ended to make room there.
    pub victims: Vec<Arc<PodInfo>>,
    /// Pods of lower priority that lose their nomination for that node.
    pub displaced: Vec<Arc<PodInfo>>,
}

/// See the module's documentation.
pub struct Scheduler {
    pub cluster: Cluster,
    pub queue: Queue<Profiles>,
    cycle: Cycle,
    rng: StdRng,
    interner: Interner,
}

impl Scheduler {
    /// A scheduler that knows nothing yet. The same `seed`, changes and times lead to the same decisions.
    ///
    /// # Errors
    /// The configuration's profiles are not valid.
    pub fn new(configuration: &Configuration, seed: u64, now: Instant) -> Result<Self, Error> {
        let profiles = Profiles::new(configuration.profiles()?)?;
        let initial = Duration::from_secs(configuration.pod_initial_backoff_seconds);
        let max = Duration::from_secs(configuration.pod_max_backoff_seconds);
        Ok(Scheduler {
            cluster: Cluster::default(),
            queue: Queue::new(profiles, initial, max, now),
            cycle: Cycle::default(),
            rng: StdRng::seed_from_u64(seed),
            interner: Interner::default(),
        })
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: Change, now: Instant) {
        match change {
            Change::Pod(delta) => self.pods(delta, now),
            Change::Node(delta) => self.nodes(delta, now),
            other => {
                self.cluster.touch();
                self.others(other, now);
            }
        }
    }

    fn pods(&mut self, delta: Delta<objects::Pod>, now: Instant) {
        match delta {
            Delta::Upserted(pod) => self.pod(*pod, now),
            Delta::Deleted(pod) => self.pod_gone(&pod.metadata.uid, now),
            Delta::Replaced(pods) => {
                let there: HashSet<&str> = pods.iter().map(|p| p.metadata.uid.as_str()).collect();
                let known = self.cluster.pods().map(|p| p.uid.clone()).chain(self.queue.uids());
                let gone: Vec<Arc<str>> = known.filter(|uid| !there.contains(&**uid)).collect();
                for uid in gone {
                    self.pod_gone(&uid, now);
                }
                for pod in pods {
                    self.pod(pod, now);
                }
            }
        }
    }

    fn pod(&mut self, pod: objects::Pod, now: Instant) {
        if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
            return self.pod_gone(&pod.metadata.uid, now);
        }
        let before = self.cluster.pod(&pod.metadata.uid).cloned();
        let known = before.as_ref().or_else(|| self.queue.pod(&pod.metadata.uid)).map(|known| &known.template);
        let pod = Arc::new(self.interner.pod(pod, known));
        if !pod.node_name.is_empty() {
            self.queue.remove(&pod.uid);
            self.cluster.nominated.remove(&pod.uid);
            let action = match self.cluster.upsert_pod(pod.clone()) {
                Placed::New | Placed::Confirmed => Action::Added,
                Placed::Changed => Action::Updated,
                Placed::Same => return,
            };
            let event = Event::AssignedPod { cluster: &self.cluster, pod: &pod, before: before.as_ref(), action };
            return self.queue.happened(&event, now);
        }
        if self.queue.policy().of(&pod).is_none() || self.cluster.is_assumed(&pod.uid) {
            return;
        }
        if let Some(node) = pod.nominated_node.clone()
            && self.cluster.nominated.node_of(&pod.uid).is_none()
        {
            self.cluster.nominated.set(&pod, &node);
        }
        self.queue.upsert(pod, now);
    }

    fn pod_gone(&mut self, uid: &str, now: Instant) {
        self.queue.remove(uid);
        let nominated = self.cluster.nominated.node_of(uid).is_some();
        self.cluster.nominated.remove(uid);
        if let Some(pod) = self.cluster.remove_pod(uid) {
            let event = Event::AssignedPod { cluster: &self.cluster, pod: &pod, before: None, action: Action::Deleted };
            self.queue.happened(&event, now);
        } else if nominated {
            self.queue.happened(&Event::Flush, now);
        }
    }

    fn nodes(&mut self, delta: Delta<objects::Node>, now: Instant) {
        match delta {
            Delta::Upserted(node) => self.node(*node, now),
            Delta::Deleted(node) => self.node_gone(&node.metadata.name, now),
            Delta::Replaced(nodes) => {
                let there: HashSet<&str> = nodes.iter().map(|n| n.metadata.name.as_str()).collect();
                let known = self.cluster.order().iter().map(|i| self.cluster.row(*i).name.clone());
                let gone: Vec<Arc<str>> = known.filter(|name| !there.contains(&**name)).collect();
                for name in gone {
                    self.node_gone(&name, now);
                }
                self.cluster.upsert_nodes(nodes);
                // Everybody may find something in a new list.
                self.queue.happened(&Event::Flush, now);
            }
        }
    }

    fn node(&mut self, node: objects::Node, now: Instant) {
        let name = node.metadata.name.clone();
        let change: NodeChange = self.cluster.upsert_node(node);
        if let Some(index) = self.cluster.node(&name).filter(|_| change.any()) {
            let event = Event::Node { cluster: &self.cluster, index, change };
            self.queue.happened(&event, now);
        }
    }

    fn node_gone(&mut self, name: &str, now: Instant) {
        if self.cluster.remove_node(name) {
            self.queue.happened(&Event::NodeDeleted, now);
        }
    }

    fn others(&mut self, change: Change, now: Instant) {
        let name_of = |metadata: &Metadata| metadata.name.clone();
        let storage = &mut self.cluster.storage;
        match change {
            Change::Pod(_) | Change::Node(_) => {}
            Change::Namespace(delta) => {
                let key = |n: &objects::Namespace| Arc::from(n.metadata.name.as_str());
                merge(&mut self.cluster.namespaces, delta, key, |n| n.metadata.labels);
                self.queue.happened(&Event::Namespace, now);
            }
            Change::Claim(delta) => {
                let key = |c: &objects::PersistentVolumeClaim| PodKey {
                    namespace: Arc::from(c.metadata.namespace.as_str()),
                    name: Arc::from(c.metadata.name.as_str()),
                };
                let touched = touched(&delta, |c| &c.metadata);
                merge(&mut storage.claims, delta, key, |c| c);
                self.storage_changed(&touched, now);
            }
            Change::Volume(delta) => {
                merge(&mut storage.volumes, delta, |v| name_of(&v.metadata), |v| v);
                self.storage_changed(&[], now);
            }
            Change::Class(delta) => {
                merge(&mut storage.classes, delta, |c| name_of(&c.metadata), |c| c);
                self.storage_changed(&[], now);
            }
            Change::CsiNode(delta) => {
                merge(&mut storage.csi_nodes, delta, |c| name_of(&c.metadata), |c| c);
                self.storage_changed(&[], now);
            }
            Change::Map(kind, delta) => {
                let selectors = &mut self.cluster.selectors;
                match delta {
                    Delta::Upserted(object) => selectors.set_map(kind, *object),
                    Delta::Deleted(o) => selectors.remove(kind, &o.metadata.namespace, &o.metadata.name),
                    Delta::Replaced(all) => {
                        selectors.clear(kind);
                        all.into_iter().for_each(|object| selectors.set_map(kind, object));
                    }
                }
            }
            Change::Labels(kind, delta) => {
                let selectors = &mut self.cluster.selectors;
                match delta {
                    Delta::Upserted(object) => selectors.set_labels(kind, *object),
                    Delta::Deleted(o) => selectors.remove(kind, &o.metadata.namespace, &o.metadata.name),
                    Delta::Replaced(all) => {
                        selectors.clear(kind);
                        all.into_iter().for_each(|object| selectors.set_labels(kind, object));
                    }
                }
            }
        }
    }

    /// `claims`: which ones; none means it is not about a single claim.
    fn storage_changed(&mut self, claims: &[(String, String)], now: Instant) {
        let action = Action::Updated;
        if claims.is_empty() {
            return self.queue.happened(&Event::Storage { namespace: "", name: "", action }, now);
        }
        for (namespace, name) in claims {
            self.queue.happened(&Event::Storage { namespace, name, action }, now);
        }
    }

    /// Decides about the next pod, if one is to be tried.
    pub fn next(&mut self, now: Instant) -> Option<Step> {
        loop {
            self.queue.flush(now);
            let pod = self.queue.pop(now)?;
            if pod.deleting || self.cluster.pod(&pod.uid).is_some() {
                self.queue.remove(&pod.uid);
                continue;
            }
            let Some(profile) = self.queue.policy().of(&pod).cloned() else {
                self.queue.remove(&pod.uid);
                continue;
            };
            let context = Context { pod: &pod, cluster: &self.cluster };
            return Some(match self.cycle.schedule(&profile, context, &mut self.rng) {
                Ok(placement) => self.place(profile, pod, placement, now),
                Err(failure) => Step::Report(self.unfit(pod, failure, now)),
            });
        }
    }

    /// Reserves, asks for permits and assumes.
    fn place(&mut self, profile: Arc<Profile>, pod: Arc<PodInfo>, placement: Placement, now: Instant) -> Step {
        let context = Context { pod: &pod, cluster: &self.cluster };
        let mut permits = Vec::new();
        let mut objection: Option<(&'static str, Rejection)> = None;
        for enabled in profile.at(Point::Reserve) {
            if let Err(rejection) = enabled.plugin.reserve(context, placement.node) {
                objection = Some((enabled.plugin.name(), rejection));
                break;
            }
        }
        if objection.is_none() {
            for enabled in profile.at(Point::Permit) {
                match enabled.plugin.permit(context, placement.node) {
                    Permit::Allow => {}
                    Permit::Wait(until, limit) => permits.push((enabled.plugin.name(), until, limit)),
                    Permit::Reject(rejection) => {
                        objection = Some((enabled.plugin.name(), rejection));
                        break;
                    }
                }
            }
        }
        if let Some((plugin, rejection)) = objection {
            unreserve(&profile, &pod);
            let error = FitError {
                nodes: 1,
                reasons: rejection.reasons.into_iter().map(|reason| (reason, 1)).collect(),
                ..FitError::default()
            };
            self.queue.failed(&pod.uid, Cause::Unschedulable, vec![plugin], &self.cluster, now);
            return Step::Report(Report::new(pod, "Unschedulable", error.to_string()));
        }
        let volumes: Arc<[ClaimDecision]> = volume_binding::decide(context, placement.node).into();
        let node = self.cluster.row(placement.node).name.clone();
        self.cluster.assume(pod.clone(), placement.node);
        Step::Bind { profile, pod, node, volumes, permits }
    }

    fn unfit(&mut self, pod: Arc<PodInfo>, failure: Failure, now: Instant) -> Report {
        let unfit = match failure {
            Failure::NoNodes => {
                self.queue.failed(&pod.uid, Cause::Unschedulable, Vec::new(), &self.cluster, now);
                return Report::new(pod, "Unschedulable", "no nodes available to schedule pods".to_owned());
            }
            Failure::Unfit(unfit) => *unfit,
        };
        let message = unfit.error.to_string();
        self.queue.failed(&pod.uid, Cause::Unschedulable, unfit.error.plugins, &self.cluster, now);
        let mut report = Report::new(pod.clone(), "Unschedulable", message);
        if let Some((index, victims)) = unfit.nominate {
            let node = self.cluster.row(index).name.clone();
            let lower = self.cluster.nominated.at(&node).iter().filter(|p| p.priority() < pod.priority());
            report.displaced = lower.cloned().collect();
            for displaced in &report.displaced {
                self.cluster.nominated.remove(&displaced.uid);
            }
            self.cluster.nominated.set(&pod, &node);
            report.nominate = Some(node);
            report.victims = victims;
            if !report.displaced.is_empty() {
                self.queue.happened(&Event::Flush, now);
            }
        } else if self.cluster.nominated.node_of(&pod.uid).is_some()
            && !unfit.error.post_filter.contains("terminating pod on the nominated node")
        {
            self.cluster.nominated.remove(&pod.uid);
            report.nominate = Some(Arc::from(""));
        }
        report
    }

    /// A binding came about.
    pub fn bound(&mut self, pod: &PodInfo) {
        self.queue.remove(&pod.uid);
        self.cluster.nominated.remove(&pod.uid);
    }

    /// A binding did not come about; `plugin`: the one that refused its permit, if that was the reason.
    pub fn unbound(&mut self, pod: &Arc<PodInfo>, plugin: Option<&'static str>, now: Instant) {
        if let Some(profile) = self.queue.policy().of(pod).cloned() {
            unreserve(&profile, pod);
        }
        // If the API server has it bound after all, it is not ours to take away.
        if self.cluster.is_assumed(&pod.uid) {
            self.cluster.remove_pod(&pod.uid);
            let event = Event::AssignedPod { cluster: &self.cluster, pod, before: None, action: Action::Deleted };
            self.queue.happened(&event, now);
        }
        let (cause, rejected_by) = match plugin {
            Some(plugin) => (Cause::Unschedulable, vec![plugin]),
            None => (Cause::Error, Vec::new()),
        };
        self.queue.failed(&pod.uid, cause, rejected_by, &self.cluster, now);
    }
}

impl Report {
    pub fn new(pod: Arc<PodInfo>, reason: &'static str, message: String) -> Self {
        Report { pod, reason, message, nominate: None, victims: Vec::new(), displaced: Vec::new() }
    }
}

fn unreserve(profile: &Profile, pod: &PodInfo) {
    for enabled in profile.at(Point::Reserve).iter().rev() {
        enabled.plugin.unreserve(pod);
    }
}

/// Namespace and name of what changed, if it is one object.
fn touched<T>(delta: &Delta<T>, metadata: impl Fn(&T) -> &Metadata) -> Vec<(String, String)> {
    match delta {
        Delta::Upserted(object) | Delta::Deleted(object) => {
            let metadata = metadata(object);
            vec![(metadata.namespace.clone(), metadata.name.clone())]
        }
        Delta::Replaced(_) => Vec::new(),
    }
}

fn merge<K: Eq + std::hash::Hash, T, V>(
    map: &mut HashMap<K, V>,
    delta: Delta<T>,
    key: impl Fn(&T) -> K,
    value: impl Fn(T) -> V,
) {
    match delta {
        Delta::Upserted(object) => {
            map.insert(key(&object), value(*object));
        }
        Delta::Deleted(object) => {
            map.remove(&key(&object));
        }
        Delta::Replaced(objects) => {
            *map = objects.into_iter().map(|object| (key(&object), value(object))).collect();
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
