//! What a pod leaves behind and what it may not have: a claim's volume that is deleted with it, an emptyDir that grows
//! too large, a critical pod that others make room for, an autoscaler without metrics. Part of the one cluster in
//! `node.rs`: all are made before anything is waited for.
use crate::fixture::{Cluster, eventually};
use std::{fs, path::Path};

const OBJECTS: &str = r#"
apiVersion: v1
kind: PersistentVolume
metadata: {name: VOLUME}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: by-hand
  persistentVolumeReclaimPolicy: Delete
  hostPath: {path: FOLDER}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], storageClassName: by-hand, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: reads}
spec:
  restartPolicy: Never
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, command: [cat, /kept/word], volumeMounts: [{name: kept, mountPath: /kept}]}]
  volumes: [{name: kept, persistentVolumeClaim: {claimName: kept}}]
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, "1000"], volumeMounts: [{name: full, mountPath: /full}]}]
  volumes: [{name: full, emptyDir: {sizeLimit: 1Mi}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: scaled}
spec:
  replicas: 1
  selector: {matchLabels: {app: scaled}}
  template:
    metadata: {labels: {app: scaled}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, "1000"], resources: {requests: {cpu: 10m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaled}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: scaled}
  minReplicas: 2
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
"#;

/// What has been made, to be looked at later.
pub struct Limits {
    folder: tempfile::TempDir,
    volume: String,
}

/// Make everything.
pub fn begin(cluster: &Cluster, image: &str) -> Limits {
    // Upstream's controller removes nothing outside /tmp.
    let folder = tempfile::Builder::new().prefix("ferrokube-claim-").tempdir_in("/tmp").expect("a folder");
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).expect("a folder");
    fs::write(kept.join("word"), "still here").expect("written");
    let volume = format!("kept-{}", cluster.name);
    let objects = OBJECTS.replace("IMAGE", image).replace("VOLUME", &volume);
    let file = cluster.data_dir().join("limits.yaml");
    fs::write(&file, objects.replace("FOLDER", &kept.to_string_lossy())).expect("written");
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()]);
    Limits { folder, volume }
}

/// See what has come of it.
pub fn end(cluster: &Cluster, limits: &Limits) {
    fill(cluster);
    claim_goes_with_its_content(cluster, &limits.volume, &limits.folder.path().join("kept"));
    critical_pod_gets_room(cluster);
    let ended = "{.status.phase} {.status.reason}: {.status.message}";
    let message = "Failed Evicted: Usage of EmptyDir volume \"full\" exceeds the limit \"1Mi\". ";
    cluster.wait_for(&["pod", "greedy"], ended, message);
    let said = "{.status.desiredReplicas} {.status.conditions[?(@.type==\"ScalingActive\")].reason}";
    cluster.wait_for(&["hpa", "scaled"], said, "2 FailedGetResourceMetric");
    let message = cluster.kubectl(&[
        "get",
        "hpa",
        "scaled",
        "-o",
        "jsonpath={.status.conditions[?(@.type==\"ScalingActive\")].message}",
    ]);
    let nobody = "the server could not find the requested resource (get pods.metrics.k8s.io)";
    assert!(message.ends_with(nobody), "{message}");
}

/// Write more than the limit where the volume is.
fn fill(cluster: &Cluster) {
    cluster.wait_for(&["pod", "greedy"], "{.status.phase}", "Running");
    let uid = cluster.kubectl(&["get", "pod", "greedy", "-o", "jsonpath={.metadata.uid}"]);
    let folder = cluster.data_dir().join("kubelet/pods").join(uid).join("volumes/kubernetes.io~empty-dir/full");
    fs::write(folder.join("much"), vec![1_u8; 4 << 20]).expect("written");
}

fn claim_goes_with_its_content(cluster: &Cluster, volume: &str, kept: &Path) {
    cluster.wait_for(&["pod", "reads"], "{.status.phase}", "Succeeded");
    assert_eq!(cluster.kubectl(&["logs", "reads"]), "still here");
    cluster.kubectl(&["delete", "pod/reads", "pvc/kept"]);
    eventually("the volume is gone", || {
        let left = cluster.kubectl(&["get", "pv", volume, "--ignore-not-found", "-o", "jsonpath={.status}"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert!(!kept.exists(), "the content is left");
}

/// Bound by hand: what the scheduler would not put there, the kubelet makes room for.
fn critical_pod_gets_room(cluster: &Cluster) {
    let node = &cluster.name;
    let cpus = cluster.kubectl(&["get", "node", node, "-o", "jsonpath={.status.allocatable.cpu}"]);
    let milli = match cpus.strip_suffix('m') {
        Some(milli) => milli.parse::<u64>().expect("a number"),
        None => cpus.parse::<u64>().expect("a number") * 1000,
    };
    let pod = |name: &str, milli: u64, class: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"nodeName": node, "priorityClassName": class, "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "a", "image": "ferrokube.local/hello:latest", "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "1000"], "resources": {"requests": {"cpu": format!("{milli}m")}}}]}})
    };
    let create = |object: serde_json::Value| {
        let file = cluster.data_dir().join("priority.json");
        fs::write(&file, object.to_string()).expect("written");
        cluster.kubectl(&["create", "-f", &file.to_string_lossy()]);
    };
    // More than half each: beside what runs already, one of them fits.
    create(pod("gives-way", milli * 51 / 100, ""));
    cluster.wait_for(&["pod", "gives-way", "-n", "kube-system"], "{.status.phase}", "Running");
    create(pod("critical", milli * 51 / 100, "system-node-critical"));
    cluster.wait_for(&["pod", "critical", "-n", "kube-system"], "{.status.phase}", "Running");
    let reason = "{.status.phase} {.status.reason} {.status.conditions[?(@.type==\"DisruptionTarget\")].reason}";
    cluster.wait_for(&["pod", "gives-way", "-n", "kube-system"], reason, "Failed Preempting TerminationByKubelet");
    cluster.kubectl(&["delete", "pod/critical", "pod/gives-way", "-n", "kube-system"]);
}
