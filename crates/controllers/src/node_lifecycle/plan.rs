//! What is to be done about a node: its conditions when it is silent, its taints, its pods' readiness.
use super::{taints, zones::Eviction};
use crate::{
    pods,
    runtime::{Plan, Write},
};
use client::{Key, events::reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const MONITORED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// What there is.
pub struct View {
    pub node: Arc<Node>,
    pub heard_at: Timestamp,
    /// It is seen for the first time.
    pub is_new: bool,
    /// Whether its pods may be driven away, if it is not ready.
    pub eviction: Eviction,
    pub pods: Vec<Arc<Pod>>,
    pub times: Times,
}

/// As the flags say.
#[derive(Clone, Copy)]
pub struct Times {
    /// How long a node may be silent.
    pub grace: Duration,
    /// How long one may take that never said anything.
    pub startup_grace: Duration,
    /// How often a node that is not ready is looked at.
    pub period: Duration,
}

/// A condition of the node.
pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether its Ready condition is true.
pub fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|condition| condition.status == "True")
}

fn about(name: &str, uid: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid,
        ..Default::default()
    }
}

/// The node was deleted.
pub fn gone(name: &str, uid: Option<String>) -> Plan {
    let mut plan = Plan::nothing();
    let message = format!("Node {name} event: Removing Node {name} from Controller");
    plan.normal(&about(name, uid), "RemovingNode", message);
    plan
}

/// Whether the node is to ask for its turn to be emptied: it has been known to be not ready, and still has its pods.
pub fn asks_for_eviction(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|ready| ready.status != "True") && !taints::is_evicting(node)
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let node = &*view.node;
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if view.is_new {
        let message = format!("Node {name} event: Registered Node {name} in Controller");
        plan.normal(&about(name, node.metadata.uid.clone()), "RegisteredNode", message);
    }
    label(&mut plan, node);
    let known_ready = condition(node, "Ready").is_some();
    let grace = if known_ready { view.times.grace } else { view.times.startup_grace };
    let silent = now.duration_since(view.heard_at);
    let left = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX) - silent;
    let is_silent = left <= SignedDuration::ZERO;
    let conditions = if is_silent { silenced(node, now) } else { known(node) };
    if conditions != known(node) {
        let mut changed = node.clone();
        changed.status.get_or_insert_default().conditions = Some(conditions.clone());
        plan.write(Write::replace_status(&changed).or_gone());
        if is_ready(node) {
            let message = format!("Node {name} status is now: NodeNotReady");
            plan.normal(&about(name, node.metadata.uid.clone()), "NodeNotReady", message);
        }
    }
    if !is_silent && let Ok(left) = Duration::try_from(left) {
        plan.again_in(left + Duration::from_millis(10));
    }
    // A status just written changes the version that taints must be written over: they come next.
    if conditions == known(node) {
        taint(&mut plan, view, &conditions, now);
    }
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if !ready && known_ready {
        unready_pods(&mut plan, view, now);
        // The state of its zone may change without a change of this node.
        plan.again_in(match view.eviction {
            Eviction::Waits(time) => time,
            Eviction::Allowed | Eviction::Stopped => view.times.period,
        });
    }
    plan
}

fn known(node: &Node) -> Vec<NodeCondition> {
    node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default()
}

/// The conditions of a node that has not been heard from for too long.
fn silenced(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions = known(node);
    for kind in MONITORED {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    conditions
}

fn taint(plan: &mut Plan, view: &View, conditions: &[NodeCondition], now: Timestamp) {
    let node = &*view.node;
    let states: Vec<_> = conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
    let taints = taints::wanted(node, &states, view.eviction, now);
    let known = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    if taints != known {
        let version = &node.metadata.resource_version;
        let taints = Some(taints).filter(|taints| !taints.is_empty());
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        plan.write(Write::merge::<Node>(Key::of(node), patch).or_gone());
    }
}

/// The older names of the labels of operating system and architecture say the same as the present ones.
fn label(plan: &mut Plan, node: &Node) {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let mut missing = serde_json::Map::new();
    for name in ["os", "arch"] {
        let (old, new) = (format!("beta.kubernetes.io/{name}"), format!("kubernetes.io/{name}"));
        if let Some(value) = labels.get(&new).filter(|value| labels.get(&old) != Some(value)) {
            missing.insert(old, value.clone().into());
        }
    }
    if !missing.is_empty() {
        let patch = json!({ "metadata": { "uid": node.metadata.uid, "labels": missing } });
        plan.write(Write::strategic::<Node>(Key::of(node), patch).or_gone().or_conflict());
    }
}

/// Pods on a node that is not ready are not ready: services must not send anything there.
fn unready_pods(plan: &mut Plan, view: &View, now: Timestamp) {
    for pod in view.pods.iter().filter(|pod| pods::is_ready(pod)) {
        let condition =
            json!({ "type": "Ready", "status": "False", "lastTransitionTime": apimachinery::time::rfc3339(now) });
        let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
        plan.write(Write::strategic::<Pod>(Key::of(&**pod), patch).at("status").or_gone().or_conflict());
        plan.warning(&reference(&**pod), "NodeNotReady", "Node is not ready");
    }
}
