//! What can be wrong with the machine or the call is said clearly, and leaves nothing half-started.
use crate::{
    fixture::{Cluster, FERROKUBE, Ran, run},
    needs_containers,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Command, Stdio},
};

fn refused(ran: &Ran, want: &str) {
    assert!(!ran.success, "it should have been refused: {}", ran.stdout);
    assert!(ran.stderr.contains(want), "want {want:?} in:\n{}", ran.stderr);
}

#[test]
fn a_port_in_use() {
    needs_containers!();
    let cluster = Cluster::new("fk-port");
    let _taken = TcpListener::bind(("0.0.0.0", cluster.port)).expect("the port");
    refused(&cluster.start(), &format!("port {} is in use", cluster.port));
    assert!(!cluster.data_dir().exists(), "something half-started stayed");
}

#[test]
fn a_foreign_or_newer_data_directory() {
    needs_containers!();
    let cluster = Cluster::new("fk-foreign");
    fs::create_dir_all(cluster.data_dir()).expect("a folder");
    fs::write(cluster.data_dir().join("precious"), "data").expect("a file");
    refused(&cluster.start(), "holds no ferrokube cluster");
    assert!(cluster.data_dir().join("precious").exists());
    fs::remove_file(cluster.data_dir().join("precious")).expect("removed");
    fs::write(cluster.data_dir().join("cluster.json"), r#"{"format": 999}"#).expect("a file");
    refused(&cluster.start(), "newer ferrokube");
}

#[test]
fn a_read_only_or_full_data_directory() {
    needs_containers!();
    let cluster = Cluster::new("fk-full");
    let folder = cluster.data_dir();
    fs::create_dir_all(&folder).expect("a folder");
    let mount = |options: &str| {
        let ran = run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder));
        assert!(ran.success, "{}", ran.stderr);
    };
    let unmount = || assert!(run(Command::new("umount").arg(&folder)).success);
    mount("ro");
    let read_only = cluster.start();
    unmount();
    mount("size=16m");
    let full = cluster.start();
    unmount();
    refused(&read_only, "read-only file system");
    refused(&full, "MB left");
}

#[test]
fn missing_packages() {
    needs_containers!();
    let cluster = Cluster::new("fk-packages");
    let mut command = cluster.command(&["start", "--name", &cluster.name]);
    let ran = run(command.env("PATH", "/nonexistent"));
    // The standard folders are searched too: where everything is installed, nothing is missing.
    if !ran.success && ran.stderr.contains("missing") {
        refused(&ran, "apt-get install");
    }
}

#[test]
fn a_missing_privilege() {
    needs_containers!();
    let cluster = Cluster::new("fk-denied");
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-audit_write").arg(FERROKUBE).arg("start").arg("--data-dir").arg(cluster.data_dir());
    refused(&run(&mut command), "may not pass on CAP_AUDIT_WRITE");
    assert!(!cluster.data_dir().exists(), "something half-started stayed");
}

#[test]
fn a_runtime_that_is_none() {
    needs_containers!();
    let cluster = Cluster::new("fk-none");
    let start = |endpoint| cluster.ferrokube(&["start", "--container-runtime-endpoint", endpoint]);
    refused(&start("tcp://127.0.0.1:1"), "is not a unix socket");
    refused(&start("unix:///nonexistent/fk.sock"), "the runtime does not answer");
    assert!(!cluster.data_dir().exists(), "something half-started stayed");
}

#[test]
fn a_kubeconfig_that_cannot_be_written() {
    needs_containers!();
    let cluster = Cluster::new("fk-kubeconfig");
    let mut command = cluster.command(&["start", "--name", &cluster.name]);
    refused(&run(command.env("KUBECONFIG", "/proc/fk/config")), "/proc/fk/config: ");
    assert!(!cluster.data_dir().exists(), "something half-started stayed");
}

