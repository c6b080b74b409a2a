//! Counting a job's ended pods exactly once.
//!
//! An ended pod is first noted by UID in `uncountedTerminatedPods`, then loses its finalizer, and only
//! then is the note turned into a number: a crash at any point repeats a step without harm.
use crate::{pods, runtime::Write};
use client::Key;
use k8s_openapi::api::{
    batch::v1::{JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Most pods noted in one status.
const MAX_UNCOUNTED: usize = 500;

pub fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whether the pod counts as failed: it said so, or it is going before it could end.
pub fn is_failed(pod: &Pod) -> bool {
    pods::phase(pod) == "Failed"
}

pub fn is_succeeded(pod: &Pod) -> bool {
    pods::phase(pod) == "Succeeded"
}

/// What has been counted, with what is noted.
pub struct Tally {
    pub succeeded: i32,
    pub failed: i32,
    /// Whether everything that ended is in the numbers.
    pub is_settled: bool,
    /// Pods whose finalizer may go once the status is written.
    pub release: Vec<Arc<Pod>>,
}

/// Bring the numbers and notes of `status` up to date with `pods`; `ignored` says which failures do not count.
pub fn count(status: &mut JobStatus, pods: &[Arc<Pod>], finished: bool, ignored: impl Fn(&Pod) -> bool) -> Tally {
    let notes = status.uncounted_terminated_pods.take().unwrap_or_default();
    let tracked: BTreeSet<&str> =
        pods.iter().filter(|pod| has_finalizer(pod)).filter_map(|pod| pod.metadata.uid.as_deref()).collect();
    let mut noted = [notes.succeeded.unwrap_or_default(), notes.failed.unwrap_or_default()];
    let mut numbers = [status.succeeded.unwrap_or(0), status.failed.unwrap_or(0)];
    for (noted, number) in noted.iter_mut().zip(&mut numbers) {
        let before = noted.len();
        // Without its finalizer the pod will not be seen as ended again: now it is a number.
        noted.retain(|uid| tracked.contains(uid.as_str()));
        *number += i32::try_from(before - noted.len()).unwrap_or(0);
    }
    let mut release = Vec::new();
    let mut more = false;
    for pod in pods.iter().filter(|pod| has_finalizer(pod)) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let [succeeded, failed] = &mut noted;
        let list = match () {
            () if is_succeeded(pod) => succeeded,
            // When the job is over, pods that are stopped count as failed.
            () if is_failed(pod) || (finished && pod.metadata.deletion_timestamp.is_some()) => failed,
            () => continue,
        };
        if list.contains(&uid) || (is_failed(pod) && ignored(pod)) {
            release.push(pod.clone());
        } else if list.len() < MAX_UNCOUNTED {
            list.push(uid);
            release.push(pod.clone());
        } else {
            more = true;
        }
    }
    let [succeeded, failed] = noted;
    let tally = Tally {
        succeeded: numbers[0] + i32::try_from(succeeded.len()).unwrap_or(i32::MAX),
        failed: numbers[1] + i32::try_from(failed.len()).unwrap_or(i32::MAX),
        is_settled: succeeded.is_empty() && failed.is_empty() && release.is_empty() && !more,
        release,
    };
    status.succeeded = Some(numbers[0]).filter(|count| *count != 0);
    status.failed = Some(numbers[1]).filter(|count| *count != 0);
    let list = |uids: Vec<String>| Some(uids).filter(|uids| !uids.is_empty());
    status.uncounted_terminated_pods =
        Some(UncountedTerminatedPods { succeeded: list(succeeded), failed: list(failed) });
    tally
}

/// Take our finalizer from a pod.
pub fn release(pod: &Pod) -> Write {
    let kept: Vec<&String> = pod.metadata.finalizers.iter().flatten().filter(|f| *f != FINALIZER).collect();
    let list = if kept.is_empty() { Value::Null } else { json!(kept) };
    let metadata = json!({
        "uid": pod.metadata.uid,
        "resourceVersion": pod.metadata.resource_version,
        "finalizers": list,
    });
    Write::merge::<Pod>(Key::of(pod), json!({ "metadata": metadata })).or_gone()
}
