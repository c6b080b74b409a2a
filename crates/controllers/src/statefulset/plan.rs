//! What is to be done about a StatefulSet: the next pod in order, the next one to go, the next to update.
//!
//! Source: "StatefulSets: deployment and scaling guarantees". With `Parallel` nothing waits for its
//! neighbours except updates.
use super::{
    claims::{self, Claims},
    identity, status,
};
use crate::{
    claim,
    history::{self, Style},
    pods,
    runtime::{Plan, Write},
};
use apimachinery::labels;
use client::{Key, events::reference};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec},
    core::v1::{Pod, PodTemplateSpec},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// When to look again for a claim that is on its way out.
const CLAIM_PAUSE: Duration = Duration::from_secs(1);
const STYLE: Style = Style { label: "controller.kubernetes.io/hash", hash: history::OF_BYTES };

/// What there is: the set, the pods and revisions it controls or may adopt, the claims of its namespace by name.
pub struct View {
    pub set: Arc<StatefulSet>,
    pub pods: Vec<Arc<Pod>>,
    pub revisions: Vec<Arc<ControllerRevision>>,
    pub claims: Claims,
}

struct Work<'a> {
    set: &'a StatefulSet,
    spec: &'a StatefulSetSpec,
    claims: &'a Claims,
    by_ordinal: BTreeMap<i32, Arc<Pod>>,
    current: (String, PodTemplateSpec),
    update: (String, PodTemplateSpec),
    plan: Plan,
    now: Timestamp,
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let set = &*view.set;
    let Some(spec) = &set.spec else { return plan };
    let Ok(selector) = labels::from_label_selector(&spec.selector) else { return plan };
    if selector.is_everything() || set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let is_member = |pod: &Pod| identity::ordinal(set, pod).is_some();
    let claimed = claim::claim_some(&mut plan, set, &selector, &view.pods, is_member);
    let revisions = history::sorted(claim::claim(&mut plan, set, &selector, &view.revisions));
    let known = set.status.clone().unwrap_or_default();
    let update = history::current(&mut plan, set, &STYLE, &spec.template, &revisions, known.collision_count);
    if update.collides {
        let mut changed = set.clone();
        changed.status.get_or_insert_default().collision_count = Some(known.collision_count.unwrap_or(0) + 1);
        plan.write(Write::replace_status(&changed));
        return plan;
    }
    let current = known.current_revision.filter(|name| !name.is_empty()).unwrap_or_else(|| update.name.clone());
    let old = revisions.iter().find(|revision| revision.metadata.name.as_ref() == Some(&current));
    let old = old.and_then(|revision| history::template(revision));
    let current = match old {
        Some(template) => (current, template),
        None => (update.name.clone(), spec.template.clone()),
    };
    let by_ordinal = claimed.iter().filter_map(|pod| Some((identity::ordinal(set, pod)?, pod.clone())));
    let by_ordinal: BTreeMap<_, _> = by_ordinal.collect();
    let members: Vec<_> = by_ordinal.values().cloned().collect();
    let update = (update.name, spec.template.clone());
    let mut work = Work { set, spec, claims: &view.claims, by_ordinal, current, update, plan, now };
    work.run();
    let Work { mut plan, current, update, .. } = work;
    let live =
        |name: &str| name == current.0 || name == update.0 || members.iter().any(|p| identity::revision(p) == name);
    history::clean_up(&mut plan, &revisions, spec.revision_history_limit, live);
    let status = status::count(set, spec, &members, &current.0, &update.0, now);
    if spec.min_ready_seconds.unwrap_or(0) > 0 && status.available_replicas != status.ready_replicas.or(Some(0)) {
        plan.again_in(Duration::from_secs(spec.min_ready_seconds.unwrap_or(1).unsigned_abs().into()));
    }
    if Some(&status) != set.status.as_ref() {
        let (metadata, spec) = (set.metadata.clone(), set.spec.clone());
        plan.write(Write::replace_status(&StatefulSet { metadata, spec, status: Some(status) }).or_gone());
    }
    plan
}

fn is_healthy(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none()
}

