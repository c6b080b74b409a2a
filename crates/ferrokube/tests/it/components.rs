//! Each component as a process of its own, over real connections, and killed while the others go on.
use crate::{
    fixture::{Cluster, FERROKUBE, eventually, free_port, kill, run},
    needs_containers,
};
use std::{
    fs::File,
    path::Path,
    process::{Child, Command},
};

/// A cluster's control plane taken apart: the same certificates, one process a component.
pub struct Parts {
    pub cluster: Cluster,
    running: Vec<(&'static str, Vec<String>, Child)>,
}

impl Parts {
    fn spawn(&self, component: &str, flags: &[String]) -> Child {
        let log = File::create(self.cluster.data_dir().join(format!("{component}.log"))).expect("a log");
        let mut command = Command::new(FERROKUBE);
        command.arg(component).args(flags).stdout(log.try_clone().expect("a log")).stderr(log);
        command.spawn().expect("it starts")
    }

    pub fn start(&mut self, component: &'static str, flags: Vec<String>) {
        let child = self.spawn(component, &flags);
        self.running.push((component, flags, child));
    }

    /// `kill -9`, then the same again.
    pub fn crash(&mut self, component: &str) {
        let (name, flags) = self.end(component);
        self.start(name, flags);
    }

    /// `kill -9`; what it was started with.
    pub fn end(&mut self, component: &str) -> (&'static str, Vec<String>) {
        let at = self.running.iter().position(|(name, ..)| *name == component).expect("it runs");
        let (name, flags, mut child) = self.running.remove(at);
        kill(i32::try_from(child.id()).expect("a process ID"));
        child.wait().expect("it ended");
        (name, flags)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for (_, _, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn flag(name: &str, value: impl AsRef<Path>) -> String {
    format!("--{name}={}", value.as_ref().display())
}

/// A stopped cluster's control plane as three processes.
fn control_plane(name: &str) -> Parts {
    let cluster = Cluster::started(name);
    assert!(cluster.ferrokube(&["stop"]).success);
    control_plane_on(cluster)
}

/// The same for a cluster whose own process is no more.
pub fn control_plane_on(cluster: Cluster) -> Parts {
    let data = cluster.data_dir();
    let pki = |file: &str| data.join("pki").join(file);
    let (port, scheduler_port, controller_port) = (cluster.port, free_port(), free_port());
    let mut parts = Parts { cluster, running: Vec::new() };
    parts.start(
        "kube-apiserver",
        vec![
            flag("data-dir", data.join("store")),
            format!("--secure-port={port}"),
            flag("tls-cert-file", pki("apiserver.crt")),
            flag("tls-private-key-file", pki("apiserver.key")),
            flag("client-ca-file", pki("ca.crt")),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
            flag("service-account-key-file", pki("sa.pub")),
            flag("service-account-signing-key-file", pki("sa.key")),
            "--service-cluster-ip-range=10.96.0.0/12".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-bootstrap-token-auth=true".into(),
            "--kubelet-preferred-address-types=InternalIP,Hostname".into(),
            flag("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
            flag("kubelet-client-key", pki("apiserver-kubelet-client.key")),
        ],
    );
    eventually("the API server is ready", || {
        let ran = run(&mut parts.cluster.kubectl_command(&["get", "--raw", "/readyz"]));
        if ran.stdout == "ok" { Ok(()) } else { Err(ran.stderr) }
    });
    let kubeconfig = |component: &str| flag("kubeconfig", pki(&format!("{component}.kubeconfig")));
    // Without leader election: nobody waits for the lease of who was killed.
    let alone = || "--leader-elect=false".to_owned();
    parts.start(
        "kube-scheduler",
        vec![kubeconfig("kube-scheduler"), format!("--secure-port={scheduler_port}"), alone()],
    );
    parts.start(
        "kube-controller-manager",
        vec![
            kubeconfig("kube-controller-manager"),
            format!("--secure-port={controller_port}"),
            alone(),
            // Each controller under its own account: the manager's own rights are few.
            "--use-service-account-credentials=true".into(),
            flag("root-ca-file", pki("ca.crt")),
            flag("cluster-signing-cert-file", pki("ca.crt")),
            flag("cluster-signing-key-file", pki("ca.key")),
            flag("service-account-private-key-file", pki("sa.key")),
        ],
    );
    parts
}

#[test]
fn each_component_alone_survives_kill_9_of_itself_and_the_others() {
    needs_containers!();
    let mut parts = control_plane("fk-parts");
    // A node that nothing runs on is enough for scheduling.
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"fake"},"status":{"capacity":{"cpu":"8","memory":"16Gi","pods":"110"},
        "allocatable":{"cpu":"8","memory":"16Gi","pods":"110"},"conditions":[{"type":"Ready","status":"True","reason":"Fake"}]}}"#;
    let file = parts.cluster.data_dir().join("node.json");
    std::fs::write(&file, node).expect("written");
    parts.cluster.kubectl(&["create", "-f", &file.to_string_lossy()]);
    parts.cluster.kubectl(&["cordon", &parts.cluster.name]);
    for (round, component) in ["kube-scheduler", "kube-controller-manager", "kube-apiserver"].into_iter().enumerate() {
        let name = format!("d{round}");
        parts.cluster.kubectl(&["create", "deployment", &name, "--image=x", "--replicas=3"]);
        parts.crash(component);
        eventually(&format!("three pods of {name} are bound after a crash of {component}"), || {
            let words = ["get", "pods", "-l", &format!("app={name}"), "-o", "jsonpath={.items[*].spec.nodeName}"];
            let ran = run(&mut parts.cluster.kubectl_command(&words));
            // More may be on their way out: an answer that a crash swallowed is asked for again.
            let bound = ran.stdout.split(' ').filter(|node| *node == "fake").count();
            if bound >= 3 { Ok(()) } else { Err(format!("{}{}", ran.stdout, ran.stderr)) }
        });
    }
}
