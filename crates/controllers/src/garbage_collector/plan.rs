//! What is to be done about one object: remove it, free it from owners, or let it finish its own deletion.
//!
//! Source: "Garbage Collection: cascading deletion".
use super::graph::{FOREGROUND, Node, ORPHAN};
use crate::runtime::{
    Plan, Write,
    plan::{MERGE, Verb},
};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::OwnerReference};
use serde_json::{Value, json};

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Solid,
    /// It is not there, or another object has its name.
    Absent,
    /// It goes when its dependents are gone.
    WaitsForDependents,
    /// It is in another namespace, where it cannot own this.
    Elsewhere,
    /// The server does not have its kind now.
    Unknown,
}

/// What there is: the object as the server has it now, its owners, its dependents as last seen.
pub struct View {
    pub node: Node,
    pub owners: Vec<(OwnerReference, Owner)>,
    pub dependents: Vec<Node>,
}

/// What to do now.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    let node = &view.node;
    if node.deleting {
        if node.has(ORPHAN) {
            orphan_dependents(&mut plan, view);
        } else if node.has(FOREGROUND) {
            finish_foreground(&mut plan, view);
        }
        return plan;
    }
    let is = |wanted: Owner| move |(_, owner): &&(OwnerReference, Owner)| *owner == wanted;
    for (reference, _) in view.owners.iter().filter(is(Owner::Elsewhere)) {
        let text = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
            reference.api_version,
            reference.kind,
            node.namespace().unwrap_or_default(),
            reference.name,
            reference.uid,
            node.namespace().unwrap_or_default()
        );
        plan.warning(&about(node), "OwnerRefInvalidNamespace", text);
    }
    // A cluster-scoped object with a namespaced owner is left alone; it can never be resolved.
    let unresolvable = |owner: &Owner| *owner == Owner::Elsewhere && node.namespace().is_none();
    if view.owners.is_empty() || view.owners.iter().any(|(_, owner)| unresolvable(owner)) {
        return plan;
    }
    let gone = |owner: &Owner| matches!(owner, Owner::Absent | Owner::Elsewhere);
    let solid = view.owners.iter().any(|(_, owner)| matches!(owner, Owner::Solid | Owner::Unknown));
    let waiting = view.owners.iter().any(|(_, owner)| *owner == Owner::WaitsForDependents);
    if solid {
        let drop = |(_, owner): &&(OwnerReference, Owner)| gone(owner) || *owner == Owner::WaitsForDependents;
        let dropped: Vec<&str> = view.owners.iter().filter(drop).map(|(reference, _)| reference.uid.as_str()).collect();
        if !dropped.is_empty() {
            plan.write(release(node, &dropped));
        }
        return plan;
    }
    // In a circle of owners everybody would wait for everybody: who is to go with a dependent that waits already
    // blocks nobody.
    if waiting && view.dependents.iter().any(Node::waits_for_dependents) {
        plan.write(unblock(node));
    }
    // A dependent of an owner that waits goes the same way if it has dependents itself.
    let policy = match (waiting && !view.dependents.is_empty(), node) {
        (true, _) => "Foreground",
        (false, node) if node.has(ORPHAN) => "Orphan",
        (false, node) if node.has(FOREGROUND) => "Foreground",
        _ => "Background",
    };
    plan.write(delete(node, policy));
    plan
}

fn about(node: &Node) -> ObjectReference {
    let version = node.target.collection.trim_start_matches("/apis/").trim_start_matches("/api/");
    ObjectReference {
        api_version: version.rsplit_once('/').map(|(version, _)| version.to_owned()),
        kind: Some(node.target.kind.clone()),
        namespace: node.namespace().map(str::to_owned),
        name: Some(node.target.key.name.to_string()),
        uid: Some(node.uid.clone()),
        ..Default::default()
    }
}

fn delete(node: &Node, policy: &str) -> Write {
    let options = json!({
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": policy,
        "preconditions": { "uid": node.uid },
    });
    let mut write = Write::raw(Verb::Delete, node.target.clone(), options).or_gone();
    write.uid = Some(node.uid.clone());
    write
}

/// A patch of metadata that fails if the object is another or has changed.
fn patch(node: &Node, mut metadata: Value) -> Write {
    metadata["uid"] = node.uid.clone().into();
    if let Some(version) = &node.resource_version {
        metadata["resourceVersion"] = version.clone().into();
    }
    Write::raw(Verb::Patch(MERGE), node.target.clone(), json!({ "metadata": metadata })).or_gone()
}

/// Take owner references away. The whole list is written, if it has not changed meanwhile: that works
/// for kinds without strategic patches as well.
fn release(node: &Node, dropped: &[&str]) -> Write {
    let kept: Vec<&OwnerReference> =
        node.owners.iter().filter(|owner| !dropped.contains(&owner.uid.as_str())).collect();
    let list = if kept.is_empty() { Value::Null } else { json!(kept) };
    patch(node, json!({ "ownerReferences": list }))
}

/// Let no owner wait for this object.
fn unblock(node: &Node) -> Write {
    let owners: Vec<OwnerReference> =
        node.owners.iter().map(|owner| OwnerReference { block_owner_deletion: Some(false), ..owner.clone() }).collect();
    patch(node, json!({ "ownerReferences": owners }))
}

fn without(node: &Node, finalizer: &str) -> Write {
    let kept: Vec<&String> = node.finalizers.iter().filter(|known| *known != finalizer).collect();
    let list = if kept.is_empty() { Value::Null } else { json!(kept) };
    patch(node, json!({ "finalizers": list }))
}

/// Free the dependents, then let the object go.
fn orphan_dependents(plan: &mut Plan, view: &View) {
    let node = &view.node;
    plan.batch(view.dependents.iter().map(|dependent| release(dependent, &[node.uid.as_str()])).collect());
    plan.write(without(node, ORPHAN));
}

/// When nothing blocks it any more, let the object go.
fn finish_foreground(plan: &mut Plan, view: &View) {
    if !view.dependents.iter().any(|dependent| dependent.blocks(&view.node.uid)) {
        plan.write(without(&view.node, FOREGROUND));
    }
}
