//! What is to be done about one object: remove it, free it from owners, or let it finish its own deletion.
//!
//! Source: "Garbage Collection: cascading deletion".
use super::graph::{FOREGROUND, Node, ORPHAN, Reference};
use crate::runtime::{
    Plan, Write,
    plan::{MERGE, Verb},
};
use k8s_openapi::api::core::v1::ObjectReference;
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
    pub owners: Vec<(Reference, Owner)>,
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
    let is = |wanted: Owner| move |(_, owner): &&(Reference, Owner)| *owner == wanted;
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
        let drop = |(_, owner): &&(Reference, Owner)| gone(owner) || *owner == Owner::WaitsForDependents;
        let dropped: Vec<&str> = view.owners.iter().filter(drop).map(|(reference, _)| reference.uid.as_str()).collect();
        if !dropped.is_empty() {
            plan.write(release(node, &dropped));
        }
        return plan;
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

fn release(node: &Node, dropped: &[&str]) -> Write {
    let kept = node.owners.iter().filter(|owner| !dropped.contains(&owner.uid.as_str()));
    let kept: Vec<&Reference> = kept.collect();
    release_write(node, dropped, &kept)
}

/// Owner references are removed by their UID with a strategic patch where the server has one for the
/// kind; a merge patch over the whole list works for all kinds.
fn release_write(node: &Node, dropped: &[&str], kept: &[&Reference]) -> Write {
    let removed: Vec<Value> = dropped.iter().map(|uid| json!({ "$patch": "delete", "uid": uid })).collect();
    if kept.is_empty() {
        return patch(node, json!({ "ownerReferences": null }));
    }
    let metadata = json!({ "uid": node.uid, "ownerReferences": removed });
    Write::raw(
        Verb::Patch("application/strategic-merge-patch+json"),
        node.target.clone(),
        json!({ "metadata": metadata }),
    )
    .or_gone()
}

fn without(node: &Node, finalizer: &str) -> Write {
    let patch = json!({ "metadata": { "uid": node.uid, "$deleteFromPrimitiveList/finalizers": [finalizer] } });
    Write::raw(Verb::Patch("application/strategic-merge-patch+json"), node.target.clone(), patch).or_gone()
}

/// Free the dependents, then let the object go.
fn orphan_dependents(plan: &mut Plan, view: &View) {
    let node = &view.node;
    let releases = view.dependents.iter().map(|dependent| {
        let mut dependent = dependent.clone();
        // Seen a while ago: only the reference itself matters.
        dependent.resource_version = None;
        let kept: Vec<Reference> = dependent.owners.iter().filter(|owner| owner.uid != node.uid).cloned().collect();
        release_write(&dependent, &[node.uid.as_str()], &kept.iter().collect::<Vec<_>>())
    });
    plan.batch(releases.collect());
    plan.write(without(node, ORPHAN));
}

/// When nothing blocks it any more, let the object go.
fn finish_foreground(plan: &mut Plan, view: &View) {
    if !view.dependents.iter().any(|dependent| dependent.blocks(&view.node.uid)) {
        plan.write(without(&view.node, FOREGROUND));
    }
}
