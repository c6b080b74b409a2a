//! What is to be done about a Job: decide whether it is over, have the right pods, count what ended, write the status.
use super::{
    conditions::{self, holds},
    count,
    facts::{self, Facts},
    indexes,
};
use crate::{
    claim, pods,
    runtime::{Plan, Write, owners},
};
use apimachinery::labels;
use client::events::reference;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus, SuccessPolicyRule},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Who manages a job that names nobody.
const OURSELVES: &str = "kubernetes.io/job-controller";

/// What there is: the job and the pods it controls or may adopt.
pub struct View {
    pub job: Arc<Job>,
    pub pods: Vec<Arc<Pod>>,
}

/// A plan in the making.
pub(super) struct Work<'a> {
    pub job: &'a Job,
    pub spec: &'a JobSpec,
    pub facts: Facts<'a>,
    pub status: JobStatus,
    pub claimed: Vec<Arc<Pod>>,
    pub active: Vec<Arc<Pod>>,
    pub terminating: usize,
    pub succeeded: i32,
    pub failed: i32,
    /// Indexes that have succeeded, and those that failed for good.
    pub done: BTreeSet<i32>,
    pub lost: BTreeSet<i32>,
    /// The last failed pod of each index that is to be tried again.
    pub held: BTreeMap<i32, Arc<Pod>>,
    /// Pods to start, after all else.
    pub starts: Vec<Write>,
    pub plan: Plan,
    pub now: Timestamp,
}

/// Whether the job is over.
pub fn is_finished(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| holds(status, "Complete") || holds(status, "Failed"))
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let job = &*view.job;
    let Some(spec) = &job.spec else { return plan };
    if spec.managed_by.as_deref().is_some_and(|manager| manager != OURSELVES) {
        return plan;
    }
    let selector = spec.selector.as_ref().map(labels::from_label_selector);
    let Some(Ok(selector)) = selector.filter(|_| !is_finished(job)) else {
        // Over: only finalizers may be left to take away.
        let tracked = view.pods.iter().filter(|pod| {
            count::has_finalizer(pod) && owners::is_controlled_by(&pod.metadata, job.metadata.uid.as_deref())
        });
        plan.batch(tracked.map(|pod| count::release(pod)).collect());
        return plan;
    };
    let claimed = claim::claim_tracked(&mut plan, job, &selector, &view.pods, count::FINALIZER);
    if job.metadata.deletion_timestamp.is_some() {
        plan.batch(claimed.iter().filter(|pod| count::has_finalizer(pod)).map(|pod| count::release(pod)).collect());
        return plan;
    }
    let active: Vec<_> = claimed.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let terminating = claimed.iter().filter(|pod| pods::is_terminating(pod)).count();
    let status = job.status.clone().unwrap_or_default();
    let facts = Facts { spec };
    let (succeeded, failed) = count::tally(&status, &claimed, facts);
    let mut work = Work {
        job,
        spec,
        facts,
        status,
        claimed,
        active,
        terminating,
        succeeded,
        failed,
        done: BTreeSet::new(),
        lost: BTreeSet::new(),
        held: BTreeMap::new(),
        starts: Vec::new(),
        plan,
        now,
    };
    work.run();
    work.plan
}

