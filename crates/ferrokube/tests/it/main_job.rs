//! The main job: one command to a cluster, kubectl to a running container and a service in front of it.
use crate::{
    fixture::{Cluster, eventually, free_port, http_get, run},
    needs_containers,
};
use std::collections::BTreeSet;

const HELLO: &str = "ferrokube.local/hello:latest";

/// Distinct answers of the service over a few requests.
fn answers(address: &str, port: u16) -> BTreeSet<String> {
    (0..24).filter_map(|_| http_get(address, port).ok()).collect()
}

#[test]
fn from_nothing_to_a_served_deployment_and_back() {
    needs_containers!();
    let cluster = Cluster::started("fk-main");
    assert!(cluster.kubectl(&["get", "nodes"]).contains("Ready"));

    pod_runs_logs_and_execs(&cluster);
    // Containers get the system's pages, whatever is best for our own process.
    let status = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    assert!(!status(cluster.containerd_pid()).contains("THP_enabled:\t0"), "containers could not have huge pages");
    let address = deployment_is_served(&cluster);
    rollouts(&cluster, &address);
    port_of_the_node(&cluster);

    cluster.kubectl(&["delete", "service,deployment", "hello"]);
    eventually("its pods are gone", || {
        let left = cluster.kubectl(&["get", "pods", "-l", "app=hello", "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    cluster.kubectl(&["delete", "pod", "web"]);
    deleted_without_trace(&cluster);
}

fn pod_runs_logs_and_execs(cluster: &Cluster) {
    cluster.kubectl(&["run", "web", "--image", HELLO]);
    cluster.wait_for(&["pod", "web"], "{.status.phase}", "Running");
    cluster.wait_for(&["pod", "web"], "{.status.containerStatuses[0].ready}", "true");
    eventually("its log says that it listens", || {
        let log = cluster.kubectl(&["logs", "web"]);
        if log.contains("web listening on port 8080") { Ok(()) } else { Err(log) }
    });
    assert_eq!(cluster.kubectl(&["exec", "web", "--", "hostname"]), "web\n");
    let failed = run(&mut cluster.kubectl_command(&["exec", "web", "--", "sh", "-c", "exit 3"]));
    assert!(!failed.success);
    assert!(failed.stderr.contains("command terminated with exit code 3"), "{}", failed.stderr);
    // DNS and the API server from inside, by the service's name.
    let asked = run(&mut cluster.kubectl_command(&["exec", "web", "--", "cat", "/etc/resolv.conf"]));
    assert!(
        asked.stdout.contains("search default.svc.cluster.local svc.cluster.local cluster.local"),
        "{}",
        asked.stdout
    );
    let token = cluster.kubectl(&["exec", "web", "--", "ls", "/var/run/secrets/kubernetes.io/serviceaccount"]);
    assert_eq!(token, "ca.crt\nnamespace\ntoken\n");
}

fn deployment_is_served(cluster: &Cluster) -> String {
    cluster.kubectl(&["create", "deployment", "hello", "--image", HELLO, "--replicas=3"]);
    cluster.kubectl(&["rollout", "status", "deployment/hello", "--timeout=90s"]);
    cluster.kubectl(&["expose", "deployment", "hello", "--port=80", "--target-port=8080"]);
    let address = cluster.kubectl(&["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}"]);
    eventually("all three answer at the cluster IP", || {
        let hosts = answers(&address, 80);
        if hosts.len() == 3 { Ok(()) } else { Err(format!("{hosts:?}")) }
    });
    eventually("pods reach it by name", || {
        let asked = run(&mut cluster.kubectl_command(&[
            "exec",
            "web",
            "--",
            "/hello",
            "get",
            "http://hello.default.svc.cluster.local/",
        ]));
        if asked.stdout.starts_with("Hello from hello-") { Ok(()) } else { Err(asked.stderr) }
    });
    address
}

fn rollouts(cluster: &Cluster, address: &str) {
    cluster.kubectl(&["scale", "deployment", "hello", "--replicas=1"]);
    eventually("one is left behind the service", || {
        let hosts = answers(address, 80);
        if hosts.len() == 1 { Ok(()) } else { Err(format!("{hosts:?}")) }
    });
    cluster.kubectl(&["set", "image", "deployment/hello", "hello=ferrokube.local/absent:1"]);
    eventually("the new pod cannot have its image", || {
        let reasons = cluster.kubectl(&[
            "get",
            "pods",
            "-l",
            "app=hello",
            "-o",
            "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}",
        ]);
        if reasons.contains("ErrImagePull") || reasons.contains("ImagePullBackOff") { Ok(()) } else { Err(reasons) }
    });
    eventually("the old pod goes on answering", || {
        let answer = http_get(address, 80)?;
        if answer.starts_with("Hello from") { Ok(()) } else { Err(answer) }
    });
    cluster.kubectl(&["rollout", "undo", "deployment/hello"]);
    cluster.kubectl(&["rollout", "status", "deployment/hello", "--timeout=90s"]);
    cluster.wait_for(&["deployment", "hello"], "{.spec.template.spec.containers[0].image}", HELLO);
}

/// Stays until the cluster is deleted, which then has the rules for it to take away.
fn port_of_the_node(cluster: &Cluster) {
    let port = free_port();
    let overrides = serde_json::json!({"apiVersion": "v1", "spec": {"containers": [
        {"name": "ported", "image": HELLO, "ports": [{"containerPort": 8080, "hostPort": port}]}]}});
    cluster.kubectl(&["run", "ported", "--image", HELLO, "--overrides", &overrides.to_string()]);
    cluster.wait_for(&["pod", "ported"], "{.status.phase}", "Running");
    let node = cluster.kubectl(&["get", "pod", "ported", "-o", "jsonpath={.status.hostIP}"]);
    eventually("it answers at the node's port", || {
        let answer = http_get(&node, port)?;
        if answer.starts_with("Hello from ported") { Ok(()) } else { Err(answer) }
    });
}

/// `delete` leaves no process, mount, table, bridge, cgroup or file.
fn deleted_without_trace(cluster: &Cluster) {
    let ran = cluster.ferrokube(&["delete"]);
    assert!(ran.success, "{}", ran.stderr);
    assert!(!cluster.data_dir().exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*cluster.data_dir().to_string_lossy()), "mounts are left");
    let tables = run(std::process::Command::new("nft").args(["list", "tables"])).stdout;
    let name = cluster.name.as_str();
    assert!(!tables.contains(name), "{tables}");
    // Of host ports, only what another cluster of this machine has in use.
    let nat = run(std::process::Command::new("nft").args(["list", "table", "ip", "nat"])).stdout;
    assert!(!nat.contains("CNI-HOSTPORT-") || nat.contains("CNI-DN-"), "{nat}");
    assert!(!std::path::Path::new(&format!("/sys/class/net/{name}0")).exists(), "the bridge is left");
    let cgroups = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"];
    assert!(!cgroups.iter().any(|c| std::path::Path::new(c).join(name).exists()), "cgroups are left");
    let processes = run(std::process::Command::new("ps").args(["-eo", "args"])).stdout;
    assert!(!processes.contains(&format!("/run/ferrokube/{name}/")), "processes are left:\n{processes}");
}
