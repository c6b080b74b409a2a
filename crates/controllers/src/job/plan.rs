//! What is to be done about a Job: count what ended, decide whether it is over, start and stop pods.
use super::{count, indexes};
use crate::{
    claim, pods,
    runtime::{Plan, Write, owners},
};
use apimachinery::labels;
use client::{Key, events::reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus, PodFailurePolicyRule},
        core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Most pods started or stopped in one go.
const BURST: usize = 500;
/// First and longest pause after a failed pod.
const BACKOFF_S: i64 = 10;
const MAX_BACKOFF_S: i64 = 600;

/// What there is: the job and the pods it controls or may adopt.
pub struct View {
    pub job: Arc<Job>,
    pub pods: Vec<Arc<Pod>>,
}

struct Work<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    status: JobStatus,
    active: Vec<Arc<Pod>>,
    terminating: usize,
    plan: Plan,
    now: Timestamp,
}

fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn holds(status: &JobStatus, kind: &str) -> bool {
    condition(status, kind).is_some_and(|condition| condition.status == "True")
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
    let selector = spec.selector.as_ref().map(labels::from_label_selector);
    let Some(Ok(selector)) = selector.filter(|_| !is_finished(job) && spec.managed_by.is_none()) else {
        // Over: only finalizers may be left to take away.
        let tracked = view.pods.iter().filter(|pod| {
            count::has_finalizer(pod) && owners::is_controlled_by(&pod.metadata, job.metadata.uid.as_deref())
        });
        plan.batch(tracked.map(|pod| count::release(pod)).collect());
        return plan;
    };
    let claimed = claim::claim(&mut plan, job, &selector, &view.pods);
    if job.metadata.deletion_timestamp.is_some() {
        plan.batch(claimed.iter().filter(|pod| count::has_finalizer(pod)).map(|pod| count::release(pod)).collect());
        return plan;
    }
    let active: Vec<_> = claimed.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let terminating = claimed.iter().filter(|pod| pods::is_terminating(pod)).count();
    let status = job.status.clone().unwrap_or_default();
    let mut work = Work { job, spec, status, active, terminating, plan, now };
    work.run(&claimed);
    work.plan
}

