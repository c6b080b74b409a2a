//! Deployments and their ReplicaSets in, plans out.
use super::plan::{View, plan};
use crate::fixtures::{now, object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::{collections::BTreeMap, sync::Arc};

fn deployment(replicas: i32, image: &str, rest: &str) -> Deployment {
    object(&format!(
        "metadata: {{name: web, namespace: default, uid: d-1, generation: 1}}\n\
         spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  progressDeadlineSeconds: 600\n  \
         revisionHistoryLimit: 1\n  strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: 1, maxUnavailable: 1}}}}\n  \
         template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: c, image: {image}}}]}}}}\n{rest}"
    ))
}

/// A set of `deployment(_, image, _)` with `size` pods wanted, `up` of them there and available.
fn set(name: &str, image: &str, revision: i32, size: i32, up: i32, desired: i32) -> Arc<ReplicaSet> {
    Arc::new(object(&format!(
        "metadata:\n  name: {name}\n  namespace: default\n  uid: {name}\n  generation: 1\n  labels: {{app: web}}\n  \
         creationTimestamp: '2025-01-01T00:00:0{revision}Z'\n  annotations: {{deployment.kubernetes.io/revision: '{revision}', \
         deployment.kubernetes.io/desired-replicas: '{desired}', deployment.kubernetes.io/max-replicas: '{max}'}}\n  \
         ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: d-1, controller: true}}]\n\
         spec:\n  replicas: {size}\n  selector: {{matchLabels: {{app: web, pod-template-hash: {name}}}}}\n  \
         template: {{metadata: {{labels: {{app: web, pod-template-hash: {name}}}}}, spec: {{containers: [{{name: c, image: {image}}}]}}}}\n\
         status: {{replicas: {up}, readyReplicas: {up}, availableReplicas: {up}, observedGeneration: 1}}",
        max = desired + 1
    )))
}

fn rendered(deployment: Deployment, sets: Vec<Arc<ReplicaSet>>) -> String {
    let view = View { deployment: Arc::new(deployment), sets, running: BTreeMap::new() };
    let text = plan(&view, now()).to_string();
    // Statuses have tests of their own.
    text.lines()
        .filter(|line| !line.contains("/status ") && !line.starts_with("again"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn status(deployment: Deployment, sets: Vec<Arc<ReplicaSet>>) -> serde_json::Value {
    let view = View { deployment: Arc::new(deployment), sets, running: BTreeMap::new() };
    let plan = plan(&view, now());
    let written = plan.steps.into_iter().find_map(|step| match step {
        crate::runtime::plan::Step::Write(write) if write.subresource == Some("status") => Some(write.body),
        _ => None,
    });
    written.unwrap_or_default()
}

fn conditions(status: &serde_json::Value) -> Vec<String> {
    let all = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |c: &serde_json::Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|c| format!("{}={} {} {}", text(c, "type"), text(c, "status"), text(c, "reason"), text(c, "message")))
        .collect()
}

#[test]
fn the_first_revision_is_made_at_full_size() {
    let plan = rendered(deployment(3, "a:1", ""), vec![]);
    insta::assert_snapshot!(plan, @r#"create ReplicaSet default/web-5ff89dd699 3 -> Normal ScalingReplicaSet "Scaled up replica set web-5ff89dd699 from 0 to 3""#);
    let status = status(deployment(3, "a:1", ""), vec![]);
    assert_eq!(status["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    insta::assert_debug_snapshot!(conditions(&status), @r#"
    [
        "Progressing=True NewReplicaSetCreated Created new replica set \"web-5ff89dd699\"",
        "Available=False MinimumReplicasUnavailable Deployment does not have minimum availability.",
    ]
    "#);
}

#[test]
fn a_new_template_starts_with_the_surge() {
    let plan = rendered(deployment(3, "a:2", ""), vec![set("old", "a:1", 1, 3, 3, 3)]);
    insta::assert_snapshot!(plan, @r#"create ReplicaSet default/web-57d6bcb884 1 -> Normal ScalingReplicaSet "Scaled up replica set web-57d6bcb884 from 0 to 1""#);
}

#[test]
fn old_pods_go_as_far_as_availability_allows() {
    let sets = vec![set("old", "a:1", 1, 3, 3, 3), set("new", "a:2", 2, 1, 0, 3)];
    insta::assert_snapshot!(rendered(deployment(3, "a:2", ""), sets), @r#"patch ReplicaSet default/old {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"3","deployment.kubernetes.io/max-replicas":"4"}},"spec":{"replicas":2}} -> Normal ScalingReplicaSet "Scaled down replica set old from 3 to 2""#);
    let sets = vec![set("old", "a:1", 1, 2, 2, 3), set("new", "a:2", 2, 2, 2, 3)];
    insta::assert_snapshot!(rendered(deployment(3, "a:2", ""), sets), @r#"patch ReplicaSet default/old {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"3","deployment.kubernetes.io/max-replicas":"4"}},"spec":{"replicas":0}} -> Normal ScalingReplicaSet "Scaled down replica set old from 2 to 0""#);
}

#[test]
fn unhealthy_old_pods_go_first() {
    let sets = vec![set("old", "a:1", 1, 3, 1, 3), set("new", "a:2", 2, 1, 1, 3)];
    insta::assert_snapshot!(rendered(deployment(3, "a:2", ""), sets), @r#"patch ReplicaSet default/old {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"3","deployment.kubernetes.io/max-replicas":"4"}},"spec":{"replicas":1}} -> Normal ScalingReplicaSet "Scaled down replica set old from 3 to 1""#);
}

#[test]
fn scaling_in_mid_rollout_is_proportional() {
    let sets = vec![set("old", "a:1", 1, 8, 8, 10), set("new", "a:2", 2, 3, 3, 10)];
    insta::assert_snapshot!(rendered(deployment(20, "a:2", ""), sets), @r#"
    patch ReplicaSet default/old {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"20","deployment.kubernetes.io/max-replicas":"21"}},"spec":{"replicas":15}} -> Normal ScalingReplicaSet "Scaled up replica set old from 8 to 15"
    patch ReplicaSet default/new {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"20","deployment.kubernetes.io/max-replicas":"21"}},"spec":{"replicas":6}} -> Normal ScalingReplicaSet "Scaled up replica set new from 3 to 6"
    "#);
}

#[test]
fn rolling_back_reuses_the_old_set_under_a_new_number() {
    let sets = vec![set("one", "a:1", 1, 0, 0, 3), set("two", "a:2", 2, 3, 3, 3)];
    insta::assert_snapshot!(rendered(deployment(3, "a:1", ""), sets), @r#"
    patch ReplicaSet default/one {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"3","deployment.kubernetes.io/max-replicas":"4","deployment.kubernetes.io/revision":"3","deployment.kubernetes.io/revision-history":"1"}},"spec":{"minReadySeconds":0}}
    patch ReplicaSet default/one {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"3","deployment.kubernetes.io/max-replicas":"4"}},"spec":{"replicas":1}} -> Normal ScalingReplicaSet "Scaled up replica set one from 0 to 1"
    "#);
}

#[test]
fn a_complete_rollout_keeps_the_history_limit() {
    let done = "status: {replicas: 1, updatedReplicas: 1, availableReplicas: 1, observedGeneration: 1}";
    let sets = vec![set("one", "a:1", 1, 0, 0, 1), set("two", "a:2", 2, 0, 0, 1), set("three", "a:3", 3, 1, 1, 1)];
    insta::assert_snapshot!(rendered(deployment(1, "a:3", done), sets.clone()), @r#"delete ReplicaSet default/one"#);
    insta::assert_debug_snapshot!(conditions(&status(deployment(1, "a:3", done), sets)), @r#"
    [
        "Available=True MinimumReplicasAvailable Deployment has minimum availability.",
        "Progressing=True NewReplicaSetAvailable ReplicaSet \"three\" has successfully progressed.",
    ]
    "#);
}

#[test]
fn a_recreate_rollout_empties_first_and_waits_for_pods_to_go() {
    let recreate = || {
        let mut deployment = deployment(2, "a:2", "");
        let strategy = deployment.spec.as_mut().and_then(|spec| spec.strategy.as_mut()).expect("a strategy");
        strategy.type_ = Some("Recreate".to_owned());
        deployment
    };
    insta::assert_snapshot!(rendered(recreate(), vec![set("old", "a:1", 1, 2, 2, 2)]), @r#"patch ReplicaSet default/old {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"2","deployment.kubernetes.io/max-replicas":"2"}},"spec":{"replicas":0}} -> Normal ScalingReplicaSet "Scaled down replica set old from 2 to 0""#);
    let running = BTreeMap::from([("old".to_owned(), 1)]);
    let view = View { deployment: Arc::new(recreate()), sets: vec![set("old", "a:1", 1, 0, 0, 2)], running };
    assert!(!plan(&view, now()).to_string().contains("create"));
    insta::assert_snapshot!(rendered(recreate(), vec![set("old", "a:1", 1, 0, 0, 2)]), @r#"create ReplicaSet default/web-57d6bcb884 2 -> Normal ScalingReplicaSet "Scaled up replica set web-57d6bcb884 from 0 to 2""#);
}

#[test]
fn a_paused_deployment_only_scales() {
    let mut paused = deployment(5, "a:2", "");
    paused.spec.as_mut().expect("a spec").paused = Some(true);
    insta::assert_snapshot!(rendered(paused.clone(), vec![set("old", "a:1", 1, 3, 3, 3)]), @r#"patch ReplicaSet default/old {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"5","deployment.kubernetes.io/max-replicas":"6"}},"spec":{"replicas":5}} -> Normal ScalingReplicaSet "Scaled up replica set old from 3 to 5""#);
    insta::assert_debug_snapshot!(conditions(&status(paused, vec![set("old", "a:1", 1, 3, 3, 3)])), @r#"
    [
        "Progressing=Unknown DeploymentPaused Deployment is paused",
        "Available=False MinimumReplicasUnavailable Deployment does not have minimum availability.",
    ]
    "#);
}

#[test]
fn a_stuck_rollout_exceeds_its_deadline() {
    let stuck = "status: {replicas: 4, updatedReplicas: 1, availableReplicas: 4, readyReplicas: 4, observedGeneration: 1, \
                 conditions: [{type: Progressing, status: 'True', reason: ReplicaSetUpdated, lastUpdateTime: '2025-12-31T23:49:00Z'}]}";
    let sets = vec![set("old", "a:1", 1, 2, 3, 3), set("new", "a:2", 2, 2, 1, 3)];
    insta::assert_debug_snapshot!(conditions(&status(deployment(3, "a:2", stuck), sets)), @r#"
    [
        "Available=True MinimumReplicasAvailable Deployment has minimum availability.",
        "Progressing=False ProgressDeadlineExceeded ReplicaSet \"new\" has timed out progressing.",
    ]
    "#);
}