impl Work<'_> {
    fn run(&mut self) {
        if self.create_and_replace() && self.scale_down() {
            self.roll();
        }
    }

    fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn range(&self) -> std::ops::Range<i32> {
        let first = self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        first..first.saturating_add(self.spec.replicas.unwrap_or(1))
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_healthy(pod) && pods::is_available(pod, self.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    fn partition(&self) -> i32 {
        let update = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        update.and_then(|update| update.partition).unwrap_or(0)
    }

    /// Pods below the partition, and those that were there before an update began, keep the old template.
    fn template_for(&self, ordinal: i32) -> &(String, PodTemplateSpec) {
        let index = ordinal - self.range().start;
        let strategy = self.spec.update_strategy.as_ref();
        let has_partition = strategy.is_some_and(|strategy| strategy.rolling_update.is_some());
        let kept = self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
        let old = !self.is_on_delete() && if has_partition { index < self.partition() } else { index < kept };
        if old { &self.current } else { &self.update }
    }

    fn is_on_delete(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }

    /// Whether everything in range is as it should be, so that later steps may follow.
    fn create_and_replace(&mut self) -> bool {
        let mut complete = true;
        for ordinal in self.range() {
            let pod = self.by_ordinal.get(&ordinal).cloned();
            let settled = match pod {
                None => {
                    self.create(ordinal);
                    false
                }
                Some(pod) if pods::is_terminal(&pod) => {
                    // Whatever its exit codes say, its successor is made once it is gone.
                    if pod.metadata.deletion_timestamp.is_none() {
                        self.delete(&pod);
                    }
                    false
                }
                Some(pod) => {
                    if pods::phase(&pod) == "Pending" {
                        self.create_claims(ordinal);
                    }
                    self.is_available(&pod)
                }
            };
            if let Some(pod) = self.by_ordinal.get(&ordinal) {
                let writes = claims::adjust(self.claims, self.set, self.spec, pod, ordinal, true);
                writes.into_iter().for_each(|write| self.plan.write(write));
            }
            complete &= settled || !self.is_ordered();
            if !settled && self.is_ordered() {
                // What is out of order may still be scaled down once these are well.
                return false;
            }
        }
        complete
    }

    /// Whether all claims of the pod are there or will be.
    fn create_claims(&mut self, ordinal: i32) -> bool {
        let about = reference(self.set);
        let name = Key::of(self.set).name;
        let pod_name = format!("{name}-{ordinal}");
        for mut claim in identity::claims(self.set, self.spec, ordinal) {
            let claim_name = claim.metadata.name.clone().unwrap_or_default();
            if let Some(known) = self.claims.get(&claim_name) {
                if known.metadata.deletion_timestamp.is_some() {
                    let what = format!("create Pod {pod_name} in StatefulSet {name} failed error: pvc {claim_name}");
                    self.plan.warning(&about, "FailedCreate", format!("{what} is being deleted"));
                    self.plan.again_in(CLAIM_PAUSE);
                    return false;
                }
                continue;
            }
            claims::own(&mut claim, self.set, self.spec);
            let created = format!("create Claim {claim_name} Pod {pod_name} in StatefulSet {name} success");
            let refused =
                format!("create Claim {claim_name} for Pod {pod_name} in StatefulSet {name} failed error: {{error}}");
            let write = Write::create(&claim).or_exists().told(&about, "SuccessfulCreate", created);
            self.plan.write(write.told_failed(&about, "FailedCreate", refused));
        }
        true
    }

    fn create(&mut self, ordinal: i32) {
        if claims::is_stale(self.claims, self.set, self.spec, ordinal) {
            return self.plan.again_in(CLAIM_PAUSE);
        }
        if !self.create_claims(ordinal) {
            return;
        }
        let about = reference(self.set);
        let name = Key::of(self.set).name;
        let pod_name = format!("{name}-{ordinal}");
        let (revision, template) = self.template_for(ordinal).clone();
        let pod = identity::pod(self.set, self.spec, &template, &revision, ordinal);
        let what = format!("create Pod {pod_name} in StatefulSet {name}");
        let write = Write::create(&pod).or_exists().told(&about, "SuccessfulCreate", format!("{what} successful"));
        self.plan.write(write.told_failed(&about, "FailedCreate", format!("{what} failed error: {{error}}")));
    }

    fn delete(&mut self, pod: &Pod) {
        let about = reference(self.set);
        let what = format!("delete Pod {} in StatefulSet {}", Key::of(pod).name, Key::of(self.set).name);
        let write = Write::delete(pod, None).told(&about, "SuccessfulDelete", format!("{what} successful"));
        self.plan.write(write.told_failed(&about, "FailedDelete", format!("{what} failed error: {{error}}")));
    }

    /// Take pods past the range, the highest first; whether an update may go on.
    fn scale_down(&mut self) -> bool {
        let range = self.range();
        let outside = self.by_ordinal.iter().filter(|(ordinal, _)| !range.contains(ordinal));
        let condemned: Vec<(i32, Arc<Pod>)> = outside.map(|(ordinal, pod)| (*ordinal, pod.clone())).rev().collect();
        for (ordinal, pod) in &condemned {
            let writes = claims::adjust(self.claims, self.set, self.spec, pod, *ordinal, false);
            writes.into_iter().for_each(|write| self.plan.write(write));
        }
        let first_unwell = condemned.iter().rev().find(|(_, pod)| !self.is_available(pod)).map(|(ordinal, _)| *ordinal);
        for (ordinal, pod) in &condemned {
            let is_going = pod.metadata.deletion_timestamp.is_some();
            if !self.is_ordered() {
                if !is_going {
                    self.delete(pod);
                }
                continue;
            }
            // Of several that are unwell only the lowest may go: what is wrong with the others is waited for.
            if !is_going && (self.is_available(pod) || first_unwell == Some(*ordinal)) {
                self.delete(pod);
            }
            return false;
        }
        true
    }

    /// How many pods an update may take down at a time.
    fn max_unavailable(&self) -> usize {
        let update = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let given = update.and_then(|update| update.max_unavailable.as_ref());
        let count = given.map_or(1, |_| crate::deployment::scaled(given, self.spec.replicas.unwrap_or(1), false));
        usize::try_from(count).unwrap_or(0).max(1)
    }

    /// Replace the highest pods of an older revision, when those above them are well.
    fn roll(&mut self) {
        if self.is_on_delete() {
            return;
        }
        let range = self.range();
        let first = range.start.saturating_add(self.partition());
        let is_old = |pod: &Pod, new: &str| identity::revision(pod) != new && pod.metadata.deletion_timestamp.is_none();
        let max = self.max_unavailable();
        if max > 1 {
            let unwell =
                range.clone().filter(|ordinal| self.by_ordinal.get(ordinal).is_none_or(|pod| !self.is_available(pod)));
            let room = max.saturating_sub(unwell.count());
            let old = (first..range.end).rev().filter_map(|ordinal| self.by_ordinal.get(&ordinal).cloned());
            let old: Vec<_> = old.filter(|pod| is_old(pod, &self.update.0)).take(room).collect();
            return old.iter().for_each(|pod| self.delete(pod));
        }
        for ordinal in (first..range.end).rev() {
            let Some(pod) = self.by_ordinal.get(&ordinal).cloned() else { return };
            if is_old(&pod, &self.update.0) {
                return self.delete(&pod);
            }
            if !self.is_available(&pod) {
                return;
            }
        }
    }
}
