//! Each check with its text, and what the labels of a namespace lead to.
use super::*;
use crate::testing::{Ask, Cluster};
use k8s_openapi::api::{apps::v1::Deployment, core::v1};
use serde_json::{Value, json};

fn found(level: Level, version: Option<u32>, annotations: Value, spec: Value) -> Vec<String> {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec})).expect("pod");
    let spec = pod.spec.as_ref().expect("spec");
    let subject = Subject { metadata: &pod.metadata, spec };
    evaluate(&Policy { level, version }, &subject).iter().map(ToString::to_string).collect()
}

fn baseline(spec: Value) -> Vec<String> {
    found(Level::Baseline, None, json!({}), spec)
}

/// One container `a` with this security context.
fn with(context: Value) -> Value {
    json!({"containers": [{"name": "a", "securityContext": context}]})
}

#[test]
fn baseline_checks() {
    assert_eq!(baseline(json!({"containers": [{"name": "a"}]})), Vec::<String>::new());
    let cases = [
        (
            with(json!({"privileged": true})),
            r#"privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            with(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})),
            r#"non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)"#,
        ),
        (
            json!({"hostNetwork": true, "hostPID": true, "containers": []}),
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            json!({"containers": [], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            r#"hostPath volumes (volume "v")"#,
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80}]}, {"name": "b", "ports": [{"containerPort": 1, "hostPort": 90}]}]}),
            r#"hostPorts (containers "a", "b" use hostPorts 80, 90)"#,
        ),
        (
            json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": 1, "host": "h"}}}]}),
            r#"probe or lifecycle host (container "a" uses probe or lifecycle host "h")"#,
        ),
        (
            with(json!({"procMount": "Unmasked"})),
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (
            with(json!({"seLinuxOptions": {"type": "x", "user": "u"}})),
            r#"seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)"#,
        ),
        (
            with(json!({"seccompProfile": {"type": "Unconfined"}})),
            r#"seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            json!({"containers": [], "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            with(json!({"windowsOptions": {"hostProcess": true}})),
            r#"hostProcess (container "a" must not set securityContext.windowsOptions.hostProcess=true)"#,
        ),
        (
            json!({"containers": [], "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            r#"forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")"#,
        ),
    ];
    for (spec, want) in cases {
        assert_eq!(baseline(spec), [want]);
    }
    let annotations = json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined"});
    assert_eq!(
        found(Level::Baseline, None, annotations, json!({"containers": []})),
        [
            r#"forbidden AppArmor profile (annotation "container.apparmor.security.beta.kubernetes.io/a" must not set AppArmor profile type to "unconfined")"#
        ]
    );
}

#[test]
fn restricted_checks() {
    let restricted = |spec| found(Level::Restricted, None, json!({}), spec);
    assert_eq!(
        restricted(
            json!({"containers": [{"name": "a"}], "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]})
        ),
        [
            r#"allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)"#,
            r#"unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"])"#,
            r#"restricted volume types (volume "v" uses restricted volume type "nfs")"#,
            r#"runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)"#,
            r#"seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#,
        ]
    );
    let good = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(restricted(with(good.clone())), Vec::<String>::new());
    let mut root = good;
    root["runAsUser"] = json!(0);
    root["runAsNonRoot"] = json!(false);
    assert_eq!(
        restricted(with(root)),
        [
            r#"runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)"#,
            r#"runAsUser=0 (container "a" must not set runAsUser=0)"#
        ]
    );
}

#[test]
fn versions_choose_the_checks() {
    let probe = json!({"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 1, "host": "h"}}}]});
    assert_eq!(found(Level::Baseline, Some(33), json!({}), probe.clone()), Vec::<String>::new());
    assert_eq!(found(Level::Baseline, Some(34), json!({}), probe).len(), 1);
    let old = found(Level::Restricted, Some(7), json!({}), json!({"containers": [{"name": "a"}]}));
    assert_eq!(old, [r#"runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)"#]);
}

fn plugin(labels: Value) -> PodSecurity {
    let cluster = Cluster::default().with("namespaces", json!({"metadata": {"name": "ns", "labels": labels}}));
    PodSecurity::new(&cluster.config())
}

fn privileged_pod() -> Value {
    json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": with(json!({"privileged": true}))})
}

#[tokio::test]
async fn enforcement_refuses_pods() {
    let plugin = plugin(json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    assert_eq!(
        Ask::<Pod>::create("", "pods", privileged_pod()).refusal(&plugin).await,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"a\" must not set \
         securityContext.privileged=true)"
    );
    let mut update = Ask::<Pod>::update("", "pods", privileged_pod(), privileged_pod());
    update.run(&plugin).await.expect("what is there may be changed");
}

#[tokio::test]
async fn warnings_and_audit() {
    let labels = json!({"pod-security.kubernetes.io/warn": "baseline", "pod-security.kubernetes.io/warn-version": "v1.30",
        "pod-security.kubernetes.io/audit": "restricted"});
    let plugin = plugin(labels);
    let mut create = Ask::<Pod>::create("", "pods", privileged_pod());
    create.run(&plugin).await.expect("allowed");
    assert_eq!(
        create.warnings,
        [
            "would violate PodSecurity \"baseline:v1.30\": privileged (container \"a\" must not set securityContext.privileged=true)"
        ]
    );
    assert!(
        create.annotations["pod-security.kubernetes.io/audit-violations"]
            .starts_with("would violate PodSecurity \"restricted:latest\"")
    );
    assert_eq!(create.annotations["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
}

#[tokio::test]
async fn workloads_are_warned_not_refused() {
    let plugin = plugin(json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    let template = json!({"metadata": {}, "spec": with(json!({"privileged": true}))});
    let spec = json!({"selector": {}, "template": template});
    let deployment = json!({"metadata": {"name": "d", "namespace": "ns"}, "spec": spec});
    let mut create = Ask::<Deployment>::create("apps", "deployments", deployment);
    create.run(&plugin).await.expect("allowed");
    assert_eq!(create.warnings.len(), 1);
}

#[tokio::test]
async fn namespaces_need_sound_labels_and_warn_of_pods() {
    let label = "pod-security.kubernetes.io/enforce";
    let namespace = |value: &str| json!({"metadata": {"name": "ns", "labels": {label: value}}});
    let cluster = Cluster::default().with("pods", privileged_pod());
    let plugin = PodSecurity::new(&cluster.config());
    let text = Ask::<v1::Namespace>::create("", "namespaces", namespace("x")).refusal(&plugin).await;
    assert_eq!(
        text,
        "Namespace \"ns\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be \
         one of privileged, baseline, restricted"
    );
    let mut update = Ask::<v1::Namespace>::update("", "namespaces", namespace("privileged"), namespace("baseline"));
    update.run(&plugin).await.expect("allowed");
    assert_eq!(
        update.warnings,
        [
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "p: privileged"
        ]
    );
}
