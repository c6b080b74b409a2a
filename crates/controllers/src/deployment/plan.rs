//! What is to be done about a Deployment: claim its ReplicaSets, make the one of the current
//! template, move pods from the old ones to it, clean up, and write the status.
use super::{
    arithmetic::{self, actual, annotated, size},
    progress,
    revisions::{self, REVISION},
    scaling::Sets,
};
use crate::{
    claim, conditions,
    runtime::{Failure, Plan, Write},
};
use apimachinery::labels;
use client::{Key, events::reference};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// What there is: the Deployment, the ReplicaSets it controls or may adopt, and how many pods that
/// have not ended each of them has, by its UID.
pub struct View {
    pub deployment: Arc<Deployment>,
    pub sets: Vec<Arc<ReplicaSet>>,
    pub running: BTreeMap<String, usize>,
}

/// A plan in the making.
struct Rollout<'a> {
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    claimed: Vec<Arc<ReplicaSet>>,
    new: Option<Arc<ReplicaSet>>,
    old: Vec<Arc<ReplicaSet>>,
    status: DeploymentStatus,
    /// The revision the Deployment is to show.
    revision: Option<String>,
    plan: Plan,
    now: Timestamp,
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let deployment = &*view.deployment;
    let mut plan = Plan::nothing();
    let Some(spec) = &deployment.spec else { return plan };
    let Ok(selector) = labels::from_label_selector(&spec.selector) else { return plan };
    if selector.is_everything() {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        plan.warning(&reference(deployment), "SelectingAll", message);
        let mut status = deployment.status.clone().unwrap_or_default();
        if status.observed_generation < deployment.metadata.generation {
            status.observed_generation = deployment.metadata.generation;
            plan.write(write_status(deployment, status, None));
        }
        return plan;
    }
    let claimed = claim::claim(&mut plan, deployment, &selector, &view.sets);
    let (new, old) = revisions::split(spec, &claimed);
    let status = deployment.status.clone().unwrap_or_default();
    let mut rollout = Rollout { deployment, spec, claimed, new, old, status, revision: None, plan, now };
    rollout.decide(view);
    rollout.plan
}

