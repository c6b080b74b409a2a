//! The node: what pods see and how they are told of, on one cluster; kubelet and kube-proxy as processes of their
//! own, killed while pods run.
use crate::{
    components::{Parts, control_plane_on, flag},
    fixture::{Cluster, eventually, http_get, kill, run},
    needs_containers, node_limits,
};
use std::fs;

const IMAGE: &str = "ferrokube.local/hello:latest";

/// All at once: they take as long as the slowest of them.
const PODS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, size: large}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {word: sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: environment, labels: {app: env}}
spec:
  restartPolicy: Never
  containers:
  - name: a
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [env]
    resources: {requests: {cpu: 250m}, limits: {memory: 64Mi}}
    envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: hidden}, prefix: S_}, {configMapRef: {name: none, optional: true}}]
    env:
    - {name: FIRST, value: one}
    - {name: SECOND, value: "$(FIRST) $$(FIRST) $(LATER) $(color)"}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: GONE, valueFrom: {configMapKeyRef: {name: settings, key: none, optional: true}}}
---
apiVersion: v1
kind: Pod
metadata: {name: volumes, labels: {app: volumes}}
spec:
  restartPolicy: Never
  containers:
  - name: a
    image: IMAGE
    imagePullPolicy: IfNotPresent
    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    command: [cat, /all/name, /all/labels, /all/color, /all/deep/word, /one, /proc/mounts]
    volumeMounts:
    - {name: all, mountPath: /all}
    - {name: settings, mountPath: /one, subPath: size}
    - {name: memory, mountPath: /memory}
    - {name: memory, mountPath: /mine, subPathExpr: "of/$(POD)"}
  volumes:
  - name: all
    projected:
      sources:
      - configMap: {name: settings}
      - secret: {name: hidden, items: [{key: word, path: deep/word}]}
      - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}, {path: labels, fieldRef: {fieldPath: metadata.labels}}]}
  - {name: settings, configMap: {name: settings}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 4Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: names}
spec:
  restartPolicy: Never
  hostname: host
  subdomain: sub
  setHostnameAsFQDN: true
  hostAliases: [{ip: 1.2.3.4, hostnames: [alias]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [9.9.9.9], searches: [example.org], options: [{name: ndots, value: "2"}]}
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sh, -c, "hostname; cat /etc/hosts /etc/resolv.conf"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: rights}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, supplementalGroups: [4000]}
  containers:
  - name: a
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [cat, /proc/self/status]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}, seccompProfile: {type: RuntimeDefault}}
---
apiVersion: v1
kind: Pod
metadata: {name: inits}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: first, image: IMAGE, imagePullPolicy: IfNotPresent, command: ["true"]}
  - {name: beside, image: IMAGE, imagePullPolicy: IfNotPresent, restartPolicy: Always, startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
  - {name: last, image: IMAGE, imagePullPolicy: IfNotPresent, command: [hello, get, "127.0.0.1:8080"]}
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: init-fails}
spec:
  restartPolicy: Never
  initContainers: [{name: i, image: IMAGE, imagePullPolicy: IfNotPresent, command: ["false"]}]
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent}]
---
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec:
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sh, -c, "echo last words; exit 3"], terminationMessagePolicy: FallbackToLogsOnError}]
---
apiVersion: v1
kind: Pod
metadata: {name: unhealthy}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: live
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [sleep, "1000"]
    livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}
  - name: ready
    image: IMAGE
    imagePullPolicy: IfNotPresent
    readinessProbe: {httpGet: {path: /healthz, port: web}, periodSeconds: 1}
    ports: [{name: web, containerPort: 8080}]
  - name: unready
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [sleep, "1000"]
    readinessProbe: {tcpSocket: {port: 9}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  activeDeadlineSeconds: 2
  terminationGracePeriodSeconds: 0
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: refused}
spec:
  securityContext: {sysctls: [{name: kernel.msgmax, value: "65536"}]}
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent}]
---
apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: never, image: "ferrokube.local/none:1", imagePullPolicy: Never}
  - {name: pull, image: "127.0.0.1:1/none:1"}
  - {name: name, image: "Bad/Image"}
  - {name: key, image: IMAGE, imagePullPolicy: IfNotPresent, env: [{name: X, valueFrom: {configMapKeyRef: {name: none, key: x}}}]}
  - {name: program, image: IMAGE, imagePullPolicy: IfNotPresent, command: [/none]}
---
apiVersion: v1
kind: Pod
metadata: {name: unmounted}
spec:
  containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent, volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, configMap: {name: none}}]
