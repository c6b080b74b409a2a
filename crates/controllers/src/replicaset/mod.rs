//! ReplicaSets and ReplicationControllers: as many pods of a template as wanted.
//!
//! Watches its own kind and the pods it controls or may adopt. The two kinds share the plan; upstream
//! converts one into the other as well.
mod plan;
mod rank;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup, owners};
use apimachinery::labels::{self, Selector};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Pod, ReplicationController},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use plan::{Replicated, View};
use std::{collections::BTreeMap, sync::Arc};

struct ReplicaSets {
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
}

/// Start the ReplicaSet controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let sets = setup.watch::<ReplicaSet>();
    owners::add_index(&sets);
    let pods = setup.watch_claimed::<Pod, ReplicaSet>(&sets, selector);
    Ok(Arc::new(ReplicaSets { sets, pods }))
}

fn selector(set: &ReplicaSet) -> Option<Selector> {
    labels::from_label_selector(&set.spec.as_ref()?.selector).ok()
}

impl ReplicaSets {
    /// How many active pods of this set and of its deployment's other sets each node has.
    fn spread(&self, set: &ReplicaSet) -> BTreeMap<String, usize> {
        let owner = owners::controller_of(&set.metadata);
        let related = match owner {
            Some(owner) => owners::controlled(&self.sets, &owner.uid),
            None => Vec::new(),
        };
        let own = set.metadata.uid.iter().map(String::as_str);
        let others = related.iter().filter_map(|set| set.metadata.uid.as_deref());
        let mut uids: Vec<&str> = own.chain(others).collect();
        uids.sort_unstable();
        uids.dedup();
        rank::spread(uids.into_iter().flat_map(|uid| owners::controlled(&self.pods, uid)))
    }

    fn view(&self, key: &Key) -> Option<View> {
        let set = self.sets.at(key)?;
        let spec = set.spec.as_ref()?;
        let pods = owners::candidates(&self.pods, set.metadata.uid.as_deref().unwrap_or_default(), &key.namespace);
        let surplus = pods.len() > usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        // Only a surplus has to be ranked.
        let spread = if surplus { self.spread(&set) } else { BTreeMap::new() };
        Some(View { owner: Replicated::Set(set), pods, spread })
    }
}

#[async_trait]
impl Controller for ReplicaSets {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.view(key).map_or_else(Plan::nothing, |view| plan::plan(&view, now)))
    }

    fn failed(&self, key: &Key, failure: &Failure, now: Timestamp) -> Plan {
        self.view(key).map_or_else(Plan::nothing, |view| plan::after_failure(&view, failure, now))
    }
}

struct ReplicationControllers {
    controllers: Cache<ReplicationController>,
    pods: Cache<Pod>,
}

/// Start the ReplicationController controller.
pub fn start_replication(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let controllers = setup.watch::<ReplicationController>();
    let pods = setup.watch_claimed::<Pod, ReplicationController>(&controllers, |controller| {
        labels::from_label_selector(&map_selector(controller)).ok()
    });
    Ok(Arc::new(ReplicationControllers { controllers, pods }))
}

fn map_selector(controller: &ReplicationController) -> LabelSelector {
    let labels = controller.spec.as_ref().and_then(|spec| spec.selector.clone());
    LabelSelector { match_labels: labels, match_expressions: None }
}

impl ReplicationControllers {
    fn view(&self, key: &Key) -> Option<View> {
        let controller = self.controllers.at(key)?;
        let uid = controller.metadata.uid.clone().unwrap_or_default();
        let pods = owners::candidates(&self.pods, &uid, &key.namespace);
        let spread = rank::spread(owners::controlled(&self.pods, &uid));
        Some(View { owner: Replicated::Controller(controller), pods, spread })
    }
}

#[async_trait]
impl Controller for ReplicationControllers {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.view(key).map_or_else(Plan::nothing, |view| plan::plan(&view, now)))
    }

    fn failed(&self, key: &Key, failure: &Failure, now: Timestamp) -> Plan {
        self.view(key).map_or_else(Plan::nothing, |view| plan::after_failure(&view, failure, now))
    }
}

/// The `count` pods whose loss costs least, for other controllers that have too many.
pub fn victims(pods: Vec<Arc<Pod>>, count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    rank::victims(pods, count, &BTreeMap::new(), now)
}
