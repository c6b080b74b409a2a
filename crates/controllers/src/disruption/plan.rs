//! The status of a PodDisruptionBudget.
use crate::{
    deployment::scaled,
    pods,
    runtime::{Plan, Write},
};
use client::events::reference;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long an eviction that was granted may take to show.
const EVICTION_LIMIT: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// How many pods a pod's controller wants.
pub enum Scale {
    /// The controller's UID and its size.
    Wanted(String, i32),
    NoController,
    /// It says nothing of sizes; why.
    Unknown(String),
}

/// What there is: the budget and the pods it selects.
pub struct View {
    pub budget: Arc<PodDisruptionBudget>,
    pub pods: Vec<(Scale, Arc<Pod>)>,
}

/// How many pods there should be, and how many of them must be healthy.
fn expected(spec: &PodDisruptionBudgetSpec, pods: &[(Scale, Arc<Pod>)]) -> Result<(i32, i32), String> {
    let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let from_controllers = || {
        let mut sizes: BTreeMap<&str, i32> = BTreeMap::new();
        for (scale, pod) in pods {
            match scale {
                Scale::Wanted(uid, size) => {
                    sizes.insert(uid, *size);
                }
                Scale::NoController => {
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    return Err(format!("found no controllers for pod {name:?}"));
                }
                Scale::Unknown(why) => return Err(why.clone()),
            }
        }
        Ok(sizes.values().sum::<i32>())
    };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => {
            let expected = from_controllers()?;
            Ok((expected, (expected - scaled(Some(max), expected, true)).max(0)))
        }
        (None, Some(IntOrString::Int(min))) => Ok((count, *min)),
        (None, min @ Some(_)) => {
            let expected = from_controllers()?;
            Ok((expected, scaled(min.as_ref(), expected, true)))
        }
        (None, None) => Ok((count, 0)),
    }
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let budget = &*view.budget;
    let Some(spec) = &budget.spec else { return plan };
    let known = budget.status.clone().unwrap_or_default();
    if view.pods.is_empty() {
        plan.normal(&reference(budget), "NoPods", "No matching pods found");
    }
    let mut disrupted = known.disrupted_pods.clone().unwrap_or_default();
    disrupted.retain(|name, granted| {
        let pod = view.pods.iter().find(|(_, pod)| pod.metadata.name.as_ref() == Some(name));
        pod.is_some_and(|(_, pod)| pod.metadata.deletion_timestamp.is_none())
            && now.duration_since(granted.0) < EVICTION_LIMIT
    });
    if let Some(first) = disrupted.values().map(|granted| granted.0).min() {
        let left = EVICTION_LIMIT - now.duration_since(first);
        plan.again_in(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1));
    }
    let healthy = view.pods.iter().filter(|(_, pod)| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(name) && pods::is_ready(pod)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        observed_generation: budget.metadata.generation,
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        conditions: known.conditions.clone(),
        ..Default::default()
    };
    match expected(spec, &view.pods) {
        Ok((expected, desired)) => {
            status.expected_pods = Some(expected);
            status.desired_healthy = Some(desired);
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            status.disruptions_allowed = Some(allowed);
            let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            set_allowed(&mut status, reason, String::new(), now);
        }
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            plan.warning(&reference(budget), "CalculateExpectedPodCountFailed", message);
            status.expected_pods = known.expected_pods;
            status.desired_healthy = known.desired_healthy;
            // Nothing is evicted while it is not known what is needed.
            status.disruptions_allowed = Some(0);
            set_allowed(&mut status, "SyncFailed", why, now);
        }
    }
    if Some(&status) != budget.status.as_ref() {
        let (metadata, spec) = (budget.metadata.clone(), budget.spec.clone());
        plan.write(Write::replace_status(&PodDisruptionBudget { metadata, spec, status: Some(status) }).or_gone());
    }
    plan
}

fn set_allowed(status: &mut PodDisruptionBudgetStatus, reason: &str, message: String, now: Timestamp) {
    let state = if status.disruptions_allowed.unwrap_or(0) > 0 { "True" } else { "False" };
    let all = status.conditions.get_or_insert_default();
    let old = all.iter().position(|condition| condition.type_ == ALLOWED).map(|at| all.remove(at));
    let since = old.filter(|old| old.status == state).map_or(Time(now), |old| old.last_transition_time);
    all.push(Condition {
        type_: ALLOWED.to_owned(),
        status: state.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since,
        observed_generation: status.observed_generation,
    });
}
