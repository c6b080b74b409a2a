//! The status of a Deployment: counts, and the conditions Available, Progressing, ReplicaFailure.
use super::arithmetic::{self, actual, available, ready};
use crate::conditions::{self, Condition};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{sync::Arc, time::Duration};

pub const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// Seconds without progress after which a rollout counts as stuck, if there is a limit.
pub fn deadline(spec: &DeploymentSpec) -> Option<i32> {
    spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

/// Set the Progressing condition.
pub fn set(status: &mut DeploymentStatus, state: &str, reason: &str, message: String, now: Timestamp) {
    let mut condition = DeploymentCondition::make(PROGRESSING, true, reason, message, now);
    condition.status = state.to_owned();
    conditions::set(&mut status.conditions, condition);
}

fn counted(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

/// The counts, on top of the conditions in `known`.
pub fn count(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    known: DeploymentStatus,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let total = |of: fn(&ReplicaSet) -> i32| sets.iter().map(|set| of(set)).sum::<i32>();
    let (replicas, ready, up) = (total(actual), total(ready), total(available));
    let terminating = sets.iter().map(|set| set.status.as_ref().and_then(|status| status.terminating_replicas));
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: counted(replicas),
        updated_replicas: counted(new.map_or(0, actual)),
        ready_replicas: counted(ready),
        available_replicas: counted(up),
        unavailable_replicas: counted((replicas - up).max(0)),
        // Known only if all sets tell.
        terminating_replicas: terminating.sum::<Option<i32>>(),
        collision_count: known.collision_count,
        conditions: known.conditions,
    };
    let enough = up >= arithmetic::wanted(spec) - arithmetic::max_unavailable(spec);
    let (reason, message) = match enough {
        true => ("MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    conditions::set(&mut status.conditions, Condition::make(AVAILABLE, enough, reason, message.to_owned(), now));
    status
}

/// Whether all pods are of the current template and available.
pub fn is_complete(deployment: &Deployment, spec: &DeploymentSpec, status: &DeploymentStatus) -> bool {
    let wanted = arithmetic::wanted(spec);
    let all = [status.updated_replicas, status.replicas, status.available_replicas];
    all.iter().all(|count| count.unwrap_or(0) == wanted)
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

fn moved(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let number = |count: Option<i32>| count.unwrap_or(0);
    let leftover = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || leftover(new) < leftover(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

fn left(condition: &DeploymentCondition, deadline_s: i32, now: Timestamp) -> SignedDuration {
    let from = condition.last_update_time.as_ref().map_or(now, |time| time.0);
    SignedDuration::from_secs(deadline_s.into()) - now.duration_since(from)
}

/// Bring the conditions of a rollout under way up to date.
pub fn judge(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    status: &mut DeploymentStatus,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) {
    match deadline(spec) {
        None => conditions::remove(&mut status.conditions, PROGRESSING),
        Some(deadline_s) => judge_progress(deployment, spec, status, new, deadline_s, now),
    }
    let failure = |set: &ReplicaSet| {
        let found = conditions::find(set.status.as_ref()?.conditions.as_ref(), FAILURE)?;
        Some(DeploymentCondition {
            type_: FAILURE.to_owned(),
            status: found.status.clone(),
            reason: found.reason.clone(),
            message: found.message.clone(),
            last_transition_time: found.last_transition_time.clone(),
            last_update_time: found.last_transition_time.clone(),
        })
    };
    match new.and_then(failure).or_else(|| sets.iter().find_map(|set| failure(set))) {
        Some(condition) => conditions::set(&mut status.conditions, condition),
        None => conditions::remove(&mut status.conditions, FAILURE),
    }
}

fn judge_progress(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    status: &mut DeploymentStatus,
    new: Option<&ReplicaSet>,
    deadline_s: i32,
    now: Timestamp,
) {
    let current = conditions::find(status.conditions.as_ref(), PROGRESSING).cloned();
    let was_complete = current.as_ref().is_some_and(|c| c.reason() == COMPLETE);
    if status.replicas == status.updated_replicas && was_complete {
        return;
    }
    let what = match new.and_then(|new| new.metadata.name.as_deref()) {
        Some(name) => format!("ReplicaSet {name:?}"),
        None => format!("Deployment {:?}", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    let old = deployment.status.clone().unwrap_or_default();
    let timed_out = current
        .as_ref()
        .is_some_and(|c| !was_complete && (c.reason() == TIMED_OUT || left(c, deadline_s, now) < SignedDuration::ZERO));
    if is_complete(deployment, spec, status) {
        set(status, "True", COMPLETE, format!("{what} has successfully progressed."), now);
    } else if moved(&old, status) {
        let mut condition =
            DeploymentCondition::make(PROGRESSING, true, "ReplicaSetUpdated", format!("{what} is progressing."), now);
        if let Some(current) = current.filter(|current| current.status == "True") {
            condition.last_transition_time = current.last_transition_time;
        }
        condition.last_update_time = Some(Time(now));
        // Each step renews the time from which the deadline counts.
        conditions::remove(&mut status.conditions, PROGRESSING);
        conditions::set(&mut status.conditions, condition);
    } else if timed_out {
        set(status, "False", TIMED_OUT, format!("{what} has timed out progressing."), now);
    }
}

/// When to look again for a rollout that may be stuck.
pub fn check_after(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let deadline_s = deadline(spec)?;
    let current = conditions::find(status.conditions.as_ref(), PROGRESSING)?;
    if is_complete(deployment, spec, status) || current.reason() == TIMED_OUT || spec.paused == Some(true) {
        return None;
    }
    let left = left(current, deadline_s, now).max(SignedDuration::ZERO);
    Duration::try_from(left + SignedDuration::from_secs(1)).ok()
}
