//! DaemonSets, nodes and pods in, plans out.
use super::plan::{View, plan};
use crate::fixtures::{now, object, objects};

const SET: &str = "metadata: {name: log, namespace: default, uid: ds, generation: 1}\n\
    spec:\n  selector: {matchLabels: {app: log}}\n  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}\n  \
    template: {metadata: {labels: {app: log}}, spec: {nodeSelector: {os: linux}, containers: []}}";

fn node(name: &str, rest: &str) -> String {
    format!("metadata: {{name: {name}, labels: {{os: linux}}}}\n{rest}\n---\n")
}

fn pod(name: &str, node: &str, hash: &str, ready: bool) -> String {
    let ready = if ready { "True" } else { "False" };
    format!(
        "metadata: {{name: {name}, namespace: default, uid: {name}, labels: {{app: log, controller-revision-hash: '{hash}'}}, \
         ownerReferences: [{{apiVersion: apps/v1, kind: DaemonSet, name: log, uid: ds, controller: true}}]}}\n\
         spec: {{nodeName: {node}, containers: []}}\n\
         status: {{phase: Running, conditions: [{{type: Ready, status: '{ready}', lastTransitionTime: '2025-12-31T00:00:00Z'}}]}}\n---\n"
    )
}

fn planned(nodes: &str, pods: &str) -> String {
    let view = View { set: object(SET), pods: objects(pods), revisions: Vec::new(), nodes: objects(nodes) };
    let text = plan(&view, now()).to_string();
    text.lines().filter(|line| !line.contains("/status ")).map(|line| format!("{line}\n")).collect()
}

/// The hash of the template in [`SET`].
fn current() -> String {
    let text = planned("", "");
    let name = text.strip_prefix("create ControllerRevision default/log-").expect("a revision");
    name.trim().to_owned()
}

#[test]
fn every_suitable_node_gets_a_pod() {
    let nodes = [
        node("a", ""),
        node("b", "spec: {unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}"),
        node("c", "spec: {taints: [{key: mine, effect: NoSchedule}]}"),
        "metadata: {name: d, labels: {os: windows}}\n---\n".to_owned(),
    ];
    assert_eq!(
        planned(&nodes.concat(), "").matches("create Pod default/log- ").count(),
        2,
        "cordoned nodes count, tainted and foreign do not"
    );
}

#[test]
fn pods_leave_nodes_that_no_longer_suit() {
    let evicting = node("a", "spec: {taints: [{key: mine, effect: NoExecute}]}");
    assert!(planned(&evicting, &pod("x", "a", "h", true)).contains("delete Pod default/x"));
    let tainted = node("a", "spec: {taints: [{key: mine, effect: NoSchedule}]}");
    assert!(!planned(&tainted, &pod("x", "a", &current(), true)).contains("delete Pod"));
}

#[test]
fn failed_and_surplus_pods_are_replaced() {
    let hash = current();
    let failed = pod("x", "a", &hash, false).replace("Running", "Failed");
    let text = planned(&node("a", ""), &failed);
    assert!(
        text.contains("Found failed daemon pod x on node a, will try to kill it")
            && text.contains("delete Pod default/x"),
        "{text}"
    );
    let two = [pod("x", "a", &hash, true), pod("y", "a", &hash, true)].concat();
    assert!(planned(&node("a", ""), &two).contains("delete Pod default/y"));
}

#[test]
fn templates_roll_out_one_at_a_time() {
    let nodes = [node("a", ""), node("b", "")].concat();
    let old = [pod("x", "a", "old", true), pod("y", "b", "old", true)].concat();
    let text = planned(&nodes, &old);
    assert_eq!(text.matches("delete Pod").count(), 1, "{text}");
    let one_down = [pod("x", "a", &current(), false), pod("y", "b", "old", true)].concat();
    assert!(!planned(&nodes, &one_down).contains("delete Pod"), "the new pod is not available yet");
}
