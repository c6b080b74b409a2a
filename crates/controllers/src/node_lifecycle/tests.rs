//! Nodes in, plans out.
use super::{
    plan::{Times, View, plan},
    zones::Eviction,
};
use crate::fixtures::{now, object, objects};
use std::time::Duration;

fn view(node: &str, silent_s: i64, pods: &str) -> View {
    View {
        node: object(node),
        heard_at: now() - jiff::SignedDuration::from_secs(silent_s),
        is_new: false,
        eviction: Eviction::Allowed,
        pods: objects(pods),
        times: Times {
            grace: Duration::from_secs(50),
            startup_grace: Duration::from_secs(60),
            period: Duration::from_secs(5),
        },
    }
}

const READY: &str = "metadata: {name: n, uid: u}\nspec: {}\nstatus: {conditions: [{type: Ready, status: 'True', reason: KubeletReady}]}";
const POD: &str =
    "metadata: {name: p, namespace: a, uid: p}\nstatus: {phase: Running, conditions: [{type: Ready, status: 'True'}]}";

#[test]
fn a_ready_node_is_looked_at_when_it_may_have_gone_silent() {
    assert_eq!(plan(&view(READY, 10, ""), now()).to_string(), "again in 40.01s\n");
}

#[test]
fn a_silent_node_is_unknown_tainted_and_its_pods_unready() {
    let plan = plan(&view(READY, 50, POD), now()).to_string();
    insta::assert_snapshot!(plan, @r#"
    replace Node n/status {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubelet stopped posting node status.","reason":"NodeStatusUnknown","status":"Unknown","type":"Ready"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"MemoryPressure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"DiskPressure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"PIDPressure"}]}
    event Normal NodeNotReady "Node n status is now: NodeNotReady"
    patch Pod a/p/status {"metadata":{"uid":"p"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","status":"False","type":"Ready"}]}}
    event Warning NodeNotReady "Node is not ready"
    again in 5s
    "#);
}

#[test]
fn a_node_that_never_spoke_is_given_a_minute() {
    let new = "metadata: {name: n, creationTimestamp: '2025-12-31T23:58:00Z'}\nspec: {}";
    assert_eq!(plan(&view(new, 55, ""), now()).to_string(), "again in 5.01s\n");
    assert!(plan(&view(new, 60, ""), now()).to_string().contains("Kubelet never posted node status."));
}

#[test]
fn a_node_that_is_not_ready_is_tainted_until_it_is() {
    let unready = READY.replace("'True'", "'False'");
    let text = plan(&view(&unready, 0, ""), now()).to_string();
    insta::assert_snapshot!(text, @r#"
    patch Node n {"metadata":{"resourceVersion":null},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"}]}}
    again in 5s
    "#);
    let tainted = READY.replace(
        "spec: {}",
        "spec: {taints: [{key: node.kubernetes.io/not-ready, effect: NoExecute}, {key: mine, effect: NoSchedule}]}",
    );
    let text = plan(&view(&tainted, 0, ""), now()).to_string();
    assert!(text.contains(r#""taints":[{"effect":"NoSchedule","key":"mine"}]"#), "{text}");
}

#[test]
fn nothing_is_evicted_when_no_node_is_ready() {
    let mut view = view(&READY.replace("'True'", "'False'"), 0, "");
    view.eviction = Eviction::Stopped;
    let text = plan(&view, now()).to_string();
    assert!(text.contains("NoSchedule") && !text.contains("NoExecute"), "{text}");
}

#[test]
fn a_node_is_emptied_in_its_turn_and_then_stays_so() {
    let unready = READY.replace("'True'", "Unknown");
    let mut waiting = view(&unready, 0, "");
    waiting.eviction = Eviction::Waits(Duration::from_secs(3));
    let text = plan(&waiting, now()).to_string();
    assert!(text.contains("NoSchedule") && !text.contains("NoExecute") && text.ends_with("again in 3s\n"), "{text}");
    // From unreachable to answering and not ready, or back: the taint changes, nobody waits.
    let evicting =
        unready.replace("spec: {}", "spec: {taints: [{key: node.kubernetes.io/not-ready, effect: NoExecute}]}");
    let mut other = view(&evicting, 0, "");
    other.eviction = Eviction::Waits(Duration::from_secs(3));
    let text = plan(&other, now()).to_string();
    assert!(text.contains(r#""effect":"NoExecute","key":"node.kubernetes.io/unreachable""#), "{text}");
    assert!(!text.contains("not-ready"), "{text}");
}

#[test]
fn older_labels_follow_the_present_ones() {
    let labelled = READY.replace(
        "uid: u}",
        "uid: u, labels: {kubernetes.io/os: linux, kubernetes.io/arch: arm64, beta.kubernetes.io/os: x}}",
    );
    let text = plan(&view(&labelled, 0, ""), now()).to_string();
    insta::assert_snapshot!(text, @r#"
    patch Node n {"metadata":{"labels":{"beta.kubernetes.io/arch":"arm64","beta.kubernetes.io/os":"linux"},"uid":"u"}}
    again in 50.01s
    "#);
}

#[test]
fn cordoned_nodes_carry_a_taint() {
    let cordoned = READY.replace("spec: {}", "spec: {unschedulable: true}");
    assert!(plan(&view(&cordoned, 0, ""), now()).to_string().contains("node.kubernetes.io/unschedulable"));
}
