//! Pods in, deletions out.
use super::plan::{View, plan};
use crate::fixtures::{now, objects};

fn view(pods: &str, gone: &[&str], threshold: i64) -> String {
    let gone_nodes = gone.iter().map(|node| (*node).to_owned()).collect();
    plan(&View { pods: objects(pods), gone_nodes, waiting: false, threshold }, now()).to_string()
}

#[test]
fn the_oldest_ended_pods_go_past_the_threshold() {
    let pod = |name: &str, day: u8| {
        format!(
            "metadata: {{name: {name}, namespace: a, creationTimestamp: '2025-01-0{day}T00:00:00Z'}}\nstatus: {{phase: Succeeded}}\n---\n"
        )
    };
    let pods = [pod("x", 3), pod("y", 1), pod("z", 2)].concat();
    assert_eq!(view(&pods, &[], 2), "delete Pod a/y 0\n");
    assert_eq!(view(&pods, &[], 0), "", "zero is no limit");
}

#[test]
fn pods_on_lost_nodes_fail_and_go() {
    let pods = "metadata: {name: x, namespace: a}\nspec: {nodeName: lost, containers: []}\nstatus: {phase: Running}\n---\n\
                metadata: {name: y, namespace: a}\nspec: {nodeName: here, containers: []}\nstatus: {phase: Running}";
    let text = view(pods, &["lost"], 0);
    assert!(text.starts_with("patch Pod a/x/status") && text.contains("DeletionByPodGC"), "{text}");
    assert!(text.ends_with("delete Pod a/x 0\n"), "{text}");
}

#[test]
fn pods_deleted_before_they_were_bound_go_at_once() {
    let pods = "metadata: {name: x, namespace: a, deletionTimestamp: '2025-01-01T00:00:00Z'}\nstatus: {phase: Pending}";
    assert_eq!(view(pods, &[], 0), "delete Pod a/x 0\n");
}