impl Work<'_> {
    fn run(&mut self) {
        if self.status.start_time.is_none() && !self.is_suspended() {
            self.status.start_time = Some(Time(self.now));
        }
        self.note_indexes();
        let mut target = self.target();
        if target.is_some() {
            self.stop_all();
        } else {
            self.manage();
            let is_complete = match self.spec.completions {
                None => self.succeeded > 0 && self.active.is_empty(),
                Some(wanted) => self.succeeded >= wanted && self.active.is_empty(),
            };
            if is_complete {
                let message = "Reached expected number of succeeded pods";
                target = Some(self.condition("SuccessCriteriaMet", "CompletionsReached", message));
            } else {
                self.note_suspension();
            }
        }
        self.track(target);
        // Pods that cannot be made (a quota, a namespace that goes away) do not hold up what has ended: its finalizers
        // would keep it, and the namespace, forever.
        let starts = std::mem::take(&mut self.starts);
        self.plan.batch(starts);
    }

    pub fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn condition(&self, kind: &str, reason: &str, message: &str) -> JobCondition {
        conditions::make(kind, "True", reason, message, self.now)
    }

    fn note_indexes(&mut self) {
        if !self.facts.is_indexed() {
            return;
        }
        let completions = self.facts.completions();
        let tracked: Vec<(i32, Arc<Pod>)> = self
            .claimed
            .iter()
            .filter(|pod| count::has_finalizer(pod))
            .filter_map(|pod| Some((self.facts.index(pod)?, pod.clone())))
            .collect();
        self.done = indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default(), completions);
        self.done.extend(tracked.iter().filter(|(_, pod)| count::is_succeeded(pod)).map(|(index, _)| *index));
        self.succeeded = i32::try_from(self.done.len()).unwrap_or(i32::MAX);
        if !self.facts.is_per_index() {
            return;
        }
        self.lost = indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default(), completions);
        self.lost.extend(tracked.iter().filter(|(_, pod)| self.facts.is_index_failed(pod)).map(|(index, _)| *index));
        let running: BTreeSet<i32> = self.active.iter().filter_map(|pod| self.facts.index(pod)).collect();
        for (index, pod) in tracked.into_iter().filter(|(_, pod)| self.facts.is_failed(pod)) {
            if self.done.contains(&index) || self.lost.contains(&index) || running.contains(&index) {
                continue;
            }
            let rank = |pod: &Pod| (facts::all_failures(pod), facts::ended(pod));
            if self.held.get(&index).is_none_or(|held| rank(held) < rank(&pod)) {
                self.held.insert(index, pod);
            }
        }
    }

    /// The condition that says why the job is over, if it is: known already, or found now.
    fn target(&mut self) -> Option<JobCondition> {
        for kind in ["SuccessCriteriaMet", "FailureTarget"] {
            if let Some(known) = conditions::find(&self.status, kind).filter(|known| known.status == "True") {
                return Some(known.clone());
            }
        }
        let failed = self.claimed.iter().filter(|pod| self.facts.is_failed(pod));
        if let Some(message) = failed.filter_map(|pod| self.facts.verdict(pod).message).next() {
            return Some(self.condition("FailureTarget", "PodFailurePolicy", &message));
        }
        if self.failed > self.spec.backoff_limit.unwrap_or(6) || self.has_restarted_too_often() {
            let message = "Job has reached the specified backoff limit";
            return Some(self.condition("FailureTarget", "BackoffLimitExceeded", message));
        }
        if let Some(left) = self.time_left() {
            if left <= SignedDuration::ZERO {
                let message = "Job was active longer than specified deadline";
                return Some(self.condition("FailureTarget", "DeadlineExceeded", message));
            }
            self.plan.again_in(Duration::try_from(left).unwrap_or(Duration::from_secs(1)));
        }
        if !self.facts.is_indexed() {
            return None;
        }
        if self.spec.max_failed_indexes.is_some_and(|max| self.lost.len() > usize::try_from(max).unwrap_or(0)) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(self.condition("FailureTarget", "MaxFailedIndexesExceeded", message));
        }
        let ended = self.lost.len() + self.done.len();
        if !self.lost.is_empty() && ended >= usize::try_from(self.facts.completions()).unwrap_or(0) {
            return Some(self.condition("FailureTarget", "FailedIndexes", "Job has failed indexes"));
        }
        let rules = self.spec.success_policy.iter().flat_map(|policy| policy.rules.iter());
        let met = rules.enumerate().find(|(_, rule)| is_met(rule, &self.done, self.facts.completions()));
        met.map(|(at, _)| {
            self.condition("SuccessCriteriaMet", "SuccessPolicy", &format!("Matched rules at index {at}"))
        })
    }

    /// Restarts within pods count against the limit as well, if it is there that containers are restarted.
    fn has_restarted_too_often(&self) -> bool {
        let template = self.spec.template.spec.as_ref();
        if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let restarts: i32 = self.claimed.iter().map(|pod| facts::restarts(pod)).sum();
        restarts >= self.spec.backoff_limit.unwrap_or(6).max(1)
    }

    /// Until the active deadline.
    fn time_left(&self) -> Option<SignedDuration> {
        let deadline = self.spec.active_deadline_seconds.filter(|_| !self.is_suspended())?;
        let start = self.status.start_time.as_ref()?;
        Some(SignedDuration::from_secs(deadline) - self.now.duration_since(start.0))
    }

    fn note_suspension(&mut self) {
        let about = reference(self.job);
        if self.is_suspended() {
            let new = self.condition("Suspended", "JobSuspended", "Job suspended");
            if conditions::ensure(&mut self.status, new) {
                self.plan.normal(&about, "Suspended", "Job suspended");
            }
            // It has not started, until it is resumed: so its template may change (KEP-5440).
            self.status.start_time = None;
        } else {
            let new = conditions::make("Suspended", "False", "JobResumed", "Job resumed", self.now);
            if conditions::ensure(&mut self.status, new) {
                self.plan.normal(&about, "Resumed", "Job resumed");
                self.status.start_time = Some(Time(self.now));
            }
        }
    }

    /// Count what ended, write the status, let go of what is counted; and finish when nothing is left to come.
    fn track(&mut self, target: Option<JobCondition>) {
        let has_failed = target.as_ref().is_some_and(|target| target.type_ == "FailureTarget");
        let rules = count::Rules {
            facts: self.facts,
            is_over: target.is_some(),
            has_failed,
            held: self.held.values().filter_map(|pod| pod.metadata.uid.clone()).collect(),
        };
        let (release, is_settled) = count::track(&mut self.status, &self.claimed, &rules);
        if self.facts.is_indexed() {
            let text = indexes::format(&self.done);
            self.status.succeeded = Some(self.succeeded).filter(|count| *count != 0);
            self.status.completed_indexes = Some(text).filter(|text| !text.is_empty());
            self.status.failed_indexes = self.facts.is_per_index().then(|| indexes::format(&self.lost));
        }
        let counted = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        self.status.active = Some(counted(self.active.len())).filter(|count| *count != 0);
        self.status.ready = Some(counted(self.active.iter().filter(|pod| pods::is_ready(pod)).count()));
        self.status.terminating = Some(counted(self.terminating));
        let mut events = Plan::nothing();
        if let Some(target) = target {
            conditions::ensure(&mut self.status, target.clone());
            if is_settled && self.terminating == 0 && release.is_empty() {
                events = self.finish(&target);
            }
        }
        if Some(&self.status) != self.job.status.as_ref() {
            let (metadata, spec) = (self.job.metadata.clone(), self.job.spec.clone());
            let job = Job { metadata, spec, status: Some(self.status.clone()) };
            self.plan.write(Write::replace_status(&job).or_gone());
        }
        self.plan.steps.append(&mut events.steps);
        self.plan.batch(release.iter().map(|pod| count::release(pod)).collect());
    }

    /// The final condition, and what is said of it.
    fn finish(&mut self, target: &JobCondition) -> Plan {
        let mut events = Plan::nothing();
        let about = reference(self.job);
        let (reason, message) = (target.reason.clone().unwrap_or_default(), target.message.clone().unwrap_or_default());
        if target.type_ == "FailureTarget" {
            let failed = self.condition("Failed", &reason, &message);
            conditions::ensure(&mut self.status, failed);
            events.warning(&about, failure_event(&reason), message);
            return events;
        }
        let complete = self.condition("Complete", &reason, &message);
        conditions::ensure(&mut self.status, complete);
        self.status.completion_time = Some(Time(self.now));
        if self.spec.completions.is_some_and(|wanted| self.status.succeeded.unwrap_or(0) > wanted) {
            let message = "Too many succeeded pods running after completion count reached";
            events.warning(&about, "TooManySucceededPods", message);
        }
        events.normal(&about, "Completed", "Job completed");
        events
    }

    /// Wait before the next pod: 10 s after a failure, doubling with each in a row.
    pub fn pause(&self) -> Option<Duration> {
        let ended = |is: &dyn Fn(&Pod) -> bool| -> Vec<Timestamp> {
            self.claimed.iter().filter(|pod| is(pod)).filter_map(|pod| facts::ended(pod)).collect()
        };
        let succeeded = ended(&count::is_succeeded).into_iter().max();
        let mut failures = ended(&|pod| self.facts.is_failed(pod));
        failures.retain(|at| succeeded.is_none_or(|succeeded| *at > succeeded));
        let last = failures.iter().max()?;
        super::manage::left_of_pause(failures.len(), *last, self.now)
    }
}

/// The reason of a failure as an event's, which is one of a fixed set.
fn failure_event(reason: &str) -> &'static str {
    const REASONS: [&str; 5] =
        ["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy", "MaxFailedIndexesExceeded", "FailedIndexes"];
    REASONS.into_iter().find(|known| *known == reason).unwrap_or("JobFailed")
}

/// Whether enough of the rule's indexes have succeeded.
fn is_met(rule: &SuccessPolicyRule, done: &BTreeSet<i32>, completions: i32) -> bool {
    let wanted = rule.succeeded_indexes.as_deref().map(|text| indexes::parse(text, completions));
    let succeeded = wanted.as_ref().map_or(done.len(), |wanted| wanted.intersection(done).count());
    match (rule.succeeded_count, &wanted) {
        (Some(count), _) => succeeded >= usize::try_from(count).unwrap_or(0),
        (None, Some(wanted)) => succeeded == wanted.len(),
        (None, None) => false,
    }
}
