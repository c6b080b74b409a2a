//! What upstream's components write, as they write it: in protobuf, with their own certificates and nobody's help.
use crate::cluster::{Cluster, pod};
use apimachinery::codec::protobuf;
use http::Request;
use kube::Client;
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";

/// A component: who it is, and how client-go asks for it when told to speak protobuf.
struct Component(Client);

impl Component {
    async fn send(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> (u16, Value) {
        let request =
            Request::builder().method(method).uri(path).header("accept", "application/vnd.kubernetes.protobuf");
        let request = request.header("content-type", kind).body(kube::client::Body::from(body)).unwrap();
        let response = self.0.send(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect_bytes().await.unwrap();
        (status, protobuf::to_json(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body:?}")))
    }

    /// Sent as protobuf, answered in it.
    async fn write(&self, method: &str, path: &str, want: u16, body: Value) -> Value {
        let bytes = protobuf::from_json(body.as_object().unwrap()).unwrap();
        let (status, answer) = self.send(method, path, PROTOBUF, bytes).await;
        assert_eq!(status, want, "{method} {path}: {answer}");
        answer
    }

    async fn patch(&self, path: &str, kind: &str, body: Value) -> Value {
        let (status, answer) = self.send("PATCH", path, kind, body.to_string().into_bytes()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.send("GET", path, PROTOBUF, Vec::new()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
}

fn lease(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": namespace},
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15, "acquireTime": "2026-01-02T03:04:05.000006Z",
            "renewTime": "2026-01-02T03:04:05.000006Z", "leaseTransitions": 1}})
}

/// As client-go's recorder of `events.k8s.io` makes them.
fn event(name: &str, pod: &Value) -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
        "eventTime": "2026-01-02T03:04:05.000006Z", "reportingController": "default-scheduler",
        "reportingInstance": "default-scheduler-host", "action": "Scheduling", "reason": "FailedScheduling",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p", "uid": pod["metadata"]["uid"], "apiVersion": "v1"},
        "note": "0/1 nodes are available", "type": "Warning"})
}

async fn cluster() -> (Cluster, Value) {
    let cluster = Cluster::start().await;
    cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await.unwrap();
    let made = cluster.post("/api/v1/namespaces/default/pods", pod("p")).await.unwrap();
    (cluster, made)
}

#[tokio::test]
async fn the_scheduler() {
    let (cluster, made) = cluster().await;
    let scheduler = Component(cluster.as_certificate("system:kube-scheduler", ""));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let held = scheduler.write("POST", leases, 201, lease("kube-system", "kube-scheduler")).await;
    assert_eq!(held["spec"]["renewTime"], "2026-01-02T03:04:05.000006Z");
    scheduler.write("PUT", &format!("{leases}/kube-scheduler"), 200, held).await;
    scheduler.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await;

    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    scheduler.write("POST", events, 201, event("p.1", &made)).await;
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000006Z"}});
    let told = scheduler.patch(&format!("{events}/p.1"), STRATEGIC, series).await;
    assert_eq!(told["series"]["count"], 2);
    let condition = json!({"status": {"$setElementOrder/conditions": [{"type": "PodScheduled"}], "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no", "lastProbeTime": null,
         "lastTransitionTime": "2026-01-02T03:04:05Z"}]}});
    let status = "/api/v1/namespaces/default/pods/p/status";
    assert_eq!(
        scheduler.patch(status, STRATEGIC, condition).await["status"]["conditions"][0]["reason"],
        "Unschedulable"
    );
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n1"},
        "metadata": {"name": "p", "namespace": "default", "uid": made["metadata"]["uid"]}});
    let bound = scheduler.write("POST", "/api/v1/namespaces/default/pods/p/binding", 201, binding).await;
    assert_eq!((&bound["kind"], &bound["status"], &bound["code"]), (&json!("Status"), &json!("Success"), &json!(201)));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 5});
    scheduler.write("DELETE", "/api/v1/namespaces/default/pods/p", 200, options).await;
    for review in ["authentication.k8s.io/v1/tokenreviews", "authorization.k8s.io/v1/subjectaccessreviews"] {
        let (group, resource) = review.rsplit_once('/').unwrap();
        let (kind, spec) = match resource {
            "tokenreviews" => ("TokenReview", json!({"token": "no"})),
            _ => (
                "SubjectAccessReview",
                json!({"user": "joe", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}}),
            ),
        };
        let body = json!({"apiVersion": group, "kind": kind, "spec": spec});
        let answer = scheduler.write("POST", &format!("/apis/{review}"), 201, body).await;
        assert!(answer["status"].is_object(), "{answer}");
    }
}