---
apiVersion: v1
kind: Pod
metadata: {name: live, labels: {mark: before}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: IMAGE
    imagePullPolicy: IfNotPresent
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 32Mi}}
    volumeMounts: [{name: told, mountPath: /told}]
  volumes: [{name: told, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]
"#;

/// Pod, JSONPath, what it comes to.
const STATUSES: &[(&str, &str, &str)] = &[
    ("environment", "{.status.phase} {.status.qosClass}", "Succeeded Burstable"),
    ("volumes", "{.status.phase}", "Succeeded"),
    ("names", "{.status.phase}", "Succeeded"),
    ("rights", "{.status.phase}", "Succeeded"),
    (
        "inits",
        "{.status.phase} {.status.initContainerStatuses[*].ready} {.status.containerStatuses[0].ready}",
        "Running true true true true",
    ),
    (
        "init-fails",
        "{.status.phase} {.status.containerStatuses[0].state.waiting.reason} {.status.conditions[?(@.type==\"Initialized\")].message}",
        "Failed PodInitializing containers with incomplete status: [i]",
    ),
    (
        "crashes",
        "{.status.containerStatuses[0].state.waiting.reason} {.status.containerStatuses[0].lastState.terminated.exitCode} \
         {.status.containerStatuses[0].lastState.terminated.message}",
        "CrashLoopBackOff 3 last words\n",
    ),
    (
        "unhealthy",
        "{.status.containerStatuses[?(@.name==\"ready\")].ready} {.status.containerStatuses[?(@.name==\"unready\")].ready}",
        "true false",
    ),
    ("late", "{.status.phase} {.status.reason}", "Failed DeadlineExceeded"),
    (
        "refused",
        "{.status.reason}: {.status.message}",
        "SysctlForbidden: Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
    ),
    (
        "wrong",
        "{range .status.containerStatuses[*]}{.name} {.state.waiting.reason}, {end}",
        "never ErrImageNeverPull, pull ImagePullBackOff, name InvalidImageName, key CreateContainerConfigError, program CrashLoopBackOff, ",
    ),
    ("unmounted", "{.status.containerStatuses[0].state.waiting.reason}", "ContainerCreating"),
];

/// Pod, a line its log has.
const LOGS: &[(&str, &str)] = &[
    ("environment", "color=blue"),
    ("environment", "S_word=sesame"),
    ("environment", "SECOND=one $(FIRST) $(LATER) blue"),
    ("environment", "NAME=environment"),
    ("environment", "LABEL=env"),
    ("environment", "CPU=250"),
    ("environment", "MEMORY=64"),
    ("environment", "KUBERNETES_SERVICE_PORT=443"),
    ("volumes", "volumesapp=\"volumes\"bluesesamelarge"),
    ("volumes", "tmpfs /memory tmpfs "),
    ("volumes", "tmpfs /mine tmpfs "),
    ("volumes", "tmpfs /all tmpfs "),
    ("names", "host.sub.default.svc.cluster.local"),
    ("names", "1.2.3.4\talias"),
    ("names", "nameserver 9.9.9.9"),
    ("names", "search example.org"),
    ("names", "options ndots:2"),
    ("rights", "Uid:\t1000\t1000"),
    ("rights", "Gid:\t3000\t3000"),
    ("rights", "Groups:\t2000 "),
    ("rights", "CapBnd:\t0000000000000400"),
    ("rights", "NoNewPrivs:\t1"),
    ("rights", "Seccomp:\t2"),
];

/// Reason, what its object is called, how its message begins.
const EVENTS: &[(&str, &str, &str)] = &[
    ("Started", "environment", "Container started"),
    ("BackOff", "crashes", "Back-off restarting failed container a in pod crashes_default("),
    ("Unhealthy", "unhealthy", "Readiness probe failed: dial tcp "),
    ("Killing", "unhealthy", "Container live failed liveness probe, will be restarted"),
    ("DeadlineExceeded", "late", "Pod was active on the node longer than the specified deadline"),
    ("SysctlForbidden", "refused", "forbidden sysctl: \"kernel.msgmax\" not allowlisted"),
    (
        "ErrImageNeverPull",
        "wrong",
        "Container image \"ferrokube.local/none:1\" is not present with pull policy of Never",
    ),
    ("Failed", "wrong", "Error: configmap \"none\" not found"),
    (
        "ResizeCompleted",
        "live",
        "Pod resize completed: {\"containers\":[{\"name\":\"a\",\"resources\":{\"limits\":{\"cpu\":\"300m\"",
    ),
    ("FailedMount", "unmounted", "MountVolume.SetUp failed for volume \"v\" : configmap \"none\" not found"),
];

#[test]
fn pods_behave_as_upstreams() {
    needs_containers!();
    let cluster = Cluster::started("fk-pods");
    let file = cluster.data_dir().join("pods.yaml");
    fs::write(&file, PODS.replace("IMAGE", IMAGE)).expect("written");
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()]);
    let limits = node_limits::begin(&cluster, IMAGE);
    // Told at once: no refresh of a minute's period is waited for.
    cluster.wait_for(&["pod", "live"], "{.status.phase}", "Running");
    cluster.kubectl(&["label", "pod", "live", "mark=after", "--overwrite"]);
    let resources =
        r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"150m"},"limits":{"cpu":"300m"}}}]}}"#;
    cluster.kubectl(&["patch", "pod", "live", "--subresource=resize", "-p", resources]);
    for (pod, jsonpath, want) in STATUSES {
        cluster.wait_for(&["pod", pod], jsonpath, want);
    }
    for (pod, line) in LOGS {
        let log = cluster.kubectl(&["logs", pod]);
        assert!(log.contains(line), "{pod}: no {line:?} in\n{log}");
    }
    for (reason, pod, message) in EVENTS {
        eventually(&format!("an event {reason} of {pod}: {message}"), || {
            let selector = format!("reason={reason},involvedObject.name={pod}");
            let words = [
                "get",
                "events",
                "--field-selector",
                &selector,
                "-o",
                "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}",
            ];
            let told = cluster.kubectl(&words);
            if told.lines().any(|line| line.starts_with(message)) { Ok(()) } else { Err(told) }
        });
    }
    let exec =
        |command: &[&str]| run(&mut cluster.kubectl_command(&[&["exec", "live", "--"], command].concat())).stdout;
    eventually("the label is told to the pod", || match exec(&["cat", "/told/labels"]).as_str() {
        "mark=\"after\"" => Ok(()),
        other => Err(other.into()),
    });
    cluster.wait_for(
        &["pod", "live"],
        "{.status.containerStatuses[0].resources.limits.cpu} {.status.containerStatuses[0].restartCount}",
        "300m 0",
    );
    let v1 = fs::exists("/sys/fs/cgroup/cpu").expect("a file system");
    let (path, want) = if v1 {
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "30000\n")
    } else {
        ("/sys/fs/cgroup/cpu.max", "30000 100000\n")
    };
    assert_eq!(exec(&["cat", path]), want, "the container's CPU limit");
    node_limits::end(&cluster, &limits);
}

