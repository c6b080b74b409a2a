//! The scheduling queue: who is next, who waits for a while, who waits for something to happen.
//!
//! A pod is in one place at a time: *active* (to be tried, in the order of the QueueSort plugin), *backing off*
//! (to be tried after a while), *unschedulable* (to be tried when an event could help, or after five minutes),
//! *gated* (a plugin does not let it in), or *in flight* (popped, and not yet given back or done). Times are
//! arguments. Numbers are upstream's (`scheduling_queue.go`).
use crate::{
    cluster::Cluster,
    framework::{Event, KeptEvent, Plugin},
    pod::PodInfo,
};
use foldhash::{HashMap, HashSet};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// After so long a pod is tried again though nothing happened. Upstream's
/// `DefaultPodMaxInUnschedulablePodsDuration`.
pub const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);
/// How often that is looked at.
const FLUSH_INTERVAL: Duration = Duration::from_secs(30);
/// So many events are kept for pods in flight. One that is in flight for longer than that is tried again.
const MAX_KEPT: usize = 10_000;

/// A place in the active queue; smaller is sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueKey {
    pub rank: i64,
    pub added: Instant,
}

/// The key, and a number that keeps equals in the order in which they came.
type Place = (QueueKey, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active(Place),
    /// Until then.
    BackingOff(Instant, u64),
    /// Since then.
    Unschedulable(Instant),
    Gated,
    /// Since so many events.
    InFlight(u64),
    /// In no list yet.
    New,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Plugins objected: wait for an event.
    Unschedulable,
    /// Something went wrong: try again after a while.
    Error,
}

struct Queued {
    pod: Arc<PodInfo>,
    state: State,
    /// Tried so often and found unschedulable.
    attempts: u32,
    /// Failed in a row with an error.
    errors: u32,
    /// When it last failed.
    failed: Option<Instant>,
    rejected_by: Vec<&'static str>,
    /// It changed while it was in flight.
    helped: bool,
    first_seen: Instant,
}

/// How pods are ordered and gated: the plugins of `QueueSort` and `PreEnqueue`.
pub trait Policy {
    fn key(&self, pod: &PodInfo, added: Instant) -> QueueKey;
    /// The name of the plugin that does not let the pod in.
    fn gated_by(&self, pod: &PodInfo) -> Option<&'static str>;
    /// A plugin of the pod's profile by name.
    fn plugin(&self, pod: &PodInfo, name: &str) -> Option<&Arc<dyn Plugin>>;
}

/// See the module's documentation.
pub struct Queue<P> {
    policy: P,
    initial_backoff: Duration,
    max_backoff: Duration,
    pods: HashMap<Arc<str>, Queued>,
    active: BTreeMap<Place, Arc<str>>,
    backing_off: BTreeMap<(Instant, u64), Arc<str>>,
    unschedulable: HashSet<Arc<str>>,
    gated: usize,
    sequence: u64,
    /// How many events have come.
    events: u64,
    /// The last of them, as far back as the pod that is in flight for longest needs them.
    kept: VecDeque<KeptEvent>,
    /// How many pods are in flight since so many events.
    in_flight: BTreeMap<u64, usize>,
    next_flush: Instant,
}

/// How many pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

impl<P: Policy> Queue<P> {
    pub fn new(policy: P, initial_backoff: Duration, max_backoff: Duration, now: Instant) -> Self {
        Queue {
            policy,
            initial_backoff,
            max_backoff,
            pods: HashMap::default(),
            active: BTreeMap::new(),
            backing_off: BTreeMap::new(),
            unschedulable: HashSet::default(),
            gated: 0,
            sequence: 0,
            events: 0,
            kept: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_flush: now + FLUSH_INTERVAL,
        }
    }

    pub fn policy(&self) -> &P {
        &self.policy
    }

    pub fn lengths(&self) -> Lengths {
        Lengths {
            active: self.active.len(),
            backoff: self.backing_off.len(),
            unschedulable: self.unschedulable.len(),
            gated: self.gated,
        }
    }

