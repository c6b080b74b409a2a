//! Crashes and restarts: nothing that was acknowledged is lost, and healthy containers are not touched.
use crate::{
    fixture::{Cluster, eventually, kill},
    needs_containers,
};
use std::path::Path;

const CONTAINERS: &str = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} \
                          {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";

fn with_pods(name: &str) -> Cluster {
    let cluster = Cluster::started(name);
    for pod in ["a", "b"] {
        cluster.kubectl(&["run", pod, "--image=ferrokube.local/hello:latest", "--image-pull-policy=IfNotPresent"]);
    }
    for pod in ["a", "b"] {
        cluster.wait_for(&["pod", pod], "{.status.containerStatuses[0].ready}", "true");
    }
    cluster
}

fn containers(cluster: &Cluster) -> String {
    cluster.kubectl(&["get", "pods", "-o", CONTAINERS])
}

/// The node reports again, after a moment in which it did not.
fn node_reports(cluster: &Cluster) {
    cluster.wait_for(&["node", &cluster.name], "{.status.conditions[?(@.type==\"Ready\")].status}", "True");
}

#[test]
fn containers_survive_a_crash_of_everything_else() {
    needs_containers!();
    let cluster = with_pods("fk-crash");
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=answer=42"]);
    let before = containers(&cluster);
    kill(cluster.pid());
    let ran = cluster.start();
    assert!(ran.success, "{}\n{}\n{}", ran.stdout, ran.stderr, cluster.log_end());
    assert_eq!(cluster.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.answer}"]), "42");
    node_reports(&cluster);
    assert_eq!(containers(&cluster), before, "containers were restarted");
    assert!(cluster.kubectl(&["logs", "a"]).contains("listening"));
    // And it goes on working.
    cluster.kubectl(&["run", "c", "--image=ferrokube.local/hello:latest", "--image-pull-policy=IfNotPresent"]);
    cluster.wait_for(&["pod", "c"], "{.status.phase}", "Running");
}

/// Everything is killed, containerd and its shims too: `delete` still takes away the sandboxes and what runs in them.
#[test]
fn what_a_crash_of_everything_left_is_deleted() {
    needs_containers!();
    let cluster = with_pods("fk-dead");
    let bridge = Path::new("/sys/class/net").join(format!("{}0", cluster.name)).join("brif");
    let ports: Vec<_> = std::fs::read_dir(bridge).expect("the bridge").flatten().map(|port| port.file_name()).collect();
    assert_eq!(ports.len(), 2, "a port for each pod: {ports:?}");
    kill(cluster.pid());
    kill(cluster.containerd_pid());
    let shims = cluster.shims();
    assert_eq!(shims.len(), 2, "a shim for each pod");
    shims.into_iter().for_each(kill);
    let deleted = cluster.ferrokube(&["delete"]);
    assert!(deleted.success, "{}", deleted.stderr);
    let left: Vec<_> = ports.iter().filter(|port| Path::new("/sys/class/net").join(port).exists()).collect();
    assert!(left.is_empty(), "the pods' network is left: {left:?}");
    for hierarchy in ["", "memory", "cpu", "pids"] {
        let cgroup = Path::new("/sys/fs/cgroup").join(hierarchy).join(&cluster.name);
        assert!(!cgroup.exists(), "{} is left, with what runs in it", cgroup.display());
    }
}

#[test]
fn containers_survive_a_crash_of_containerd() {
    needs_containers!();
    let cluster = with_pods("fk-runtime");
    let before = containers(&cluster);
    let old = cluster.containerd_pid();
    kill(old);
    eventually("containerd is started again", || {
        let new = cluster.containerd_pid();
        if new != old { Ok(()) } else { Err(format!("it is still {new}")) }
    });
    cluster.kubectl(&["run", "c", "--image=ferrokube.local/hello:latest", "--image-pull-policy=IfNotPresent"]);
    cluster.wait_for(&["pod", "c"], "{.status.phase}", "Running");
    cluster.kubectl(&["delete", "pod", "c"]);
    node_reports(&cluster);
    assert_eq!(containers(&cluster), before, "containers were restarted");
}

#[test]
fn a_stopped_cluster_comes_back() {
    needs_containers!();
    let cluster = with_pods("fk-stop");
    let again = cluster.start();
    assert!(again.success && again.stdout.contains("running already"), "{}{}", again.stdout, again.stderr);
    let stopped = cluster.ferrokube(&["stop"]);
    assert!(stopped.success, "{}", stopped.stderr);
    let status = cluster.ferrokube(&["status", "-o", "json"]);
    assert!(status.stdout.contains("\"state\": \"Stopped\""), "{}", status.stdout);
    let ran = cluster.start();
    assert!(ran.success, "{}\n{}\n{}", ran.stdout, ran.stderr, cluster.log_end());
    for pod in ["a", "b"] {
        cluster.wait_for(&["pod", pod], "{.status.containerStatuses[0].ready}", "true");
        cluster.wait_for(&["pod", pod], "{.status.phase}", "Running");
    }
    assert_eq!(cluster.kubectl(&["exec", "a", "--", "hostname"]), "a\n");
}

#[test]
fn two_clusters_run_side_by_side() {
    needs_containers!();
    let (one, two) = (Cluster::started("fk-one"), Cluster::started("fk-two"));
    for cluster in [&one, &two] {
        cluster.kubectl(&["run", "web", "--image=ferrokube.local/hello:latest", "--image-pull-policy=IfNotPresent"]);
        cluster.kubectl(&["expose", "pod", "web", "--port=80", "--target-port=8080"]);
    }
    for cluster in [&one, &two] {
        cluster.wait_for(&["pod", "web"], "{.status.phase}", "Running");
        let address = cluster.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
        eventually("its service answers", || {
            let answer = crate::fixture::http_get(&address, 80)?;
            if answer == "Hello from web\n" { Ok(()) } else { Err(answer) }
        });
    }
}
