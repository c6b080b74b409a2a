//! The status of a StatefulSet.
use super::identity;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus},
    core::v1::Pod,
};
use std::sync::Arc;

/// The counts over `pods`, with the revisions `current` and `update`.
pub fn count(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    pods: &[Arc<Pod>],
    current: &str,
    update: &str,
    now: Timestamp,
) -> StatefulSetStatus {
    let number = |condition: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| condition(pod)).count()).unwrap_or(i32::MAX)
    };
    let is_created = |pod: &Pod| !pods::phase(pod).is_empty();
    let alive = |pod: &Pod| is_created(pod) && pod.metadata.deletion_timestamp.is_none();
    let of = |revision: &str| number(&|pod| alive(pod) && identity::revision(pod) == revision);
    let running = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
    let ready = number(&running);
    let available = number(&|pod| running(pod) && pods::is_available(pod, spec.min_ready_seconds.unwrap_or(0), now));
    let known = set.status.clone().unwrap_or_default();
    let replicas = number(&is_created);
    let counted = |count: i32| Some(count).filter(|count| *count != 0);
    let (mut current, mut current_replicas, updated) = (current.to_owned(), of(current), of(update));
    let rolling = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) != Some("OnDelete");
    if rolling && updated == replicas && ready == replicas {
        // The rollout is complete: what was new is now current.
        current_replicas = updated;
        update.clone_into(&mut current);
    }
    StatefulSetStatus {
        replicas,
        ready_replicas: counted(ready),
        available_replicas: Some(available),
        current_replicas: counted(current_replicas),
        updated_replicas: counted(updated),
        current_revision: Some(current),
        update_revision: Some(update.to_owned()),
        observed_generation: set.metadata.generation,
        collision_count: Some(known.collision_count.unwrap_or(0)),
        conditions: known.conditions,
    }
}