#[test]
fn an_interrupted_start() {
    needs_containers!();
    let cluster = Cluster::new("fk-interrupted");
    let mut command = cluster.command(&["start", "--name", &cluster.name, "--api-port", &cluster.port.to_string()]);
    let mut starting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // Its process is there, and not Ready yet.
    let mut said = BufReader::new(starting.stdout.take().expect("a pipe")).lines();
    assert!(said.next().expect("a line").expect("text").starts_with("Starting cluster"));
    said.next().expect("a step").expect("text");
    let pid = i32::try_from(starting.id()).expect("a process ID");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process ID");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    let ended = starting.wait_with_output().expect("it ends");
    assert!(!ended.status.success());
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(text.contains("interrupted"), "{text}");
    assert!(!cluster.data_dir().join("cluster.json").exists(), "something half-started stayed");
    let processes = run(Command::new("ps").args(["-eo", "args"])).stdout;
    assert!(!processes.contains(&format!("/run/ferrokube/{}/", cluster.name)), "processes are left:\n{processes}");
}

/// Files that somebody has removed under a running cluster: what else there is of it can still be taken away.
#[test]
fn a_data_directory_that_was_removed() {
    needs_containers!();
    let cluster = Cluster::started("fk-removed");
    let inside = cluster.data_dir().join("inside").to_string_lossy().into_owned();
    let nested = Cluster::new("fk-nested");
    refused(
        &run(Command::new(FERROKUBE).args(["start", "--name", &nested.name, "--data-dir", &inside])),
        "is inside of another cluster's data directory",
    );
    cluster.kubectl(&["run", "web", "--image=ferrokube.local/hello:latest"]);
    cluster.wait_for(&["pod", "web"], "{.status.phase}", "Running");
    // Of pods; other tests make namespaces of their own beside this one.
    let is_pods = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("cni-");
    let namespaces = || fs::read_dir("/run/netns").into_iter().flatten().flatten().filter(is_pods).count();
    let before = namespaces();
    // Where pods have something mounted, folders stay.
    let _ = fs::remove_dir_all(cluster.data_dir());
    let _ = fs::remove_file(cluster.data_dir().join("cluster.json"));
    let _ = fs::remove_file(cluster.data_dir().join("lock"));
    // As if it had been killed before it noted which process its runtime is.
    fs::remove_file(format!("/run/ferrokube/{}/containerd.pid", cluster.name))
        .expect("a note of the runtime's process");
    refused(&cluster.ferrokube(&["status"]), "the files of cluster");
    let deleted = cluster.ferrokube(&["delete"]);
    assert!(deleted.success, "{}", deleted.stderr);
    let processes = run(Command::new("ps").args(["-eo", "args"])).stdout;
    assert!(!processes.contains(&format!("/run/ferrokube/{}/", cluster.name)), "processes are left:\n{processes}");
    let data_dir = cluster.data_dir().to_string_lossy().into_owned();
    let serves = |line: &str| line.contains("serve-cluster") && line.contains(&data_dir);
    assert!(!processes.lines().any(serves), "its process is left:\n{processes}");
    assert!(!std::path::Path::new(&format!("/run/ferrokube/{}", cluster.name)).exists(), "its run-time folder is left");
    assert!(!cluster.data_dir().exists());
    assert_eq!(namespaces() + 1, before, "the pod's network namespace is left");
}

#[test]
fn wrong_words() {
    let words = |list: &[&str]| run(Command::new(FERROKUBE).args(list));
    refused(&words(&["start", "--no-such-flag"]), "--no-such-flag");
    refused(&words(&["kubelet", "--no-such-flag"]), "--no-such-flag");
    refused(&words(&["kube-apiserver", "--audit-log-path=/tmp/x"]), "--audit-log-path is known but not yet supported");
    refused(&words(&["start", "--nodes", "3", "--data-dir", "/nonexistent/fk"]), "not implemented yet");
    let nowhere = words(&["status", "--data-dir", "/nonexistent/fk"]);
    refused(&nowhere, "there is no cluster in /nonexistent/fk");
}
