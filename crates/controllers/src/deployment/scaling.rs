//! How many pods each ReplicaSet is to have: rolling, recreating, scaling.
//!
//! Works on copies of the sets, so that each decision sees those before it.
use super::{
    arithmetic::{self, annotated, available, size},
    revisions,
};
use crate::runtime::{Plan, Write};
use client::{Key, events::reference};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use serde_json::json;
use std::{cmp::Reverse, sync::Arc};

/// The sets of a rollout, and what is decided about them so far.
pub struct Sets<'a> {
    pub deployment: &'a Deployment,
    pub spec: &'a DeploymentSpec,
    pub new: Option<ReplicaSet>,
    /// Oldest first.
    pub old: Vec<ReplicaSet>,
}

impl<'a> Sets<'a> {
    pub fn new(
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        new: Option<&ReplicaSet>,
        old: &[Arc<ReplicaSet>],
    ) -> Self {
        Self { deployment, spec, new: new.cloned(), old: old.iter().map(|set| (**set).clone()).collect() }
    }

    fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    /// What all sets are to have together.
    pub fn total(&self) -> i32 {
        self.all().map(size).sum()
    }

    /// Give a set a size; whether that is another than it had.
    fn resize(plan: &mut Plan, deployment: &Deployment, spec: &DeploymentSpec, set: &mut ReplicaSet, to: i32) -> bool {
        let from = size(set);
        let sizes = revisions::size_annotations(spec);
        let noted =
            sizes.iter().all(|(name, value)| annotated(set, name).map(|n| n.to_string()).as_ref() == Some(value));
        if from == to && noted {
            return false;
        }
        let annotations: serde_json::Map<_, _> =
            sizes.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let patch = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": to } });
        let key = Key::of(set);
        let mut write = Write::merge::<ReplicaSet>(key.clone(), patch);
        if from != to {
            let way = if from < to { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {} from {from} to {to}", key.name);
            write = write.told(&reference(deployment), "ScalingReplicaSet", message);
        }
        plan.write(write);
        set.spec.get_or_insert_default().replicas = Some(to);
        from != to
    }

    /// Bring the new set towards its size; whether it changed.
    pub fn grow_new(&mut self, plan: &mut Plan) -> bool {
        let (total, wanted) = (self.total(), arithmetic::wanted(self.spec));
        let Some(new) = &mut self.new else { return false };
        let to = if size(new) > wanted { wanted } else { arithmetic::new_size(self.spec, total, size(new)) };
        size(new) != to && Self::resize(plan, self.deployment, self.spec, new, to)
    }

    /// Take pods from old sets as far as availability allows; whether any went.
    pub fn shrink_old(&mut self, plan: &mut Plan) -> bool {
        if self.old.iter().map(size).sum::<i32>() == 0 {
            return false;
        }
        let minimum = arithmetic::wanted(self.spec) - arithmetic::max_unavailable(self.spec);
        let unavailable_new = self.new.as_ref().map_or(0, |new| size(new) - available(new));
        let removable = self.total() - minimum - unavailable_new;
        if removable <= 0 {
            return false;
        }
        let unhealthy = self.remove_unhealthy(plan, removable);
        let healthy = self.remove_healthy(plan, minimum);
        unhealthy + healthy > 0
    }

    /// Pods that are not available anyway go first.
    fn remove_unhealthy(&mut self, plan: &mut Plan, limit: i32) -> i32 {
        let mut removed = 0;
        for set in &mut self.old {
            let unhealthy = size(set) - available(set);
            let count = unhealthy.min(limit - removed);
            if count > 0 {
                let to = size(set) - count;
                Self::resize(plan, self.deployment, self.spec, set, to);
                removed += count;
            }
        }
        removed
    }

    fn remove_healthy(&mut self, plan: &mut Plan, minimum: i32) -> i32 {
        let surplus = self.all().map(available).sum::<i32>() - minimum;
        let mut removed = 0;
        for set in &mut self.old {
            let count = size(set).min(surplus - removed);
            if count > 0 {
                let to = size(set) - count;
                Self::resize(plan, self.deployment, self.spec, set, to);
                removed += count;
            }
        }
        removed
    }

    /// Take all old sets to zero; whether any was not there.
    pub fn empty_old(&mut self, plan: &mut Plan) -> bool {
        let mut changed = false;
        for set in self.old.iter_mut().filter(|set| size(set) > 0) {
            changed |= Self::resize(plan, self.deployment, self.spec, set, 0);
        }
        changed
    }

    /// Give the new set everything at once.
    pub fn fill_new(&mut self, plan: &mut Plan) {
        let wanted = arithmetic::wanted(self.spec);
        if let Some(new) = self.new.as_mut().filter(|new| size(new) != wanted) {
            Self::resize(plan, self.deployment, self.spec, new, wanted);
        }
    }

    /// The Deployment's own size changed: follow without rolling on.
    pub fn scale(&mut self, plan: &mut Plan) {
        let wanted = arithmetic::wanted(self.spec);
        let mut active: Vec<&mut ReplicaSet> =
            self.old.iter_mut().chain(&mut self.new).filter(|set| size(set) > 0).collect();
        if let [only] = active.as_mut_slice() {
            if size(only) != wanted {
                Self::resize(plan, self.deployment, self.spec, only, wanted);
            }
            return;
        }
        if active.is_empty() {
            let latest = if self.new.is_some() { self.new.as_mut() } else { self.old.last_mut() };
            if let Some(set) = latest.filter(|set| size(set) != wanted) {
                Self::resize(plan, self.deployment, self.spec, set, wanted);
            }
            return;
        }
        if self.new.as_ref().is_some_and(|new| saturated(new, wanted)) {
            self.empty_old(plan);
        } else if arithmetic::is_rolling(self.spec) {
            self.spread(plan);
        }
    }

    /// Share the difference out in proportion to the sets' sizes; the rest goes to the largest.
    fn spread(&mut self, plan: &mut Plan) {
        let (deployment, spec) = (self.deployment, self.spec);
        let mut active: Vec<&mut ReplicaSet> =
            self.old.iter_mut().chain(&mut self.new).filter(|set| size(set) > 0).collect();
        let wanted = arithmetic::wanted(spec);
        let allowed = if wanted > 0 { wanted + arithmetic::max_surge(spec) } else { 0 };
        let to_add = allowed - active.iter().map(|set| size(set)).sum::<i32>();
        // Larger first; of equal ones the newer when growing, the older when shrinking.
        if to_add > 0 {
            active.reverse();
        }
        active.sort_by_key(|set| Reverse(size(set)));
        let mut added = 0;
        let mut sizes = Vec::with_capacity(active.len());
        for set in &active {
            let part = arithmetic::proportion(deployment, spec, set, to_add, added);
            added += part;
            sizes.push(size(set) + part);
        }
        if let Some(largest) = sizes.first_mut().filter(|_| to_add != 0) {
            *largest = (*largest + to_add - added).max(0);
        }
        for (set, to) in active.into_iter().zip(sizes) {
            Self::resize(plan, deployment, spec, set, to);
        }
    }
}

/// Whether the new set has everything, so that old ones are only left over.
fn saturated(new: &ReplicaSet, wanted: i32) -> bool {
    annotated(new, arithmetic::DESIRED) == Some(wanted) && size(new) == wanted && available(new) == wanted
}
