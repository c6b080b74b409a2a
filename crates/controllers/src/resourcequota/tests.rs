//! Namespaces in, usage out.
use super::plan::{View, plan};
use crate::{
    fixtures::{object, objects},
    runtime::plan::Step,
};
use std::collections::BTreeMap;

fn used(spec: &str, pods: &str) -> BTreeMap<String, String> {
    let view = View {
        quota: object(&format!("metadata: {{name: q, namespace: a}}\nspec: {{{spec}}}")),
        pods: objects(pods),
        services: objects("spec: {type: LoadBalancer, ports: [{port: 1}, {port: 2}]}"),
        claims: objects("spec: {storageClassName: fast, resources: {requests: {storage: 10Gi}}}"),
        counts: BTreeMap::from([("configmaps".to_owned(), 3), ("deployments.apps".to_owned(), 2)]),
    };
    let Some(Step::Write(write)) = plan(&view).steps.pop() else { return BTreeMap::new() };
    serde_json::from_value(write.body["status"]["used"].clone()).unwrap_or_default()
}

const POD: &str = "spec:\n  containers: [{name: a, resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: '2'}}}, {name: b, resources: {requests: {cpu: 250m}}}]\n  \
    initContainers: [{name: i, resources: {requests: {cpu: '1', memory: 512Mi}}}]\nstatus: {phase: Running}\n---\n";

#[test]
fn everything_is_counted() {
    let hard = "hard: {pods: 9, cpu: 9, requests.memory: 9, limits.cpu: 9, services.nodeports: 9, services.loadbalancers: 9, \
                requests.storage: 9, fast.storageclass.storage.k8s.io/requests.storage: 9, configmaps: 9, count/deployments.apps: 9, secrets: 9}";
    let ended = "spec: {containers: []}\nstatus: {phase: Succeeded}\n---\n";
    insta::assert_debug_snapshot!(used(hard, &format!("{POD}{ended}")), @r#"
    {
        "configmaps": "3",
        "count/deployments.apps": "2",
        "cpu": "1",
        "fast.storageclass.storage.k8s.io/requests.storage": "10Gi",
        "limits.cpu": "2",
        "pods": "1",
        "requests.memory": "1Gi",
        "requests.storage": "10Gi",
        "secrets": "0",
        "services.loadbalancers": "1",
        "services.nodeports": "2",
    }
    "#);
}

#[test]
fn scopes_choose_pods() {
    let best_effort = "spec: {containers: [{name: a}]}\nstatus: {phase: Running}\n---\n";
    let pods = format!("{POD}{best_effort}{best_effort}");
    assert_eq!(used("hard: {pods: 9}, scopes: [BestEffort]", &pods)["pods"], "2");
    assert_eq!(used("hard: {pods: 9}, scopes: [NotBestEffort]", &pods)["pods"], "1");
    assert_eq!(used("hard: {pods: 9}, scopes: [Terminating]", &pods)["pods"], "0");
}
