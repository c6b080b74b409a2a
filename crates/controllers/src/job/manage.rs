//! Having the right pods: starting those that are missing, stopping those that are too many.
use super::{
    count,
    facts::{self, INDEX, INDEX_FAILURES, INDEX_IGNORED},
    plan::Work,
};
use crate::{
    pods,
    runtime::{Write, owners},
};
use client::{Key, events::reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Most pods started or stopped in one go.
const BURST: usize = 500;
/// First and longest pause after a failed pod.
const BACKOFF_S: i64 = 10;
const MAX_BACKOFF_S: i64 = 600;

/// What is left of the pause after so many failures in a row, of which the last was at `last`.
pub fn left_of_pause(failures: usize, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let pause = SignedDuration::from_secs((BACKOFF_S << doublings).min(MAX_BACKOFF_S));
    Duration::try_from(pause - now.duration_since(last)).ok().filter(|left| !left.is_zero())
}

impl Work<'_> {
    /// Stop every pod: the job is over.
    pub(super) fn stop_all(&mut self) {
        let active = std::mem::take(&mut self.active);
        self.terminating += active.len();
        let deletions = active.iter().map(|pod| self.deletion(pod)).collect();
        self.plan.batch(deletions);
    }

    fn deletion(&self, pod: &Pod) -> Write {
        let about = reference(self.job);
        let message = format!("Deleted pod: {}", Key::of(pod).name);
        let deletion = Write::delete(pod, None).told(&about, "SuccessfulDelete", message);
        deletion.told_failed(&about, "FailedDelete", "Error deleting: {error}")
    }

    /// Stop pods that are not wanted; they did not fail, so they are not counted.
    fn stop(&mut self, surplus: &[Arc<Pod>]) {
        let surplus = &surplus[..surplus.len().min(BURST)];
        self.active.retain(|pod| !surplus.contains(pod));
        self.claimed.retain(|pod| !surplus.contains(pod));
        self.terminating += surplus.len();
        let tracked = surplus.iter().filter(|pod| count::has_finalizer(pod));
        self.plan.batch(tracked.map(|pod| count::release(pod)).collect());
        let deletions = surplus.iter().map(|pod| self.deletion(pod)).collect();
        self.plan.batch(deletions);
    }

    /// Have as many pods active as wanted.
    pub(super) fn manage(&mut self) {
        if self.is_suspended() {
            return self.stop(&self.active.clone());
        }
        let parallelism = self.spec.parallelism.unwrap_or(1).max(0);
        let active = i32::try_from(self.active.len()).unwrap_or(i32::MAX);
        let wanted = match self.spec.completions {
            None if self.succeeded > 0 => active,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).clamp(0, parallelism),
        };
        let mut surplus = self.superfluous();
        let spare = usize::try_from(active - wanted).unwrap_or(0).saturating_sub(surplus.len());
        if spare > 0 {
            let rest: Vec<_> = self.active.iter().filter(|pod| !surplus.contains(pod)).cloned().collect();
            surplus.extend(crate::replicaset::victims(rest, spare, self.now));
        }
        if !surplus.is_empty() {
            return self.stop(&surplus);
        }
        // Pods on their way out are waited for, if the job says so.
        let leaving = if self.facts.waits_for_failure() { self.terminating } else { 0 };
        let leaving = i32::try_from(leaving).unwrap_or(i32::MAX);
        let Ok(missing @ 1..) = usize::try_from(wanted - active - leaving) else { return };
        if !self.facts.is_per_index()
            && let Some(pause) = self.pause()
        {
            return self.plan.again_in(pause);
        }
        self.start(missing.min(BURST));
    }

    /// Active pods whose index is taken twice or out of range.
    fn superfluous(&self) -> Vec<Arc<Pod>> {
        if !self.facts.is_indexed() {
            return Vec::new();
        }
        let mut taken = self.done.clone();
        let extra = self.active.iter().filter(|pod| !self.facts.index(pod).is_some_and(|index| taken.insert(index)));
        extra.cloned().collect()
    }

    fn start(&mut self, count: usize) {
        let about = reference(self.job);
        let make = |pod: Pod| {
            Write::create(&pod).told(&about, "SuccessfulCreate", "Created pod: {name}").told_failed(
                &about,
                "FailedCreate",
                "Error creating: {error}",
            )
        };
        let writes: Vec<Write> = if self.facts.is_indexed() {
            let ready = self.due(self.pending(count));
            ready.into_iter().map(|index| make(self.pod(Some(index)))).collect()
        } else {
            (0..count).map(|_| make(self.pod(None))).collect()
        };
        self.starts.extend(writes);
    }

    /// The first `count` indexes that nothing has come of yet.
    fn pending(&self, count: usize) -> Vec<i32> {
        let waits = self.facts.waits_for_failure();
        let occupied = self.claimed.iter().filter(|pod| pods::is_active(pod) || (waits && pods::is_terminating(pod)));
        let taken: BTreeSet<i32> = occupied.filter_map(|pod| self.facts.index(pod)).collect();
        let is_free = |index: &i32| !(self.done.contains(index) || self.lost.contains(index) || taken.contains(index));
        (0..self.facts.completions()).filter(is_free).take(count).collect()
    }

    /// Those of `indexes` whose own pause is over; if there is none, look again when the first is.
    fn due(&mut self, indexes: Vec<i32>) -> Vec<i32> {
        let now = self.now;
        let pause = |index: &i32| {
            let failed = self.held.get(index)?;
            let failures = usize::try_from(facts::all_failures(failed)).unwrap_or(0) + 1;
            left_of_pause(failures, facts::ended(failed)?, now)
        };
        let (ready, waiting): (Vec<i32>, Vec<i32>) = indexes.into_iter().partition(|index| pause(index).is_none());
        let first = waiting.iter().filter_map(pause).min();
        if let Some(first) = first {
            self.plan.again_in(first);
        }
        ready
    }

    fn pod(&self, index: Option<i32>) -> Pod {
        let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
        let mut pod = pods::from_template(&self.spec.template, namespace, owners::controller_reference(self.job));
        let finalizers = pod.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == count::FINALIZER) {
            finalizers.push(count::FINALIZER.to_owned());
        }
        let Some(index) = index else { return pod };
        let name = format!("{}-{index}", Key::of(self.job).name);
        pod.metadata.generate_name = Some(format!("{name}-"));
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(INDEX.to_owned(), index.to_string());
        if self.facts.is_per_index() {
            let (failures, ignored) = self.facts.failures_after(self.held.get(&index).map(|pod| &**pod));
            annotations.insert(INDEX_FAILURES.to_owned(), failures.to_string());
            if ignored > 0 {
                annotations.insert(INDEX_IGNORED.to_owned(), ignored.to_string());
            }
        }
        pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
        let spec = pod.spec.get_or_insert_default();
        spec.hostname = Some(name);
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            let env = container.env.get_or_insert_default();
            if env.iter().any(|variable| variable.name == "JOB_COMPLETION_INDEX") {
                continue;
            }
            let field = ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: format!("metadata.labels['{INDEX}']"),
            };
            let source = EnvVarSource { field_ref: Some(field), ..Default::default() };
            env.push(EnvVar { name: "JOB_COMPLETION_INDEX".to_owned(), value_from: Some(source), value: None });
        }
        pod
    }
}