    /// The pod as last seen.
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid).map(|queued| &queued.pod)
    }

    /// How often the pod was tried, and when it was first seen.
    pub fn history(&self, uid: &str) -> Option<(u32, Instant)> {
        self.pods.get(uid).map(|queued| (queued.attempts + queued.errors, queued.first_seen))
    }

    /// All pods in the queue.
    pub fn uids(&self) -> Vec<Arc<str>> {
        self.pods.keys().cloned().collect()
    }

    /// Takes the pod out of whatever list it is in; its state must be set next.
    fn leave(&mut self, uid: &str) {
        let Some(state) = self.pods.get(uid).map(|queued| queued.state) else { return };
        match state {
            State::Active(place) => {
                self.active.remove(&place);
            }
            State::BackingOff(until, number) => {
                self.backing_off.remove(&(until, number));
            }
            State::Unschedulable(_) => {
                self.unschedulable.remove(uid);
            }
            State::Gated => self.gated -= 1,
            State::InFlight(since) => self.landed(since),
            State::New => {}
        }
    }

    fn enter(&mut self, uid: &Arc<str>, state: State) {
        self.leave(uid);
        match state {
            State::Active(place) => {
                self.active.insert(place, uid.clone());
            }
            State::BackingOff(until, number) => {
                self.backing_off.insert((until, number), uid.clone());
            }
            State::Unschedulable(_) => {
                self.unschedulable.insert(uid.clone());
            }
            State::Gated => self.gated += 1,
            State::InFlight(since) => *self.in_flight.entry(since).or_default() += 1,
            State::New => {}
        }
        if let Some(queued) = self.pods.get_mut(uid) {
            queued.state = state;
        }
    }

    /// A pod is no longer in flight: what was kept for it alone goes.
    fn landed(&mut self, since: u64) {
        if let Some(count) = self.in_flight.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&since);
            }
        }
        let oldest = self.in_flight.first_key_value().map_or(self.events, |(since, _)| *since);
        let needed = usize::try_from(self.events - oldest).unwrap_or(usize::MAX);
        self.kept.drain(..self.kept.len().saturating_sub(needed));
    }

    fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Into the active queue, unless a plugin gates the pod.
    fn activate(&mut self, uid: &Arc<str>) {
        let number = self.number();
        let Some(queued) = self.pods.get_mut(uid) else { return };
        if let Some(gate) = self.policy.gated_by(&queued.pod) {
            queued.rejected_by = vec![gate];
            return self.enter(uid, State::Gated);
        }
        // In line since its last attempt, so that pods that become active together keep their order.
        let key = self.policy.key(&queued.pod, queued.failed.unwrap_or(queued.first_seen));
        self.enter(uid, State::Active((key, number)));
    }

    /// A pod that waits for a node was seen for the first time, or changed.
    pub fn upsert(&mut self, pod: Arc<PodInfo>, now: Instant) {
        let uid = pod.uid.clone();
        let Some(queued) = self.pods.get_mut(&uid) else {
            let queued = Queued {
                pod,
                state: State::New,
                attempts: 0,
                errors: 0,
                failed: None,
                rejected_by: Vec::new(),
                helped: false,
                first_seen: now,
            };
            self.pods.insert(uid.clone(), queued);
            return self.activate(&uid);
        };
        let matters = !Arc::ptr_eq(&queued.pod.template, &pod.template) || queued.pod.labels != pod.labels;
        queued.pod = pod;
        if !matters {
            return;
        }
        match queued.state {
            State::InFlight(_) => queued.helped = true,
            State::BackingOff(..) | State::New => {}
            State::Active(_) | State::Gated => self.activate(&uid),
            State::Unschedulable(_) => self.retry(&uid, now),
        }
    }

    /// The pod is gone, or has a node.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.leave(uid);
        self.pods.remove(uid).map(|queued| queued.pod)
    }

    /// The next pod to try. When none is active, one that backs off because it was unschedulable: there is
    /// nothing better to do (KEP-5142).
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.flush_backoff(now);
        let uid = match self.active.first_key_value() {
            Some((_, uid)) => uid.clone(),
            None => self.backing_off.values().find(|uid| self.pods.get(*uid).is_some_and(|q| q.errors == 0))?.clone(),
        };
        self.enter(&uid, State::InFlight(self.events));
        let queued = self.pods.get_mut(&uid)?;
        queued.helped = false;
        Some(queued.pod.clone())
    }

    /// An attempt failed; `rejected_by`: the plugins that objected.
    pub fn failed(&mut self, uid: &str, cause: Cause, rejected_by: Vec<&'static str>, cluster: &Cluster, now: Instant) {
        let Some(queued) = self.pods.get_mut(uid) else { return };
        let uid = queued.pod.uid.clone();
        queued.failed = Some(now);
        queued.rejected_by = rejected_by;
        match cause {
            Cause::Unschedulable => {
                queued.attempts += 1;
                queued.errors = 0;
            }
            Cause::Error => queued.errors += 1,
        }
        let helped = |queued: &Queued| queued.helped || self.missed_help(queued, cluster);
        if cause == Cause::Error || self.pods.get(&uid).is_some_and(helped) {
            self.retry(&uid, now);
        } else {
            self.enter(&uid, State::Unschedulable(now));
        }
    }

    /// What came while the pod was in flight could help it: nobody knew then who would object.
    fn missed_help(&self, queued: &Queued, cluster: &Cluster) -> bool {
        let State::InFlight(since) = queued.state else { return false };
        let came = usize::try_from(self.events - since).unwrap_or(usize::MAX);
        let Some(first) = self.kept.len().checked_sub(came) else { return true };
        self.kept.iter().skip(first).any(|event| match event.over(cluster) {
            Some(event) => self.helps(queued, &event),
            None => queued.rejected_by.is_empty(),
        })
    }

    /// Whether an event could make a plugin that objected to the pod change its mind.
    fn helps(&self, queued: &Queued, event: &Event<'_>) -> bool {
        queued.rejected_by.is_empty()
            || matches!(event, Event::Flush)
            || queued.rejected_by.iter().any(|name| {
                let plugin = self.policy.plugin(&queued.pod, name);
                plugin.is_some_and(|plugin| plugin.queueing_hint(&queued.pod, event))
            })
    }

    /// How long a pod waits after its last failure.
    fn backoff(&self, queued: &Queued) -> Duration {
        let failures = if queued.errors > 0 { queued.errors } else { queued.attempts };
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = self.initial_backoff.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        doubled.min(self.max_backoff)
    }

    /// To be tried again, but not before its back-off is over.
    fn retry(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(queued) = self.pods.get(uid) else { return };
        let until = queued.failed.map_or(now, |failed| failed + self.backoff(queued));
        if until <= now {
            return self.activate(uid);
        }
        let number = self.number();
        self.enter(uid, State::BackingOff(until, number));
    }

    /// Something happened: those whose objectors may change their minds are tried again.
    pub fn happened(&mut self, event: &Event<'_>, now: Instant) {
        self.events += 1;
        if !self.in_flight.is_empty() {
            if self.kept.len() == MAX_KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(KeptEvent::from(event));
        }
        let helps = |uid: &&Arc<str>| self.pods.get(*uid).is_some_and(|queued| self.helps(queued, event));
        let again: Vec<_> = self.unschedulable.iter().filter(helps).cloned().collect();
        for uid in again {
            self.retry(&uid, now);
        }
    }

    fn flush_backoff(&mut self, now: Instant) {
        while let Some(((until, _), uid)) = self.backing_off.first_key_value() {
            if *until > now {
                return;
            }
            let uid = uid.clone();
            self.activate(&uid);
        }
    }

    /// Brings in what has waited long enough.
    pub fn flush(&mut self, now: Instant) {
        self.flush_backoff(now);
        if now < self.next_flush {
            return;
        }
        self.next_flush = now + FLUSH_INTERVAL;
        let long = |q: &Queued| matches!(q.state, State::Unschedulable(since) if now - since >= MAX_UNSCHEDULABLE);
        let waiting = self.unschedulable.iter();
        let due: Vec<_> = waiting.filter(|uid| self.pods.get(*uid).is_some_and(long)).cloned().collect();
        for uid in due {
            self.retry(&uid, now);
        }
    }

    /// When [`flush`](Self::flush) has something to do next; `None`: nothing waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        let backoff = self.backing_off.first_key_value().map(|((until, _), _)| *until);
        let flush = (!self.unschedulable.is_empty()).then_some(self.next_flush);
        [backoff, flush].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
