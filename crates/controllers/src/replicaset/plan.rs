//! What is to be done about a ReplicaSet: claim, create or delete pods, and write its status.
use super::rank;
use crate::{
    claim, conditions, pods,
    runtime::{Failure, Plan, Write, owners},
};
use apimachinery::labels::{self, Selector};
use client::{Key, events::reference};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{
            ObjectReference, Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
            ReplicationControllerStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Most pods created or deleted in one go (upstream's `BurstReplicas`).
const BURST: usize = 500;
const FAILURE: &str = "ReplicaFailure";

/// Either of the two kinds.
pub enum Replicated {
    Set(Arc<ReplicaSet>),
    Controller(Arc<ReplicationController>),
}

/// What there is: the owner, the pods it controls or may adopt, and how its and its siblings' pods
/// are spread over nodes.
pub struct View {
    pub owner: Replicated,
    pub pods: Vec<Arc<Pod>>,
    pub spread: BTreeMap<String, usize>,
}

impl Replicated {
    fn meta(&self) -> &ObjectMeta {
        match self {
            Replicated::Set(set) => &set.metadata,
            Replicated::Controller(controller) => &controller.metadata,
        }
    }

    fn reference(&self) -> ObjectReference {
        match self {
            Replicated::Set(set) => reference(&**set),
            Replicated::Controller(controller) => reference(&**controller),
        }
    }

    fn controller_reference(&self) -> OwnerReference {
        match self {
            Replicated::Set(set) => owners::controller_reference(&**set),
            Replicated::Controller(controller) => owners::controller_reference(&**controller),
        }
    }

    fn selector(&self) -> Option<Selector> {
        match self {
            Replicated::Set(set) => labels::from_label_selector(&set.spec.as_ref()?.selector).ok(),
            Replicated::Controller(controller) => labels::from_label_selector(&super::map_selector(controller)).ok(),
        }
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        match self {
            Replicated::Set(set) => set.spec.as_ref()?.template.as_ref(),
            Replicated::Controller(controller) => controller.spec.as_ref()?.template.as_ref(),
        }
    }

    fn wanted(&self) -> usize {
        let replicas = match self {
            Replicated::Set(set) => set.spec.as_ref().and_then(|spec| spec.replicas),
            Replicated::Controller(controller) => controller.spec.as_ref().and_then(|spec| spec.replicas),
        };
        usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)
    }

    fn min_ready_s(&self) -> i32 {
        let seconds = match self {
            Replicated::Set(set) => set.spec.as_ref().and_then(|spec| spec.min_ready_seconds),
            Replicated::Controller(controller) => controller.spec.as_ref().and_then(|spec| spec.min_ready_seconds),
        };
        seconds.unwrap_or(0)
    }

    /// The status in the form of a ReplicaSet's.
    fn status(&self) -> ReplicaSetStatus {
        match self {
            Replicated::Set(set) => set.status.clone().unwrap_or_default(),
            Replicated::Controller(controller) => {
                let status = controller.status.clone().unwrap_or_default();
                ReplicaSetStatus {
                    replicas: status.replicas,
                    fully_labeled_replicas: status.fully_labeled_replicas,
                    ready_replicas: status.ready_replicas,
                    available_replicas: status.available_replicas,
                    observed_generation: status.observed_generation,
                    terminating_replicas: None,
                    conditions: status.conditions.map(|all| all.into_iter().map(of_controller).collect()),
                }
            }
        }
    }

    fn write_status(&self, status: ReplicaSetStatus) -> Write {
        match self {
            Replicated::Set(set) => {
                let metadata = set.metadata.clone();
                Write::replace_status(&ReplicaSet { metadata, spec: set.spec.clone(), status: Some(status) })
            }
            Replicated::Controller(controller) => {
                let status = ReplicationControllerStatus {
                    replicas: status.replicas,
                    fully_labeled_replicas: status.fully_labeled_replicas,
                    ready_replicas: status.ready_replicas,
                    available_replicas: status.available_replicas,
                    observed_generation: status.observed_generation,
                    conditions: status.conditions.map(|all| all.into_iter().map(to_controller).collect()),
                };
                let (metadata, spec) = (controller.metadata.clone(), controller.spec.clone());
                Write::replace_status(&ReplicationController { metadata, spec, status: Some(status) })
            }
        }
    }
}

fn of_controller(c: ReplicationControllerCondition) -> ReplicaSetCondition {
    let ReplicationControllerCondition { last_transition_time, message, reason, status, type_ } = c;
    ReplicaSetCondition { last_transition_time, message, reason, status, type_ }
}

fn to_controller(c: ReplicaSetCondition) -> ReplicationControllerCondition {
    let ReplicaSetCondition { last_transition_time, message, reason, status, type_ } = c;
    ReplicationControllerCondition { last_transition_time, message, reason, status, type_ }
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let owner = &view.owner;
    let Some(selector) = owner.selector().filter(|selector| !selector.is_everything()) else { return plan };
    let claimed = match owner {
        Replicated::Set(set) => claim::claim_some(&mut plan, &**set, &selector, &view.pods, pods::is_active),
        Replicated::Controller(rc) => claim::claim_some(&mut plan, &**rc, &selector, &view.pods, pods::is_active),
    };
    let active: Vec<Arc<Pod>> = claimed.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    if owner.meta().deletion_timestamp.is_none() {
        scale(&mut plan, view, &active, now);
    }
    let status = status(owner, &claimed, &active, None, now);
    let (ready, available) = (status.ready_replicas, status.available_replicas);
    if status != owner.status() {
        plan.write(owner.write_status(status).or_gone());
    }
    if owner.min_ready_s() > 0 && ready != available {
        plan.again_in(Duration::from_secs(owner.min_ready_s().unsigned_abs().into()));
    }
    plan
}

/// The status that says why pods could not be created or deleted.
pub fn after_failure(view: &View, failure: &Failure, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let owner = &view.owner;
    let Some(selector) = owner.selector().filter(|_| !failure.is_conflict()) else { return plan };
    let ours = |pod: &&Arc<Pod>| {
        owners::is_controlled_by(&pod.metadata, owner.meta().uid.as_deref())
            && selector.matches(pods::labels(&pod.metadata))
    };
    let claimed: Vec<Arc<Pod>> = view.pods.iter().filter(ours).cloned().collect();
    let active: Vec<Arc<Pod>> = claimed.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let reason = if active.len() < owner.wanted() { "FailedCreate" } else { "FailedDelete" };
    let status = status(owner, &claimed, &active, Some((reason, failure.to_string())), now);
    if status != owner.status() {
        plan.write(owner.write_status(status).or_gone());
    }
    plan
}

fn scale(plan: &mut Plan, view: &View, active: &[Arc<Pod>], now: Timestamp) {
    let (owner, wanted) = (&view.owner, view.owner.wanted());
    let about = owner.reference();
    if active.len() < wanted {
        let Some(template) = owner.template() else { return };
        let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
        let pod = pods::from_template(template, namespace, owner.controller_reference());
        let make = || {
            Write::create(&pod).told(&about, "SuccessfulCreate", "Created pod: {name}").told_failed(
                &about,
                "FailedCreate",
                "Error creating: {error}",
            )
        };
        let missing = (wanted - active.len()).min(BURST);
        plan.batch((0..missing).map(|_| make()).collect());
    } else if active.len() > wanted {
        let surplus = (active.len() - wanted).min(BURST);
        let victims = rank::victims(active.to_vec(), surplus, &view.spread, now);
        let deletions =
            victims.iter().map(|pod| {
                let name = Key::of(&**pod).name;
                Write::delete(&**pod, None)
                    .told(&about, "SuccessfulDelete", format!("Deleted pod: {name}"))
                    .told_failed(&about, "FailedDelete", "Error deleting: {error}")
            });
        plan.batch(deletions.collect());
    }
}

fn status(
    owner: &Replicated,
    claimed: &[Arc<Pod>],
    active: &[Arc<Pod>],
    failure: Option<(&str, String)>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let template = owner.template().and_then(|template| template.metadata.as_ref()).map(pods::labels);
    let labelled = |pod: &Pod| {
        let labels = pods::labels(&pod.metadata);
        template.is_none_or(|template| template.iter().all(|(key, value)| labels.get(key) == Some(value)))
    };
    let count = |condition: &dyn Fn(&Pod) -> bool| {
        Some(i32::try_from(active.iter().filter(|pod| condition(pod)).count()).unwrap_or(i32::MAX)).filter(|n| *n > 0)
    };
    let old = owner.status();
    let mut conditions = old.conditions;
    match failure {
        Some((reason, message)) => {
            let failed: ReplicaSetCondition = conditions::Condition::make(FAILURE, true, reason, message, now);
            conditions::set(&mut conditions, failed);
        }
        None => conditions::remove(&mut conditions, FAILURE),
    }
    let terminating = claimed.iter().filter(|pod| pods::is_terminating(pod)).count();
    ReplicaSetStatus {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&labelled),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|pod| pods::is_available(pod, owner.min_ready_s(), now)),
        terminating_replicas: match owner {
            Replicated::Set(_) => Some(i32::try_from(terminating).unwrap_or(i32::MAX)),
            Replicated::Controller(_) => None,
        },
        observed_generation: owner.meta().generation,
        conditions,
    }
}
