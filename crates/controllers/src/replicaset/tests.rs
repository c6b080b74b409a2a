//! ReplicaSets and their pods in, plans out.
use super::plan::{Replicated, View, after_failure, plan};
use crate::{
    fixtures::{now, object, objects},
    runtime::Failure,
};
use std::collections::BTreeMap;

fn view(set: &str, pods: &str) -> View {
    let set = format!(
        "metadata: {{name: web, namespace: default, uid: rs-1, generation: 1}}\n\
         spec: {{selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}}}, {set}"
    );
    View { owner: Replicated::Set(object(&set)), pods: objects(pods), spread: BTreeMap::new() }
}

fn pod(name: &str, rest: &str) -> String {
    format!(
        "metadata: {{name: {name}, namespace: default, uid: {name}, labels: {{app: web}}, \
         ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: rs-1, controller: true}}]}}\n{rest}\n---\n"
    )
}

const READY: &str = "spec: {nodeName: n, containers: []}\nstatus: {phase: Running, conditions: [{type: Ready, status: 'True', lastTransitionTime: '2025-12-31T23:00:00Z'}]}";
const SYNCED: &str = "status: {replicas: 2, fullyLabeledReplicas: 2, readyReplicas: 2, availableReplicas: 2, terminatingReplicas: 0, observedGeneration: 1}";

#[test]
fn missing_pods_are_created() {
    let plan = plan(&view("replicas: 2}", ""), now()).to_string();
    insta::assert_snapshot!(plan, @r#"
    | create Pod default/web- -> Normal SuccessfulCreate "Created pod: {name}"
    | create Pod default/web- -> Normal SuccessfulCreate "Created pod: {name}"
    replace ReplicaSet default/web/status {"observedGeneration":1,"replicas":0,"terminatingReplicas":0}
    "#);
}

#[test]
fn nothing_to_do_is_nothing() {
    let pods = [pod("a", READY), pod("b", READY)].concat();
    assert_eq!(plan(&view(&format!("replicas: 2}}\n{SYNCED}"), &pods), now()).to_string(), "");
}

#[test]
fn pending_and_unready_pods_go_first() {
    let pods = [pod("a", READY), pod("b", "status: {phase: Pending}"), pod("c", READY)].concat();
    let plan = plan(&view(&format!("replicas: 2}}\n{SYNCED}"), &pods), now()).to_string();
    insta::assert_snapshot!(plan, @r#"
    | delete Pod default/b -> Normal SuccessfulDelete "Deleted pod: b"
    replace ReplicaSet default/web/status {"availableReplicas":2,"fullyLabeledReplicas":3,"observedGeneration":1,"readyReplicas":2,"replicas":3,"terminatingReplicas":0}
    "#);
}

#[test]
fn ended_pods_do_not_count() {
    let pods = [pod("a", READY), pod("b", "status: {phase: Failed}")].concat();
    let plan = plan(&view("replicas: 1}", &pods), now()).to_string();
    assert!(!plan.contains("create Pod") && !plan.contains("delete Pod"), "{plan}");
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    let orphan = "metadata: {name: o, namespace: default, uid: o, labels: {app: web}}\nstatus: {phase: Running}\n---\n";
    let stranger = pod("s", READY).replace("app: web", "app: other");
    let plan = plan(&view("replicas: 1}", &format!("{orphan}{stranger}")), now()).to_string();
    insta::assert_snapshot!(plan, @r#"
    check ReplicaSet default/web
    | patch Pod default/o {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"rs-1"}],"uid":"o"}}
    | patch Pod default/s {"metadata":{"ownerReferences":[{"$patch":"delete","uid":"rs-1"}],"uid":"s"}}
    replace ReplicaSet default/web/status {"fullyLabeledReplicas":1,"observedGeneration":1,"replicas":1,"terminatingReplicas":0}
    "#);
}

#[test]
fn a_set_being_deleted_creates_nothing() {
    let mut view = view("replicas: 2}", "");
    if let Replicated::Set(set) = &mut view.owner {
        let set = std::sync::Arc::make_mut(set);
        set.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    }
    assert!(!plan(&view, now()).to_string().contains("create Pod"));
}

#[test]
fn refusals_show_in_the_status() {
    let failure = Failure::Invalid("exceeded quota".to_owned());
    let plan = after_failure(&view("replicas: 1}", ""), &failure, now()).to_string();
    insta::assert_snapshot!(plan, @r#"replace ReplicaSet default/web/status {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"exceeded quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure"}],"observedGeneration":1,"replicas":0,"terminatingReplicas":0}"#);
}

#[test]
fn availability_is_waited_for() {
    let fresh = READY.replace("2025-12-31T23:00:00Z", "2025-12-31T23:59:55Z");
    let plan = plan(&view("replicas: 1, minReadySeconds: 10}", &pod("a", &fresh)), now()).to_string();
    assert!(plan.contains(r#""readyReplicas":1,"replicas":1"#) && !plan.contains("available"), "{plan}");
    assert!(plan.ends_with("again in 10s\n"), "{plan}");
}
