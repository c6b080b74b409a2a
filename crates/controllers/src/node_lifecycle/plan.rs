//! What is to be done about a node: its conditions when it is silent, its taints, its pods' readiness.
use super::taints;
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
/// How long a node that never said anything may take (upstream's `--node-startup-grace-period`).
const STARTUP_GRACE: Duration = Duration::from_secs(60);

/// What there is: the node, when we last heard from it, whether we see it for the first time, whether
/// any node of the cluster is ready, and the node's pods.
pub struct View {
    pub node: Arc<Node>,
    pub heard_at: Timestamp,
    pub is_new: bool,
    pub any_ready: bool,
    pub pods: Vec<Arc<Pod>>,
    pub grace: Duration,
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

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let node = &*view.node;
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if view.is_new {
        let message = format!("Node {name} event: Registered Node {name} in Controller");
        plan.normal(&about(name, node.metadata.uid.clone()), "RegisteredNode", message);
    }
    let grace = if condition(node, "Ready").is_some() { view.grace } else { STARTUP_GRACE };
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
    if !ready && condition(node, "Ready").is_some() {
        unready_pods(&mut plan, view, now);
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
    // When no node at all is ready it is more likely us who are cut off: nothing is evicted then.
    let taints = taints::wanted(node, &states, view.any_ready, now);
    let known = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    if taints != known {
        let version = &node.metadata.resource_version;
        let taints = Some(taints).filter(|taints| !taints.is_empty());
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        plan.write(Write::merge::<Node>(Key::of(node), patch).or_gone());
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
