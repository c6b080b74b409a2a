//! Disruption: how many pods of a PodDisruptionBudget may be evicted now.
//!
//! Watches budgets, pods, and the controllers that say how many pods there should be.
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup, owners},
};
use apimachinery::labels;
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::{Pod, ReplicationController},
    policy::v1::PodDisruptionBudget,
};
use plan::{Scale, View};
use std::sync::Arc;

struct Disruption {
    budgets: Cache<PodDisruptionBudget>,
    pods: Cache<Pod>,
    sets: Cache<ReplicaSet>,
    deployments: Cache<Deployment>,
    stateful: Cache<StatefulSet>,
    controllers: Cache<ReplicationController>,
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let parsed = selector.map(labels::from_label_selector);
    matches!(parsed, Some(Ok(selector)) if selector.matches(pods::labels(&pod.metadata)))
}

/// Start the disruption controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let budgets = setup.watch::<PodDisruptionBudget>();
    let all = budgets.clone();
    let pods = setup.watch_mapped::<Pod>(move |pod, add| {
        let budgets = all.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
        budgets.iter().filter(|budget| selects(budget, pod)).for_each(|budget| add(Key::of(&**budget)));
    });
    Ok(Arc::new(Disruption {
        budgets,
        pods,
        sets: setup.cache(),
        deployments: setup.cache(),
        stateful: setup.cache(),
        controllers: setup.cache(),
    }))
}

impl Disruption {
    /// The size its controller wants for the pod's group, by that controller's UID.
    fn scale(&self, pod: &Pod) -> Scale {
        let Some(owner) = owners::controller_of(&pod.metadata) else { return Scale::NoController };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let found = |replicas: Option<i32>| Scale::Wanted(owner.uid.clone(), replicas.unwrap_or(1));
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let Some(set) = self.sets.get(namespace, &owner.name) else { return Scale::NoController };
                let parent =
                    owners::controller_key::<Deployment>(&set.metadata).and_then(|key| self.deployments.at(&key));
                match parent {
                    Some(deployment) => {
                        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                        Scale::Wanted(deployment.metadata.uid.clone().unwrap_or_default(), replicas)
                    }
                    None => found(set.spec.as_ref().and_then(|spec| spec.replicas)),
                }
            }
            "StatefulSet" => match self.stateful.get(namespace, &owner.name) {
                Some(set) => found(set.spec.as_ref().and_then(|spec| spec.replicas)),
                None => Scale::NoController,
            },
            "ReplicationController" => match self.controllers.get(namespace, &owner.name) {
                Some(controller) => found(controller.spec.as_ref().and_then(|spec| spec.replicas)),
                None => Scale::NoController,
            },
            kind => {
                Scale::Unknown(format!("{kind} {namespace}/{} does not implement the scale subresource", owner.name))
            }
        }
    }
}

#[async_trait]
impl Controller for Disruption {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(budget) = self.budgets.at(key) else { return Ok(Plan::nothing()) };
        let pods = self.pods.list_in(&key.namespace).into_iter().filter(|pod| selects(&budget, pod));
        let pods = pods.map(|pod| (self.scale(&pod), pod)).collect();
        Ok(plan::plan(&View { budget, pods }, now))
    }
}
