//! What is to be done about a DaemonSet: a pod on each node that suits, new templates rolled out, status.
use super::template::{self, HASH_LABEL};
use crate::{
    claim,
    history::{self, Style},
    node_fit, pods,
    runtime::{Plan, Write},
};
use apimachinery::labels;
use client::{Key, events::reference};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus},
    core::v1::{Node, ObjectReference, Pod},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const STYLE: Style = Style { label: HASH_LABEL, hash: history::OF_STRUCT };
/// Most pods created or deleted in one go.
const BURST: usize = 250;

/// What there is: the set, the pods and revisions it controls or may adopt, all nodes.
pub struct View {
    pub set: Arc<DaemonSet>,
    pub pods: Vec<Arc<Pod>>,
    pub revisions: Vec<Arc<ControllerRevision>>,
    pub nodes: Vec<Arc<Node>>,
}

/// Whether the set's pod should be started on a node, and whether one that is there may stay.
fn suits(spec: &DaemonSetSpec, node: &Node) -> (bool, bool) {
    let Some(pod) = &spec.template.spec else { return (false, false) };
    let named = pod.node_name.as_deref().filter(|name| !name.is_empty());
    if named.is_some_and(|name| Some(name) != node.metadata.name.as_deref()) || !node_fit::selects(pod, node) {
        return (false, false);
    }
    let tolerations = template::tolerations(pod);
    let stays = node_fit::untolerated(&tolerations, node, &["NoExecute"]).is_none();
    (stays && node_fit::untolerated(&tolerations, node, &["NoSchedule"]).is_none(), stays)
}

type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let set = &*view.set;
    let Some(spec) = &set.spec else { return plan };
    let Ok(selector) = labels::from_label_selector(&spec.selector) else { return plan };
    if selector.is_everything() {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        plan.warning(&reference(set), "SelectingAll", message);
        return plan;
    }
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let claimed = claim::claim(&mut plan, set, &selector, &view.pods);
    let revisions = history::sorted(claim::claim(&mut plan, set, &selector, &view.revisions));
    let known = set.status.clone().unwrap_or_default();
    let current = history::current(&mut plan, set, &STYLE, &spec.template, &revisions, known.collision_count);
    let mut by_node = ByNode::new();
    for pod in &claimed {
        if let Some(node) = template::node(pod) {
            by_node.entry(node.to_owned()).or_default().push(pod.clone());
        }
    }
    by_node.values_mut().for_each(|pods| pods.sort_by_key(|pod| age(pod)));
    let mut collisions = known.collision_count;
    if current.collides {
        collisions = Some(collisions.unwrap_or(0) + 1);
    } else {
        place(&mut plan, view, spec, &by_node, &current.hash);
        roll(&mut plan, view, spec, &by_node, &current.hash, now);
        let live = |name: &str| {
            name == current.name || claimed.iter().any(|pod| hash_of(pod).is_some_and(|hash| name.ends_with(hash)))
        };
        history::clean_up(&mut plan, &revisions, spec.revision_history_limit, live);
    }
    let status = status(view, spec, &by_node, &current.hash, collisions, now);
    let (ready, available) = (status.number_ready, status.number_available.unwrap_or(0));
    if Some(&status) != set.status.as_ref() {
        let (metadata, spec) = (set.metadata.clone(), set.spec.clone());
        plan.write(Write::replace_status(&DaemonSet { metadata, spec, status: Some(status) }).or_gone());
    }
    if ready != available {
        plan.again_in(Duration::from_secs(spec.min_ready_seconds.unwrap_or(0).max(1).unsigned_abs().into()));
    }
    plan
}

fn age(pod: &Pod) -> (Option<Timestamp>, Option<String>) {
    (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.name.clone())
}

fn hash_of(pod: &Pod) -> Option<&str> {
    pods::labels(&pod.metadata).get(HASH_LABEL).map(String::as_str)
}

fn create(view: &View, spec: &DaemonSetSpec, hash: &str, node: &str) -> Write {
    let about = reference(&*view.set);
    Write::create(&template::pod(&view.set, &spec.template, hash, node))
        .told(&about, "SuccessfulCreate", "Created pod: {name}")
        .told_failed(&about, "FailedCreate", "Error creating: {error}")
}

fn delete(about: &ObjectReference, pod: &Pod) -> Write {
    let message = format!("Deleted pod: {}", Key::of(pod).name);
    let deletion = Write::delete(pod, None).told(about, "SuccessfulDelete", message);
    deletion.told_failed(about, "FailedDelete", "Error deleting: {error}")
}

