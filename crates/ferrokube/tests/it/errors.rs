//! What can be wrong with the machine or the call is said clearly, and leaves nothing half-started.
use crate::{
    fixture::{Cluster, FERROKUBE, Ran, run},
    needs_containers,
};
use std::{fs, net::TcpListener, process::Command};

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
    assert!(!cluster.data_dir().join("cluster.json").exists(), "something half-started stayed");
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
fn wrong_words() {
    let words = |list: &[&str]| run(Command::new(FERROKUBE).args(list));
    refused(&words(&["start", "--no-such-flag"]), "--no-such-flag");
    refused(&words(&["kubelet", "--no-such-flag"]), "--no-such-flag");
    refused(&words(&["kube-apiserver", "--audit-log-path=/tmp/x"]), "--audit-log-path is known but not yet supported");
    refused(&words(&["start", "--nodes", "3", "--data-dir", "/nonexistent/fk"]), "not implemented yet");
    let nowhere = words(&["status", "--data-dir", "/nonexistent/fk"]);
    refused(&nowhere, "there is no cluster in /nonexistent/fk");
}