#[tokio::test]
async fn the_kubelet() {
    let (cluster, made) = cluster().await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    cluster.post("/api/v1/namespaces/default/pods/p/binding", binding).await.unwrap();
    let kubelet = Component(cluster.as_certificate("system:node:n1", "system:nodes"));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    // It registers itself again whenever it starts.
    let (status, taken) =
        kubelet.send("POST", "/api/v1/nodes", PROTOBUF, protobuf::from_json(node.as_object().unwrap()).unwrap()).await;
    assert_eq!((status, &taken["reason"]), (409, &json!("AlreadyExists")));
    let ready = json!({"status": {"$setElementOrder/conditions": [{"type": "Ready"}], "conditions": [
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
         "lastHeartbeatTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z"}],
        "capacity": {"cpu": "2"}, "nodeInfo": {"kubeletVersion": "v1.36.2"}}});
    let patched = kubelet.patch("/api/v1/nodes/n1/status", STRATEGIC, ready).await;
    assert_eq!(patched["status"]["conditions"][0]["reason"], "KubeletReady");
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let held = kubelet.write("POST", leases, 201, lease("kube-node-lease", "n1")).await;
    kubelet.write("PUT", &format!("{leases}/n1"), 200, held).await;

    let uid = &made["metadata"]["uid"];
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "audiences": ["https://kubernetes.default.svc.cluster.local"], "expirationSeconds": 3607,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let bytes = protobuf::from_json(token.as_object().unwrap()).unwrap();
    // There is no signing key here; that it got so far shows that it was read and allowed.
    let (status, answer) = kubelet.send("POST", path, PROTOBUF, bytes).await;
    assert_ne!(status, 403, "{answer}");
    let status = json!({"metadata": {"uid": uid}, "status": {"phase": "Running", "startTime": "2026-01-02T03:04:05Z",
        "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "$setElementOrder/podIPs": [{"ip": "10.0.0.1"}]}});
    let patched = kubelet.patch("/api/v1/namespaces/default/pods/p/status", STRATEGIC, status).await;
    assert_eq!(patched["status"]["phase"], "Running");
    // A pod of that name and another identity is not meant.
    let other = json!({"metadata": {"uid": "other"}, "status": {"phase": "Failed"}});
    let path = "/api/v1/namespaces/default/pods/p/status";
    let (status, answer) = kubelet.send("PATCH", path, STRATEGIC, other.to_string().into_bytes()).await;
    assert_eq!(status, 409);
    assert_eq!(
        answer["message"],
        format!(
            "Operation cannot be fulfilled on pods \"p\": StorageError: invalid object, Code: 4, Key: \
             /registry/pods/default/p, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: \
             other, UID in object meta: {}",
            uid.as_str().unwrap()
        )
    );
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "p.2", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p", "uid": uid, "apiVersion": "v1"},
        "reason": "Pulled", "message": "m", "source": {"component": "kubelet", "host": "n1"}, "count": 1, "type": "Normal",
        "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z",
        "reportingComponent": "kubelet", "reportingInstance": "n1"});
    let events = "/api/v1/namespaces/default/events";
    kubelet.write("POST", events, 201, event).await;
    let again = json!({"count": 2, "lastTimestamp": "2026-01-02T03:05:05Z"});
    assert_eq!(kubelet.patch(&format!("{events}/p.2"), STRATEGIC, again).await["count"], 2);
    let options =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    kubelet.write("DELETE", "/api/v1/namespaces/default/pods/p", 200, options).await;

    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "csr-"}, "spec": {"request": "bm90aGluZw==", "signerName": "kubernetes.io/kubelet-serving",
            "usages": ["digital signature", "server auth"]}});
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let bytes = protobuf::from_json(request.as_object().unwrap()).unwrap();
    let (status, answer) = kubelet.send("POST", requests, PROTOBUF, bytes).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("spec.request"), "{answer}");
}

#[tokio::test]
async fn the_controller_manager() {
    let (cluster, made) = cluster().await;
    let manager = Component(cluster.as_certificate("system:kube-controller-manager", ""));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let held = manager.write("POST", leases, 201, lease("kube-system", "kube-controller-manager")).await;
    manager.write("PUT", &format!("{leases}/kube-controller-manager"), 200, held).await;
    // With --use-service-account-credentials each controller is one of these.
    let as_controller = |name: &str| {
        let user = format!("system:serviceaccount:kube-system:{name}");
        Component(cluster.as_certificate(&user, "system:serviceaccounts"))
    };
    let collector = as_controller("generic-garbage-collector");
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let request = Request::get("/api/v1/namespaces/default/pods/p").header("accept", metadata);
    let response = collector.0.send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    let partial = protobuf::to_json(&response.into_body().collect_bytes().await.unwrap()).unwrap();
    assert_eq!((&partial["kind"], &partial["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("p")));
    let owners = json!({"metadata": {"uid": made["metadata"]["uid"], "ownerReferences": [
        {"$patch": "delete", "uid": "0"}]}});
    collector.patch("/api/v1/namespaces/default/pods/p", STRATEGIC, owners).await;
    collector.patch("/api/v1/namespaces/default/pods/p", MERGE, json!({"metadata": {"finalizers": []}})).await;
    let slices = as_controller("endpointslice-controller");
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"generateName": "s-", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false}}],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}]});
    let made = slices.write("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", 201, slice).await;
    assert_eq!(made["endpoints"][0]["conditions"]["terminating"], false);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"},
        "deleteOptions": {"gracePeriodSeconds": 1}});
    let path = "/api/v1/namespaces/default/pods/p/eviction";
    let admin = Component(cluster.client.clone());
    let gone = admin.write("POST", path, 201, eviction).await;
    assert_eq!(gone["status"], "Success");
}