impl Work<'_> {
    fn run(&mut self, claimed: &[Arc<Pod>]) {
        let suspended = self.spec.suspend == Some(true);
        if self.status.start_time.is_none() && !suspended {
            self.status.start_time = Some(Time(self.now));
        }
        let rules = self.spec.pod_failure_policy.clone().map(|policy| policy.rules).unwrap_or_default();
        let action = |pod: &Pod| rules.iter().find(|rule| applies(rule, pod)).map(|rule| rule.action.clone());
        let over = holds(&self.status, "FailureTarget") || holds(&self.status, "SuccessCriteriaMet");
        let tally = count::count(&mut self.status, claimed, over, |pod| action(pod).as_deref() == Some("Ignore"));
        let fatal = claimed.iter().find(|pod| count::is_failed(pod) && action(pod).as_deref() == Some("FailJob"));
        let done_indexes = self.note_indexes(claimed);
        self.decide(&tally, claimed, fatal.map(|pod| &**pod), &done_indexes, suspended);
        if holds(&self.status, "FailureTarget") || holds(&self.status, "SuccessCriteriaMet") {
            self.stop(self.active.clone());
            self.finish(&tally);
        } else if suspended {
            self.stop(self.active.clone());
        } else {
            self.manage(&tally, claimed, &done_indexes);
        }
        self.write(&tally);
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// Indexes that have succeeded; also put into the status.
    fn note_indexes(&mut self, claimed: &[Arc<Pod>]) -> BTreeSet<i32> {
        if !self.is_indexed() {
            return BTreeSet::new();
        }
        let known = self.status.completed_indexes.clone().unwrap_or_default();
        let mut done = indexes::parse(&known, self.spec.completions.unwrap_or(0));
        done.extend(claimed.iter().filter(|pod| count::is_succeeded(pod)).filter_map(|pod| index(pod)));
        self.status.completed_indexes = Some(indexes::format(&done)).filter(|text| !text.is_empty());
        done
    }

    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let all = self.status.conditions.get_or_insert_default();
        if all.iter().any(|known| known.type_ == kind && known.status == status) {
            return;
        }
        all.retain(|known| known.type_ != kind);
        all.push(JobCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        });
    }

    /// Whether the job has failed or succeeded, or is suspended.
    fn decide(
        &mut self,
        tally: &count::Tally,
        claimed: &[Arc<Pod>],
        fatal: Option<&Pod>,
        done: &BTreeSet<i32>,
        suspended: bool,
    ) {
        let about = reference(self.job);
        if holds(&self.status, "FailureTarget") || holds(&self.status, "SuccessCriteriaMet") {
            return;
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let on_failure =
            self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
        let restarts: i32 = if on_failure { claimed.iter().map(|pod| restarts(pod)).sum() } else { 0 };
        let running_s = self.status.start_time.as_ref().map_or(0, |start| self.now.duration_since(start.0).as_secs());
        let deadline = self.spec.active_deadline_seconds.filter(|_| !suspended);
        let succeeded = match self.spec.completions {
            None => tally.succeeded > 0 && self.active.is_empty() && self.terminating == 0,
            Some(wanted) if self.is_indexed() => i32::try_from(done.len()).unwrap_or(i32::MAX) >= wanted,
            Some(wanted) => tally.succeeded >= wanted,
        };
        if let Some(pod) = fatal {
            let message =
                format!("Pod {} has failed with a state that the job's pod failure policy matches", Key::of(pod));
            self.set("FailureTarget", "True", "PodFailurePolicy", &message);
        } else if tally.failed > limit || (restarts > 0 && restarts >= limit) {
            let message = "Job has reached the specified backoff limit";
            self.set("FailureTarget", "True", "BackoffLimitExceeded", message);
        } else if deadline.is_some_and(|deadline| running_s >= deadline) {
            self.set("FailureTarget", "True", "DeadlineExceeded", "Job was active longer than specified deadline");
        } else if succeeded {
            let message = "Reached expected number of succeeded pods";
            self.set("SuccessCriteriaMet", "True", "CompletionsReached", message);
        } else if suspended && !holds(&self.status, "Suspended") {
            self.set("Suspended", "True", "JobSuspended", "Job suspended");
            self.status.start_time = None;
            self.plan.normal(&about, "Suspended", "Job suspended");
        } else if !suspended && holds(&self.status, "Suspended") {
            self.set("Suspended", "False", "JobResumed", "Job resumed");
            self.status.start_time = Some(Time(self.now));
            self.plan.normal(&about, "Resumed", "Job resumed");
        }
        if let Some(deadline) = deadline
            && let Ok(left) = u64::try_from(deadline - running_s)
        {
            self.plan.again_in(Duration::from_secs(left.max(1)));
        }
    }

    fn stop(&mut self, pods: Vec<Arc<Pod>>) {
        let about = reference(self.job);
        let deletions = pods.iter().take(BURST).map(|pod| {
            let message = format!("Deleted pod: {}", Key::of(&**pod).name);
            let deletion = Write::delete(&**pod, None).told(&about, "SuccessfulDelete", message);
            deletion.told_failed(&about, "FailedDelete", "Error deleting: {error}")
        });
        self.plan.batch(deletions.collect());
    }

    /// The final condition, once no pod is left that could still change the numbers.
    fn finish(&mut self, tally: &count::Tally) {
        if !self.active.is_empty() || self.terminating > 0 || !tally.is_settled {
            return;
        }
        let about = reference(self.job);
        if let Some(target) = condition(&self.status, "FailureTarget").cloned() {
            let (reason, message) = (target.reason.unwrap_or_default(), target.message.unwrap_or_default());
            self.set("Failed", "True", &reason, &message);
            let reason = match reason.as_str() {
                "BackoffLimitExceeded" => "BackoffLimitExceeded",
                "DeadlineExceeded" => "DeadlineExceeded",
                _ => "PodFailurePolicy",
            };
            self.plan.warning(&about, reason, message);
        } else {
            self.set("Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods");
            self.status.completion_time = Some(Time(self.now));
            self.plan.normal(&about, "Completed", "Job completed");
        }
    }

    /// Have as many pods active as wanted.
    fn manage(&mut self, tally: &count::Tally, claimed: &[Arc<Pod>], done: &BTreeSet<i32>) {
        let parallelism = self.spec.parallelism.unwrap_or(1).max(0);
        let active = i32::try_from(self.active.len()).unwrap_or(i32::MAX);
        let wanted = match self.spec.completions {
            None if tally.succeeded > 0 => active.min(parallelism),
            None => parallelism,
            Some(completions) => (completions - tally.succeeded).clamp(0, parallelism),
        };
        let mut surplus = self.superfluous(done);
        let spare = usize::try_from(active - wanted).unwrap_or(0).saturating_sub(surplus.len());
        if spare > 0 {
            let rest: Vec<_> = self.active.iter().filter(|pod| !surplus.contains(pod)).cloned().collect();
            surplus.extend(crate::replicaset::victims(rest, spare, self.now));
        }
        if !surplus.is_empty() {
            return self.stop(surplus);
        }
        // Pods on their way out are waited for, if the job says so.
        let only_failed = self.spec.pod_replacement_policy.as_deref() == Some("Failed");
        let leaving = if only_failed { i32::try_from(self.terminating).unwrap_or(i32::MAX) } else { 0 };
        let Ok(missing) = usize::try_from(wanted - active - leaving) else { return };
        if missing == 0 {
            return;
        }
        if let Some(pause) = pause(claimed, self.now) {
            return self.plan.again_in(pause);
        }
        self.start(missing.min(BURST), done);
    }

    /// Active pods whose index is done, taken twice, or out of range.
    fn superfluous(&self, done: &BTreeSet<i32>) -> Vec<Arc<Pod>> {
        if !self.is_indexed() {
            return Vec::new();
        }
        let mut taken = done.clone();
        let range = 0..self.spec.completions.unwrap_or(0);
        let extra = self.active.iter().filter(|pod| !index(pod).is_some_and(|i| range.contains(&i) && taken.insert(i)));
        extra.cloned().collect()
    }

    fn start(&mut self, count: usize, done: &BTreeSet<i32>) {
        let about = reference(self.job);
        let make = |pod: Pod| {
            Write::create(&pod).told(&about, "SuccessfulCreate", "Created pod: {name}").told_failed(
                &about,
                "FailedCreate",
                "Error creating: {error}",
            )
        };
        let writes = if self.is_indexed() {
            let taken: BTreeSet<i32> = self.active.iter().filter_map(|pod| index(pod)).collect();
            let free = (0..self.spec.completions.unwrap_or(0)).filter(|i| !done.contains(i) && !taken.contains(i));
            free.take(count).map(|index| make(self.pod(Some(index)))).collect()
        } else {
            (0..count).map(|_| make(self.pod(None))).collect()
        };
        self.plan.batch(writes);
    }

    fn pod(&self, index: Option<i32>) -> Pod {
        let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
        let mut pod = pods::from_template(&self.spec.template, namespace, owners::controller_reference(self.job));
        pod.metadata.finalizers.get_or_insert_default().push(count::FINALIZER.to_owned());
        let Some(index) = index else { return pod };
        let name = format!("{}-{index}", Key::of(self.job).name);
        pod.metadata.generate_name = Some(format!("{name}-"));
        pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
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

    fn write(&mut self, tally: &count::Tally) {
        let counted = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
        let over = holds(&self.status, "Complete") || holds(&self.status, "Failed");
        self.status.active = counted(self.active.len()).filter(|count| *count != 0 && !over);
        self.status.ready = counted(self.active.iter().filter(|pod| pods::is_ready(pod)).count());
        self.status.terminating = counted(self.terminating);
        if Some(&self.status) != self.job.status.as_ref() {
            let (metadata, spec) = (self.job.metadata.clone(), self.job.spec.clone());
            let job = Job { metadata, spec, status: Some(self.status.clone()) };
            self.plan.write(Write::replace_status(&job).or_gone());
        }
        self.plan.batch(tally.release.iter().map(|pod| count::release(pod)).collect());
    }
}

fn index(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

fn restarts(pod: &Pod) -> i32 {
    if !matches!(pods::phase(pod), "Running" | "Pending") {
        return 0;
    }
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    all.map(|container| container.restart_count).sum()
}

/// When a pod ended.
fn ended(pod: &Pod) -> Option<Timestamp> {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let finished = containers
        .filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0));
    finished.max().or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// How long to wait before the next pod: 10 s after a failure, doubling with each in a row.
fn pause(claimed: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let succeeded = claimed.iter().filter(|pod| count::is_succeeded(pod)).filter_map(|pod| ended(pod)).max();
    let mut failures: Vec<Timestamp> =
        claimed.iter().filter(|pod| count::is_failed(pod)).filter_map(|pod| ended(pod)).collect();
    failures.retain(|at| succeeded.is_none_or(|succeeded| *at > succeeded));
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(16);
    let pause = SignedDuration::from_secs((BACKOFF_S << doublings).min(MAX_BACKOFF_S));
    Duration::try_from(pause - now.duration_since(*last)).ok().filter(|left| !left.is_zero())
}

/// Whether a rule of the pod failure policy matches a failed pod.
fn applies(rule: &PodFailurePolicyRule, pod: &Pod) -> bool {
    let codes: BTreeMap<&str, i32> = pod
        .status
        .iter()
        .flat_map(|status| {
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
        })
        .filter_map(|c| Some((c.name.as_str(), c.state.as_ref()?.terminated.as_ref()?.exit_code)))
        .collect();
    if let Some(wanted) = &rule.on_exit_codes {
        let named = |name: &str| wanted.container_name.as_deref().is_none_or(|wanted| wanted == name);
        return codes.iter().any(|(name, code)| {
            let listed = wanted.values.contains(code);
            *code != 0 && named(name) && if wanted.operator == "NotIn" { !listed } else { listed }
        });
    }
    let patterns = rule.on_pod_conditions.iter().flatten();
    patterns.into_iter().any(|pattern| {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        pods::condition(pod, &pattern.type_).is_some_and(|condition| condition.status == wanted)
    })
}
