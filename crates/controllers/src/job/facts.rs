//! What a Job's spec says about one of its pods: whether it counts as failed, which index it is, what the failure
//! policy makes of it.
use super::count;
use crate::pods;
use client::Key;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};

pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often earlier pods of the same index failed; the second counts those a policy ignored.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const INDEX_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// What the first matching rule of a pod failure policy says of a failed pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// `None` when no rule matches: the failure is counted.
    pub action: Option<String>,
    /// Why the job fails, if it does.
    pub message: Option<String>,
}

impl Verdict {
    pub fn is_counted(&self) -> bool {
        self.action.as_deref() != Some("Ignore")
    }
}

/// A Job's spec, asked about pods.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub spec: &'a JobSpec,
}

impl Facts<'_> {
    pub fn is_indexed(self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    pub fn is_per_index(self) -> bool {
        self.is_indexed() && self.spec.backoff_limit_per_index.is_some()
    }

    pub fn completions(self) -> i32 {
        self.spec.completions.unwrap_or(0)
    }

    /// Whether pods that are going are replaced only when they have gone.
    pub fn waits_for_failure(self) -> bool {
        self.spec.pod_replacement_policy.as_deref().unwrap_or(if self.spec.pod_failure_policy.is_some() {
            "Failed"
        } else {
            "TerminatingOrFailed"
        }) == "Failed"
    }

    /// Whether the pod failed, or is being deleted before it could end.
    pub fn is_failed(self, pod: &Pod) -> bool {
        match pods::phase(pod) {
            "Failed" => true,
            "Succeeded" => false,
            _ => !self.waits_for_failure() && pod.metadata.deletion_timestamp.is_some(),
        }
    }

    /// The pod's index, if it is one of the job's.
    pub fn index(self, pod: &Pod) -> Option<i32> {
        annotated(pod, INDEX).filter(|index| (0..self.completions()).contains(index))
    }

    /// Whether the pod is still to be counted, if it ended.
    pub fn is_tracked(self, pod: &Pod) -> bool {
        count::has_finalizer(pod) && (!self.is_indexed() || self.index(pod).is_some())
    }

    /// What the pod failure policy says of a failed pod.
    pub fn verdict(self, pod: &Pod) -> Verdict {
        let rules = self.spec.pod_failure_policy.iter().flat_map(|policy| policy.rules.iter()).enumerate();
        for (at, rule) in rules {
            if let Some(why) = matching(rule, pod) {
                let message = format!("{why} matching {} rule at index {at}", rule.action);
                let message = Some(message).filter(|_| rule.action == "FailJob");
                return Verdict { action: Some(rule.action.clone()), message };
            }
        }
        Verdict::default()
    }

    /// Whether the pod's failure is the last its index may have.
    pub fn is_index_failed(self, pod: &Pod) -> bool {
        let Some(limit) = self.spec.backoff_limit_per_index.filter(|_| self.is_failed(pod)) else { return false };
        let verdict = self.verdict(pod);
        verdict.action.as_deref() == Some("FailIndex") || (verdict.is_counted() && failures(pod) >= limit)
    }

    /// The failure counts of the pod that replaces `failed`, or of an index's first pod.
    pub fn failures_after(self, failed: Option<&Pod>) -> (i32, i32) {
        let Some(failed) = failed else { return (0, 0) };
        let (counted, ignored) = (failures(failed), annotated(failed, INDEX_IGNORED).unwrap_or(0));
        if self.verdict(failed).is_counted() { (counted + 1, ignored) } else { (counted, ignored + 1) }
    }
}

fn annotated(pod: &Pod, name: &str) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(name)?.parse().ok()
}

fn failures(pod: &Pod) -> i32 {
    annotated(pod, INDEX_FAILURES).unwrap_or(0)
}

/// All failures of the pod's index before it, the ignored ones too.
pub fn all_failures(pod: &Pod) -> i32 {
    failures(pod) + annotated(pod, INDEX_IGNORED).unwrap_or(0)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    })
}

/// Why the rule matches, in upstream's words.
fn matching(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let key = Key::of(pod);
    if let Some(wanted) = &rule.on_exit_codes {
        let (container, code) = containers(pod).find_map(|container| exit_code(container, wanted))?;
        return Some(format!("Container {container} for pod {key} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.iter().flatten();
    let kind = patterns.into_iter().find(|pattern| {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        pods::condition(pod, &pattern.type_).is_some_and(|condition| condition.status == wanted)
    })?;
    Some(format!("Pod {key} has condition {}", kind.type_))
}

fn exit_code<'a>(
    container: &'a ContainerStatus,
    wanted: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a str, i32)> {
    if wanted.container_name.as_ref().is_some_and(|name| *name != container.name) {
        return None;
    }
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let is_listed = wanted.values.contains(&code);
    let matches = code != 0 && if wanted.operator == "NotIn" { !is_listed } else { is_listed };
    matches.then_some((container.name.as_str(), code))
}

/// When a pod ended: its last container did, it became unready, or it was asked to go.
pub fn ended(pod: &Pod) -> Option<Timestamp> {
    let finished = containers(pod)
        .filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0));
    let unready = || pods::condition(pod, "Ready").filter(|ready| ready.status == "False");
    let asked = || {
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        Some(at - SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0)))
    };
    finished
        .max()
        .or_else(|| unready().and_then(|ready| ready.last_transition_time.as_ref().map(|time| time.0)))
        .or_else(asked)
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Restarts of a pod's containers, if it has not ended.
pub fn restarts(pod: &Pod) -> i32 {
    if !matches!(pods::phase(pod), "Running" | "Pending") {
        return 0;
    }
    containers(pod).map(|container| container.restart_count).sum()
}