impl Rollout<'_> {
    fn decide(&mut self, view: &View) {
        let paused = self.spec.paused == Some(true);
        if self.deployment.metadata.deletion_timestamp.is_some() {
            return self.write_counts();
        }
        self.note_pause(paused);
        let resized = |set: &Arc<ReplicaSet>| {
            size(set) > 0 && annotated(set, arithmetic::DESIRED).is_some_and(|n| n != arithmetic::wanted(self.spec))
        };
        if paused || self.claimed.iter().any(resized) {
            if let Some(new) = self.new.clone() {
                self.number_existing(&new);
            }
            let mut sets = Sets::new(self.deployment, self.spec, self.new.as_deref(), &self.old);
            sets.scale(&mut self.plan);
            if paused {
                self.clean_up();
            }
            return self.write_counts();
        }
        let go_on = if arithmetic::is_rolling(self.spec) { self.roll() } else { self.recreate(view) };
        if go_on
            && progress::is_complete(self.deployment, self.spec, &self.deployment.status.clone().unwrap_or_default())
        {
            self.clean_up();
        }
        self.write_progress();
    }

    /// Whether there was nothing to scale.
    fn roll(&mut self) -> bool {
        let made = self.ensure_new();
        let mut sets = Sets::new(self.deployment, self.spec, self.new.as_deref(), &self.old);
        !made && !sets.grow_new(&mut self.plan) && !sets.shrink_old(&mut self.plan)
    }

    /// Whether all old pods are gone.
    fn recreate(&mut self, view: &View) -> bool {
        if let Some(new) = self.new.clone() {
            self.number_existing(&new);
        }
        let mut sets = Sets::new(self.deployment, self.spec, self.new.as_deref(), &self.old);
        if sets.empty_old(&mut self.plan) {
            return false;
        }
        let running =
            |set: &Arc<ReplicaSet>| set.metadata.uid.as_ref().is_some_and(|uid| view.running.contains_key(uid));
        if self.old.iter().any(running) {
            return false;
        }
        if self.new.is_none() {
            self.ensure_new();
        } else {
            sets.fill_new(&mut self.plan);
        }
        true
    }

    /// The set of the current template: make it, or bring its annotations up to date. Whether it is made now.
    fn ensure_new(&mut self) -> bool {
        match self.new.clone() {
            Some(new) => {
                self.number_existing(&new);
                false
            }
            None => {
                self.make_new();
                true
            }
        }
    }

    fn number_existing(&mut self, new: &ReplicaSet) {
        let wanted = revisions::annotations(self.deployment, Some(new), revisions::next(&self.old));
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let known = new.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if Some(&wanted) != new.metadata.annotations.as_ref() || min_ready != known {
            let patch = json!({ "metadata": { "annotations": wanted }, "spec": { "minReadySeconds": min_ready } });
            self.plan.write(Write::merge::<ReplicaSet>(Key::of(new), patch));
        }
        self.revision = wanted.get(REVISION).cloned();
        let unknown = conditions::find(self.status.conditions.as_ref(), progress::PROGRESSING).is_none();
        if progress::deadline(self.spec).is_some() && unknown {
            let message = format!("Found new replica set {:?}", Key::of(new).name);
            progress::set(&mut self.status, "True", "FoundNewReplicaSet", message, self.now);
        }
    }

    fn make_new(&mut self) {
        let revision = revisions::next(&self.old);
        let total = self.old.iter().map(|set| size(set)).sum();
        let set = revisions::make(self.deployment, self.spec, self.status.collision_count, revision, total);
        let name = Key::of(&set).name;
        if self.claimed.iter().any(|known| known.metadata.name == set.metadata.name) {
            // Another template has the same hash: the next look counts it in.
            self.status.collision_count = Some(self.status.collision_count.unwrap_or(0) + 1);
            return;
        }
        let about = reference(self.deployment);
        let failed = format!("Failed to create new replica set {name:?}: {{error}}");
        let mut write = Write::create(&set).told_failed(&about, "ReplicaSetCreateError", failed);
        if size(&set) > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {}", size(&set));
            write = write.told(&about, "ScalingReplicaSet", message);
        }
        self.plan.write(write);
        self.revision = Some(revision.to_string());
        if progress::deadline(self.spec).is_some() {
            let message = format!("Created new replica set {name:?}");
            progress::set(&mut self.status, "True", "NewReplicaSetCreated", message, self.now);
        }
    }

    fn note_pause(&mut self, paused: bool) {
        if progress::deadline(self.spec).is_none() {
            return;
        }
        let reason = conditions::find(self.status.conditions.as_ref(), progress::PROGRESSING)
            .and_then(|condition| condition.reason.clone())
            .unwrap_or_default();
        if reason == "ProgressDeadlineExceeded" {
            return;
        }
        if paused && reason != "DeploymentPaused" {
            progress::set(&mut self.status, "Unknown", "DeploymentPaused", "Deployment is paused".to_owned(), self.now);
        } else if !paused && reason == "DeploymentPaused" {
            progress::set(
                &mut self.status,
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".to_owned(),
                self.now,
            );
        }
    }

    /// Delete the oldest revisions past the history limit.
    fn clean_up(&mut self) {
        let Some(limit) = self.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut old: Vec<_> = self.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| revisions::revision(set));
        for set in old.into_iter().take(surplus) {
            let observed = set.status.as_ref().and_then(|status| status.observed_generation);
            if actual(set) == 0 && size(set) == 0 && set.metadata.generation <= observed {
                self.plan.write(Write::delete(&**set, None));
            }
        }
    }

    fn write_counts(&mut self) {
        let known = self.status.clone();
        let status = progress::count(self.deployment, self.spec, known, &self.claimed, self.new.as_deref(), self.now);
        self.write(status);
    }

    fn write_progress(&mut self) {
        let (deployment, spec, now) = (self.deployment, self.spec, self.now);
        let new = self.new.clone();
        let mut status = progress::count(deployment, spec, self.status.clone(), &self.claimed, new.as_deref(), now);
        progress::judge(deployment, spec, &mut status, &self.claimed, new.as_deref(), now);
        if let Some(after) = progress::check_after(deployment, spec, &status, now) {
            self.plan.again_in(after);
        }
        self.write(status);
    }

    fn write(&mut self, status: DeploymentStatus) {
        let shown = self.deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION));
        let revision = self.revision.take().filter(|revision| Some(revision) != shown);
        if revision.is_some() || Some(&status) != self.deployment.status.as_ref() {
            self.plan.write(write_status(self.deployment, status, revision));
        }
    }
}

/// Status and revision go in one write: the status subresource takes annotations as well.
fn write_status(deployment: &Deployment, status: DeploymentStatus, revision: Option<String>) -> Write {
    let mut metadata = deployment.metadata.clone();
    if let Some(revision) = revision {
        metadata.annotations.get_or_insert_default().insert(REVISION.to_owned(), revision);
    }
    Write::replace_status(&Deployment { metadata, spec: deployment.spec.clone(), status: Some(status) }).or_gone()
}

/// What else to do when the new ReplicaSet could not be made.
pub fn after_failure(view: &View, failure: &Failure, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let deployment = &*view.deployment;
    let Some(spec) = &deployment.spec else { return plan };
    let ours: Vec<_> = view.sets.iter().filter(|set| !revisions::is_foreign(deployment, set)).cloned().collect();
    let (new, old) = revisions::split(spec, &ours);
    if new.is_some() || failure.is_conflict() || failure.is_namespace_terminating() {
        return plan;
    }
    let mut status = deployment.status.clone().unwrap_or_default();
    let total = old.iter().map(|set| size(set)).sum();
    let set = revisions::make(deployment, spec, status.collision_count, revisions::next(&old), total);
    if failure.reason() == "AlreadyExists" {
        let existing = view.sets.iter().find(|known| known.metadata.name == set.metadata.name);
        // Our own from a moment ago shows up in the cache by itself.
        if existing.is_none_or(|existing| revisions::is_collision(deployment, spec, existing)) {
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        }
    } else if progress::deadline(spec).is_some() {
        let message = format!("Failed to create new replica set {:?}: {failure}", Key::of(&set).name);
        progress::set(&mut status, "False", "ReplicaSetCreateError", message, now);
    }
    if Some(&status) != deployment.status.as_ref() {
        plan.write(write_status(deployment, status, None));
    }
    plan
}
