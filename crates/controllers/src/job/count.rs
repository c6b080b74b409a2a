//! Counting a job's ended pods exactly once.
//!
//! An ended pod is first noted by UID in `uncountedTerminatedPods`, then loses its finalizer, and only
//! then is the note turned into a number: a crash at any point repeats a step without harm. Of an indexed job's
//! successes no note is needed, their indexes are in the status.
use super::facts::Facts;
use crate::{pods, runtime::Write};
use client::Key;
use k8s_openapi::api::{
    batch::v1::{JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};

pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Most pods noted in one status.
const MAX_UNCOUNTED: usize = 500;

pub fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

pub fn is_succeeded(pod: &Pod) -> bool {
    pods::phase(pod) == "Succeeded"
}

/// Which pods may be counted and let go.
pub struct Rules<'a> {
    pub facts: Facts<'a>,
    /// The job has failed or succeeded: no pod is held any longer.
    pub is_over: bool,
    /// The job has failed: pods that did not end have failed with it.
    pub has_failed: bool,
    /// UIDs of failed pods that are held until their successor knows how often the index failed.
    pub held: BTreeSet<String>,
}

/// How many have succeeded and failed, those included that the status does not know yet.
pub fn tally(status: &JobStatus, pods: &[Arc<Pod>], facts: Facts<'_>) -> (i32, i32) {
    let notes = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let (succeeded, failed) = (notes.succeeded.unwrap_or_default(), notes.failed.unwrap_or_default());
    let is_new = |pod: &&Arc<Pod>, noted: &[String]| {
        facts.is_tracked(pod) && pod.metadata.uid.as_ref().is_none_or(|uid| !noted.contains(uid))
    };
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let new_succeeded = pods.iter().filter(|pod| is_new(pod, &succeeded) && is_succeeded(pod)).count();
    let is_failure = |pod: &&Arc<Pod>| is_new(pod, &failed) && facts.is_failed(pod) && facts.verdict(pod).is_counted();
    let new_failed = pods.iter().filter(is_failure).count();
    (
        status.succeeded.unwrap_or(0) + number(succeeded.len() + new_succeeded),
        status.failed.unwrap_or(0) + number(failed.len() + new_failed),
    )
}

/// Bring the numbers and notes of `status` up to date with `pods`; the pods whose finalizer may go once it is
/// written, and whether all that ended is in the numbers.
pub fn track(status: &mut JobStatus, pods: &[Arc<Pod>], rules: &Rules<'_>) -> (Vec<Arc<Pod>>, bool) {
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
    let mut is_full = false;
    for pod in pods.iter().filter(|pod| has_finalizer(pod)) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (succeeded, failed) = (is_succeeded(pod), rules.facts.is_failed(pod));
        if !(rules.is_over || succeeded || (failed && !rules.held.contains(&uid))) {
            continue;
        }
        let [successes, failures] = &mut noted;
        if successes.len() + failures.len() >= MAX_UNCOUNTED {
            is_full = true;
            break;
        }
        release.push(pod.clone());
        let is_ours = rules.facts.is_tracked(pod);
        if succeeded && !failures.contains(&uid) {
            if !rules.facts.is_indexed() && !successes.contains(&uid) {
                successes.push(uid);
            }
        } else if (failed || rules.has_failed)
            && is_ours
            && !failures.contains(&uid)
            && rules.facts.verdict(pod).is_counted()
        {
            failures.push(uid);
        }
    }
    let [succeeded, failed] = noted;
    let is_settled = succeeded.is_empty() && failed.is_empty() && !is_full;
    status.succeeded = Some(numbers[0]).filter(|count| *count != 0);
    status.failed = Some(numbers[1]).filter(|count| *count != 0);
    let list = |uids: Vec<String>| Some(uids).filter(|uids| !uids.is_empty());
    status.uncounted_terminated_pods =
        Some(UncountedTerminatedPods { succeeded: list(succeeded), failed: list(failed) });
    (release, is_settled)
}

/// Take our finalizer from a pod, whatever else has changed of it.
pub fn release(pod: &Pod) -> Write {
    let patch = json!({ "metadata": { "uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER] } });
    Write::strategic::<Pod>(Key::of(pod), patch).or_gone()
}