const BOOTSTRAP: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData: {token-id: abcdef, token-secret: 0123456789abcdef, usage-bootstrap-authentication: "true"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bootstrap}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-bootstrapper"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: approve}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers"}]
"#;

/// The registry of our own images is in the cluster's process, which goes away: nothing is pulled.
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: IMAGE, imagePullPolicy: IfNotPresent}]}
"#;

const CONTAINERS: &str = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} \
                          {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";

/// Control plane, kubelet and kube-proxy in a process each, over the containers of the cluster that was.
fn node_of_processes(cluster: Cluster) -> Parts {
    let node_ip = cluster.kubectl(&["get", "node", &cluster.name, "-o", "jsonpath={.status.addresses[0].address}"]);
    let range = fs::read_to_string(cluster.data_dir().join("cluster.json")).expect("the cluster's options");
    let range: serde_json::Value = serde_json::from_str(&range).expect("JSON");
    let range = range["podCidr"].as_str().expect("the pods' addresses").to_owned();
    let pid = cluster.pid();
    kill(pid);
    eventually("the cluster's process is gone", || match fs::exists(format!("/proc/{pid}")) {
        Ok(false) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mut parts = control_plane_on(cluster);
    let (name, data) = (parts.cluster.name.clone(), parts.cluster.data_dir());
    let manifests = data.join("bootstrap.yaml");
    fs::write(&manifests, BOOTSTRAP).expect("written");
    parts.cluster.kubectl(&["apply", "-f", &manifests.to_string_lossy()]);
    let admin = fs::read_to_string(parts.cluster.kubeconfig()).expect("the kubeconfig");
    let mut bootstrap = apimachinery::codec::yaml::parse(&admin).expect("YAML");
    bootstrap["users"][0]["user"] = serde_json::json!({"token": "abcdef.0123456789abcdef"});
    let bootstrap_file = data.join("bootstrap.kubeconfig");
    fs::write(&bootstrap_file, bootstrap.to_string()).expect("written");
    // Without a certificate of its own it asks for one.
    let given = fs::read_to_string(data.join("kubelet/config.json")).expect("the kubelet's configuration");
    let mut file: serde_json::Value = serde_json::from_str(&given).expect("JSON");
    for name in ["tlsCertFile", "tlsPrivateKeyFile"] {
        file.as_object_mut().expect("an object").remove(name);
    }
    let kubelet_file = data.join("kubelet-alone.json");
    fs::write(&kubelet_file, file.to_string()).expect("written");
    parts.start(
        "kubelet",
        vec![
            flag("config", kubelet_file),
            flag("kubeconfig", data.join("kubelet.kubeconfig")),
            flag("bootstrap-kubeconfig", bootstrap_file),
            flag("root-dir", data.join("kubelet")),
            flag("cert-dir", data.join("kubelet/pki")),
            "--rotate-server-certificates=true".into(),
            format!("--hostname-override={name}"),
            format!("--node-ip={node_ip}"),
        ],
    );
    parts.start(
        "kube-proxy",
        vec![
            flag("kubeconfig", data.join("pki/kube-proxy.kubeconfig")),
            format!("--hostname-override={name}"),
            format!("--cluster-cidr={range}"),
            "--healthz-bind-address=".into(),
            "--metrics-bind-address=".into(),
            format!("--nftables-table=kube-proxy-{name}"),
        ],
    );
    parts
}

/// The kubelet serves nothing before an administrator has said yes.
fn approve_serving_certificate(cluster: &Cluster) {
    let signer = "spec.signerName=kubernetes.io/kubelet-serving";
    let names = ["get", "csr", "--field-selector", signer, "-o", "jsonpath={.items[*].metadata.name}"];
    let mut name = String::new();
    eventually("a serving certificate is asked for", || {
        name = cluster.kubectl(&names);
        if name.is_empty() { Err("there is no request".into()) } else { Ok(()) }
    });
    cluster.kubectl(&["certificate", "approve", &name]);
}

#[test]
fn kubelet_and_proxy_alone_survive_kill_9() {
    needs_containers!();
    let cluster = Cluster::started("fk-node");
    let file = cluster.data_dir().join("web.yaml");
    fs::write(&file, WEB.replace("IMAGE", IMAGE)).expect("written");
    cluster.kubectl(&["create", "-f", &file.to_string_lossy()]);
    cluster.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    cluster.wait_for(&["deployment", "web"], "{.status.readyReplicas}", "2");
    let service = cluster.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let all = |cluster: &Cluster| cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", CONTAINERS]);
    let before = all(&cluster);
    let mut parts = node_of_processes(cluster);
    let works = |parts: &Parts, pod: &str| {
        let words = ["run", pod, "--image", IMAGE, "--image-pull-policy=IfNotPresent"];
        parts.cluster.kubectl(&words);
        parts.cluster.wait_for(&["pod", pod], "{.status.containerStatuses[0].ready}", "true");
        eventually("logs come through the kubelet", || {
            let ran = run(&mut parts.cluster.kubectl_command(&["logs", pod]));
            if ran.stdout.contains("listening") { Ok(()) } else { Err(ran.stderr) }
        });
        assert_eq!(all(&parts.cluster), before, "containers were restarted");
    };
    approve_serving_certificate(&parts.cluster);
    works(&parts, "first");
    assert!(parts.cluster.data_dir().join("kubelet/pki/kubelet-server-current.pem").exists());
    // The certificate is there after a crash: nobody has to approve another.
    parts.crash("kubelet");
    works(&parts, "second");
    // What happens to services while nobody looks is caught up with.
    let proxy = parts.end("kube-proxy");
    parts.cluster.kubectl(&["delete", "pods", "-l", "app=web", "--wait=false"]);
    eventually("two other pods are ready", || {
        let names = parts.cluster.kubectl(&[
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=web",
            "-o",
            "jsonpath={range .items[*].endpoints[*]}{.targetRef.name} {.conditions.ready}{\"\\n\"}{end}",
        ]);
        let ready: Vec<&str> = names.lines().filter_map(|line| line.strip_suffix(" true")).collect();
        let fresh = ready.len() == 2 && ready.iter().all(|name| !before.contains(*name));
        if fresh { Ok(()) } else { Err(names) }
    });
    parts.start(proxy.0, proxy.1);
    eventually("the service leads to the pods there are", || http_get(&service, 80).map(drop));
}
