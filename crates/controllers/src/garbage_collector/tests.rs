//! Objects and owners in, looks and plans out.
use super::{
    graph::{Graph, Node},
    plan::{Owner, View, plan},
};
use crate::{fixtures::object, runtime::Target};
use client::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object named like its UID; `meta` is YAML.
fn node(uid: &str, meta: &str) -> Node {
    let meta: ObjectMeta = object(&format!("{{name: {uid}, namespace: a, uid: {uid}, resourceVersion: '7', {meta}}}"));
    let target = Target { collection: "/api/v1/pods".into(), kind: "Pod".into(), key: Key::new("a", uid) };
    Node::new(target, &meta)
}

fn owned(uid: &str, owners: &[&str]) -> Node {
    let owners: Vec<String> = owners
        .iter()
        .map(|o| format!("{{apiVersion: v1, kind: Pod, name: {o}, uid: {o}, blockOwnerDeletion: true}}"))
        .collect();
    node(uid, &format!("ownerReferences: [{}]", owners.join(", ")))
}

const WAITING: &str = "deletionTimestamp: '2025-12-31T00:00:00Z', finalizers: [foregroundDeletion]";
const ORPHANING: &str = "deletionTimestamp: '2025-12-31T00:00:00Z', finalizers: [orphan]";

fn planned(node: Node, owners: &[Owner], dependents: Vec<Node>) -> String {
    let owners = node.owners.iter().cloned().zip(owners.iter().copied()).collect();
    plan(&View { node, owners, dependents }).to_string()
}

#[test]
fn only_what_may_have_to_go_is_looked_at() {
    let mut graph = Graph::default();
    assert_eq!(graph.apply(owned("pod", &["rs"])), ["pod"], "its owner is not there");
    assert_eq!(graph.apply(node("rs", "")), ["pod"], "its owner came");
    assert!(graph.get("pod").is_some_and(|pod| !graph.needs_a_look(pod)));
    assert!(graph.apply(owned("pod", &["rs"])).is_empty(), "an update");
    assert_eq!(graph.remove("rs"), ["pod"]);
    assert!(graph.remove("pod").is_empty());
}

#[test]
fn a_waiting_owner_is_looked_at_as_its_dependents_go() {
    let mut graph = Graph::default();
    graph.apply(node("rs", ""));
    graph.apply(owned("pod", &["rs"]));
    let mut look = graph.apply(node("rs", WAITING));
    look.sort();
    assert_eq!(look, ["pod", "rs"]);
    assert_eq!(graph.remove("pod"), ["rs"]);
}

#[test]
fn objects_without_owners_left_are_deleted() {
    assert_eq!(planned(owned("pod", &["rs"]), &[Owner::Absent], vec![]), "delete Pod a/pod\n");
    assert_eq!(planned(owned("pod", &["rs"]), &[Owner::Solid], vec![]), "");
    assert_eq!(planned(owned("pod", &["rs"]), &[Owner::Unknown], vec![]), "");
    assert_eq!(planned(owned("pod", &["rs"]), &[Owner::WaitsForDependents], vec![]), "delete Pod a/pod\n");
}

#[test]
fn a_circle_of_waiting_owners_is_opened() {
    let waiting = node(
        "b",
        &format!(
            "{WAITING}, ownerReferences: [{{apiVersion: v1, kind: Pod, name: a, uid: a, blockOwnerDeletion: true}}]"
        ),
    );
    let text = planned(owned("a", &["b"]), &[Owner::WaitsForDependents], vec![waiting]);
    insta::assert_snapshot!(text, @r#"
    patch Pod a/a {"metadata":{"ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":false,"kind":"Pod","name":"b","uid":"b"}],"resourceVersion":"7","uid":"a"}}
    delete Pod a/a
    "#);
}

#[test]
fn an_object_with_another_owner_is_only_released() {
    let text = planned(owned("pod", &["rs", "job"]), &[Owner::Absent, Owner::Solid], vec![]);
    insta::assert_snapshot!(text, @r#"patch Pod a/pod {"metadata":{"ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"kind":"Pod","name":"job","uid":"job"}],"resourceVersion":"7","uid":"pod"}}"#);
}

#[test]
fn foreground_deletion_ends_when_nothing_blocks() {
    assert_eq!(planned(node("rs", WAITING), &[], vec![owned("pod", &["rs"])]), "");
    let text = planned(node("rs", WAITING), &[], vec![]);
    insta::assert_snapshot!(text, @r#"patch Pod a/rs {"metadata":{"finalizers":null,"resourceVersion":"7","uid":"rs"}}"#);
}

#[test]
fn orphaning_frees_dependents_first() {
    let text = planned(node("rs", ORPHANING), &[], vec![owned("pod", &["rs"])]);
    insta::assert_snapshot!(text, @r#"
    | patch Pod a/pod {"metadata":{"ownerReferences":null,"resourceVersion":"7","uid":"pod"}}
    patch Pod a/rs {"metadata":{"finalizers":null,"resourceVersion":"7","uid":"rs"}}
    "#);
}

#[test]
fn owners_in_other_namespaces_are_told_of_and_count_as_absent() {
    let text = planned(owned("pod", &["x"]), &[Owner::Elsewhere], vec![]);
    assert!(text.starts_with("event Warning OwnerRefInvalidNamespace"), "{text}");
    assert!(text.ends_with("delete Pod a/pod\n"), "{text}");
}
