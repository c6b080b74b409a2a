//! StatefulSets and pods in, plans out.
use super::plan::{View, plan};
use crate::fixtures::{now, object, objects};
use std::collections::BTreeMap;

fn planned(spec: &str, pods: &str) -> String {
    let set = format!(
        "metadata: {{name: db, namespace: default, uid: set}}\n\
         spec: {{serviceName: db, selector: {{matchLabels: {{app: db}}}}, template: {{metadata: {{labels: {{app: db}}}}, spec: {{containers: []}}}}, \
         volumeClaimTemplates: [{{metadata: {{name: data}}, spec: {{}}}}], {spec}}}"
    );
    let view = View { set: object(&set), pods: objects(pods), revisions: Vec::new(), claims: BTreeMap::new() };
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
    format!("db-{}", crate::history::OF_BYTES(&template, None))
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
    assert!(text.contains("delete Pod default/db-0") && !text.contains("create Pod"), "{text}");
}

#[test]
fn scaling_down_halts_at_pods_that_are_unwell() {
    let pods: String = (0..3).map(|ordinal| pod(ordinal, &current(), false)).collect();
    assert_eq!(planned("replicas: 0", &pods), "", "the lowest is unwell as well");
    let pods = [pod(0, &current(), true), pod(1, &current(), true), pod(2, &current(), false)].concat();
    assert!(planned("replicas: 0", &pods).contains("delete Pod default/db-2"), "it is the only one");
}

#[test]
fn several_pods_are_updated_at_a_time_if_they_may() {
    let pods: String = (0..4).map(|ordinal| pod(ordinal, "old", true)).collect();
    let text = planned("replicas: 4, updateStrategy: {rollingUpdate: {maxUnavailable: 50%}}", &pods);
    assert!(text.contains("delete Pod default/db-3") && text.contains("delete Pod default/db-2"), "{text}");
    assert!(!text.contains("db-1"), "{text}");
}

#[test]
fn claims_belong_to_what_they_go_with() {
    let claims: Vec<std::sync::Arc<k8s_openapi::api::core::v1::PersistentVolumeClaim>> = objects(
        "metadata: {name: data-db-0, namespace: default}\n---\nmetadata: {name: data-db-1, namespace: default}\n",
    );
    let set = "metadata: {name: db, namespace: default, uid: set}\n\
         spec: {replicas: 1, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: []}}, \
         volumeClaimTemplates: [{metadata: {name: data}, spec: {}}], persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}}";
    let view = View {
        set: object(set),
        pods: objects(&[pod(0, &current(), true), pod(1, &current(), true)].concat()),
        revisions: Vec::new(),
        claims: claims.into_iter().map(|claim| (claim.metadata.name.clone().unwrap_or_default(), claim)).collect(),
    };
    let owners = plan(&view, now()).steps.into_iter().filter_map(|step| match step {
        crate::runtime::plan::Step::Write(write) if write.target.kind == "PersistentVolumeClaim" => {
            let owner = write.body.pointer("/metadata/ownerReferences/0/kind").cloned();
            Some(format!("{} {} {}", write.verb, write.target.key, owner.unwrap_or_default()))
        }
        _ => None,
    });
    let owners: Vec<String> = owners.collect();
    assert_eq!(owners, [r#"replace default/data-db-0 "StatefulSet""#, r#"replace default/data-db-1 "Pod""#]);
    assert!(plan(&view, now()).to_string().contains("delete Pod default/db-1"));
}
