//! A cluster on a container runtime that somebody else runs: it uses it, and takes away only what is its own.
use crate::{
    fixture::{Cluster, eventually, run},
    needs_containers,
};
use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A containerd that ends when this process does, after `cluster` has been deleted.
struct Containerd {
    folder: tempfile::TempDir,
    shell: Child,
}

impl Containerd {
    fn started(cluster: &Cluster) -> Containerd {
        let folder = tempfile::Builder::new().prefix("ferrokube-containerd-").tempdir().expect("a folder");
        let at = folder.path().display();
        // Where the machine does not let processes lower their score, containers cannot be started otherwise.
        let config = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n[grpc]\naddress = \"{at}/socket\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\n\
             sandbox_image = \"ferrokube.local/pause:{}\"\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
             bin_dir = \"/usr/lib/cni\"\nconf_dir = \"{at}/net.d\"\n",
            env!("CARGO_PKG_VERSION")
        );
        std::fs::write(folder.path().join("config.toml"), config).expect("written");
        let script = "containerd --config \"$0/config.toml\" >\"$0/log\" 2>&1 & read -r _; n=0
            while [ -d \"$1\" ] && [ $n -lt 150 ]; do sleep 0.2; n=$((n+1)); done
            kill $!; wait; rm -rf \"$0\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(folder.path()).arg(cluster.data_dir());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let shell = shell.spawn().expect("a shell");
        let containerd = Containerd { folder, shell };
        eventually("containerd answers", || {
            let ran = run(&mut containerd.ctr(&["version"]));
            if ran.success { Ok(()) } else { Err(ran.stderr) }
        });
        containerd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ctr(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.path("socket")).args(["--namespace", "k8s.io"]).args(words);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It waits for the cluster's end, which comes after this when the test failed.
        if !std::thread::panicking() {
            let _ = self.shell.wait();
        }
    }
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn a_runtime_of_somebody_elses_is_used_and_left_as_it_was() {
    needs_containers!();
    let cluster = Cluster::new("fk-extern");
    let containerd = Containerd::started(&cluster);
    let (endpoint, port) = (format!("unix://{}", containerd.path("socket").display()), cluster.port.to_string());
    let words = ["start", "--name", &cluster.name, "--api-port", &port, "--container-runtime-endpoint", &endpoint];
    let ran = cluster.ferrokube(&words);
    assert!(ran.success, "{}\n{}\n{}", ran.stdout, ran.stderr, cluster.log_end());
    assert_eq!(entries(&containerd.path("net.d")), 1, "the pod network is where that runtime looks for it");
    cluster.kubectl(&["run", "a", "--image=ferrokube.local/hello:latest", "--image-pull-policy=IfNotPresent"]);
    cluster.wait_for(&["pod", "a"], "{.status.phase}", "Running");
    assert!(cluster.kubectl(&["logs", "a"]).contains("listening"));

    // It is somebody else's: a container in it that is not the cluster's stays.
    let image = "ferrokube.local/hello:latest";
    let other = run(&mut containerd.ctr(&["containers", "create", image, "others"]));
    assert!(other.success, "{}", other.stderr);
    let deleted = cluster.ferrokube(&["delete"]);
    assert!(deleted.success, "{}", deleted.stderr);
    let left = run(&mut containerd.ctr(&["containers", "list", "--quiet"])).stdout;
    assert_eq!(left.trim(), "others");
    assert_eq!(entries(&containerd.path("net.d")), 0, "the network's configuration is left");
    assert!(run(&mut containerd.ctr(&["version"])).success, "the runtime is not ours to end");
}