/// Start pods where they are missing, stop those that are too many or ended.
fn place(plan: &mut Plan, view: &View, spec: &DaemonSetSpec, by_node: &ByNode, hash: &str) {
    let about = reference(&*view.set);
    let (mut creations, mut deletions) = (Vec::new(), Vec::new());
    let surge = max_surge(view, spec) > 0;
    for node in &view.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let (should_run, may_stay) = suits(spec, node);
        let pods = by_node.get(name).map(Vec::as_slice).unwrap_or_default();
        let running = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        if !may_stay {
            deletions.extend(running.map(|pod| delete(&about, pod)));
            continue;
        }
        if pods.is_empty() {
            if should_run {
                creations.push(create(view, spec, hash, name));
            }
            continue;
        }
        let mut kept: Vec<&Arc<Pod>> = Vec::new();
        for pod in running {
            let pod_name = Key::of(&**pod).name;
            let (reason, state) = match pods::phase(pod) {
                "Failed" => ("FailedDaemonPod", "failed"),
                "Succeeded" => ("SucceededDaemonPod", "succeeded"),
                _ => {
                    kept.push(pod);
                    continue;
                }
            };
            let text = format!(
                "Found {state} daemon pod {pod_name} on node {name}, will try to {} it",
                if state == "failed" { "kill" } else { "delete" }
            );
            if state == "failed" {
                plan.warning(&about, reason, text)
            } else {
                plan.normal(&about, reason, text)
            }
            deletions.push(delete(&about, pod));
        }
        // During a surging update an old and a new pod stand side by side.
        let extra = kept.into_iter().skip(if surge { 2 } else { 1 });
        deletions.extend(extra.map(|pod| delete(&about, pod)));
    }
    let gone = |node: &str| !view.nodes.iter().any(|known| known.metadata.name.as_deref() == Some(node));
    for pods in by_node.iter().filter(|(node, _)| gone(node)).map(|(_, pods)| pods) {
        let unbound = pods.iter().filter(|pod| pods::node(pod).is_empty() && pod.metadata.deletion_timestamp.is_none());
        deletions.extend(unbound.map(|pod| delete(&about, pod)));
    }
    creations.truncate(BURST);
    deletions.truncate(BURST);
    plan.batch(creations);
    plan.batch(deletions);
}

fn rolling(spec: &DaemonSetSpec) -> bool {
    spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn desired(view: &View, spec: &DaemonSetSpec) -> i32 {
    i32::try_from(view.nodes.iter().filter(|node| suits(spec, node).0).count()).unwrap_or(i32::MAX)
}

fn max_surge(view: &View, spec: &DaemonSetSpec) -> i32 {
    let update = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    crate::deployment::scaled(update.and_then(|update| update.max_surge.as_ref()), desired(view, spec), true)
}

/// Replace pods of older templates, no more at a time than may be unavailable.
fn roll(plan: &mut Plan, view: &View, spec: &DaemonSetSpec, by_node: &ByNode, hash: &str, now: Timestamp) {
    if !rolling(spec) {
        return;
    }
    let about = reference(&*view.set);
    let desired = desired(view, spec);
    let update = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let unavailable = update.and_then(|update| update.max_unavailable.as_ref());
    let surge = max_surge(view, spec);
    let allowed = match unavailable {
        None => 1,
        Some(_) => crate::deployment::scaled(unavailable, desired, true),
    };
    let allowed = if allowed == 0 && surge == 0 { 1 } else { allowed };
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let is_available = |pod: &Arc<Pod>| pods::is_active(pod) && pods::is_available(pod, min_ready, now);
    let mut down = 0;
    let mut surging = 0;
    let (mut waiting, mut broken, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for node in view.nodes.iter().filter(|node| suits(spec, node).0) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let pods = by_node.get(name).map(Vec::as_slice).unwrap_or_default();
        let alive: Vec<_> = pods.iter().filter(|pod| pods::is_active(pod)).collect();
        let old = alive.iter().find(|pod| hash_of(pod) != Some(hash));
        let fresh = alive.iter().find(|pod| hash_of(pod) == Some(hash));
        match (old, fresh) {
            (Some(old), Some(fresh)) if is_available(fresh) => broken.push(delete(&about, old)),
            (Some(_), Some(_)) => surging += 1,
            (Some(old), None) if surge > 0 && is_available(old) => new.push(name),
            // A pod that is down anyway costs nothing.
            (Some(old), None) if !is_available(old) => broken.push(delete(&about, old)),
            (Some(old), None) => waiting.push(delete(&about, old)),
            (None, Some(fresh)) if is_available(fresh) => {}
            (None, _) => down += 1,
        }
        if old.is_some_and(|old| !is_available(old)) && fresh.is_none() {
            down += 1;
        }
    }
    let room = usize::try_from(allowed - down).unwrap_or(0);
    waiting.truncate(if surge > 0 { 0 } else { room });
    broken.extend(waiting);
    broken.truncate(BURST);
    plan.batch(broken);
    let surges = usize::try_from(surge - surging).unwrap_or(0);
    plan.batch(new.into_iter().take(surges).map(|node| create(view, spec, hash, node)).collect());
}

fn status(
    view: &View,
    spec: &DaemonSetSpec,
    by_node: &ByNode,
    hash: &str,
    collision_count: Option<i32>,
    now: Timestamp,
) -> DaemonSetStatus {
    let (mut desired, mut current, mut misplaced, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0, 0);
    for node in &view.nodes {
        let pods = by_node.get(node.metadata.name.as_deref().unwrap_or_default());
        let pods = pods.map(Vec::as_slice).unwrap_or_default();
        if !suits(spec, node).0 {
            misplaced += i32::from(!pods.is_empty());
            continue;
        }
        desired += 1;
        // Of an old and a new pod the ready and newer one counts.
        let rank = |pod: &&Arc<Pod>| (pods::is_ready(pod), age(pod));
        let Some(pod) = pods.iter().max_by(|a, b| rank(a).cmp(&rank(b))) else { continue };
        current += 1;
        if pods::is_ready(pod) {
            ready += 1;
            available += i32::from(pods::is_available(pod, spec.min_ready_seconds.unwrap_or(0), now));
        }
        updated += i32::from(hash_of(pod) == Some(hash));
    }
    let counted = |count: i32| Some(count).filter(|count| *count != 0);
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: current,
        number_misscheduled: misplaced,
        number_ready: ready,
        number_available: counted(available),
        number_unavailable: counted(desired - available),
        updated_number_scheduled: counted(updated),
        observed_generation: view.set.metadata.generation,
        collision_count,
        conditions: view.set.status.as_ref().and_then(|status| status.conditions.clone()),
    }
}
