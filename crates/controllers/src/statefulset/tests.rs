//! StatefulSets and pods in, plans out.
use super::plan::{View, plan};
use crate::fixtures::{now, object, objects};
use std::collections::BTreeSet;

fn planned(spec: &str, pods: &str) -> String {
    let set = format!(
        "metadata: {{name: db, namespace: default, uid: set}}\n\
         spec: {{serviceName: db, selector: {{matchLabels: {{app: db}}}}, template: {{metadata: {{labels: {{app: db}}}}, spec: {{containers: []}}}}, \
         volumeClaimTemplates: [{{metadata: {{name: data}}, spec: {{}}}}], {spec}}}"
    );
    let view = View { set: object(&set), pods: objects(pods), revisions: Vec::new(), claims: BTreeSet::new() };
    let text = plan(&view, now()).to_string();
    text.lines()
        .filter(|line| !line.contains("/status ") && !line.contains("Revision"))
        .map(|l| format!("{l}\n"))
        .collect()
}

fn pod(ordinal: i32, revision: &str, ready: bool) -> String {
    let ready = if ready { "True" } else { "False" };
    format!(
        "metadata: {{name: db-{ordinal}, namespace: default, uid: u{ordinal}, labels: {{app: db, controller-revision-hash: '{revision}'}}, \
         ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, name: db, uid: set, controller: true}}]}}\n\
         status: {{phase: Running, conditions: [{{type: Ready, status: '{ready}', lastTransitionTime: '2025-12-31T00:00:00Z'}}]}}\n---\n"
    )
}

/// The name of the revision of the template above.
fn current() -> String {
    let template = "{metadata: {labels: {app: db}}, spec: {containers: []}}";
    let template: std::sync::Arc<k8s_openapi::api::core::v1::PodTemplateSpec> = object(template);
    format!("db-{}", crate::hash::of(&*template, None))
}

#[test]
fn pods_come_one_after_the_other_with_their_claims() {
    insta::assert_snapshot!(planned("replicas: 3", ""), @r#"
    create PersistentVolumeClaim default/data-db-0 -> Normal SuccessfulCreate "create Claim data-db-0 Pod db-0 in StatefulSet db success"
    create Pod default/db-0 -> Normal SuccessfulCreate "create Pod db-0 in StatefulSet db successful"
    "#);
    let one = pod(0, &current(), true);
    assert!(planned("replicas: 3", &one).contains("create Pod default/db-1"));
    let unready = pod(0, &current(), false);
    assert_eq!(planned("replicas: 3", &unready), "");
}

#[test]
fn parallel_sets_do_not_wait() {
    let text = planned("replicas: 3, podManagementPolicy: Parallel", &pod(0, &current(), false));
    assert!(text.contains("create Pod default/db-1") && text.contains("create Pod default/db-2"), "{text}");
}

#[test]
fn the_highest_goes_first() {
    let pods: String = (0..3).map(|ordinal| pod(ordinal, &current(), true)).collect();
    let text = planned("replicas: 1", &pods);
    assert!(text.contains("delete Pod default/db-2") && !text.contains("db-1"), "{text}");
}

#[test]
fn updates_go_from_the_highest_down_to_the_partition() {
    let pods: String = (0..3).map(|ordinal| pod(ordinal, "old", true)).collect();
    assert!(planned("replicas: 3", &pods).starts_with("delete Pod default/db-2"));
    let partition = "replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 3}}";
    assert_eq!(planned(partition, &pods), "");
    assert_eq!(planned("replicas: 3, updateStrategy: {type: OnDelete}", &pods), "");
}

#[test]
fn ended_pods_make_room() {
    let failed = pod(0, &current(), false).replace("Running", "Failed");
    let text = planned("replicas: 1", &failed);
    assert!(
        text.contains("StatefulSet default/db is recreating failed Pod db-0")
            && text.contains("delete Pod default/db-0"),
        "{text}"
    );
}
