//! What upstream's components ask of the server: their informers, their way of writing objects back, and what their
//! client library expects of answers.
use crate::cluster::{Cluster, JOE, PODS};
use apimachinery::codec::protobuf;
use http::Request;
use kube::Client;
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// As client-go accepts answers when it is told to speak protobuf.
const ACCEPT: &str = "application/vnd.kubernetes.protobuf, */*";

async fn send(client: &Client, method: &str, path: &str, accept: &str, body: Option<&Value>) -> (u16, String, Vec<u8>) {
    let body = body.map(|b| protobuf::from_json(b.as_object().unwrap()).unwrap()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header("accept", accept);
    let request = request.header("content-type", PROTOBUF).body(kube::client::Body::from(body)).unwrap();
    let response = client.send(request).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    (status, kind, response.into_body().collect_bytes().await.unwrap().to_vec())
}

/// The collections that each component of 1.36 watches.
const INFORMERS: &[(&str, &str, &[&str])] = &[
    (
        "system:kube-scheduler",
        "",
        &[
            "/api/v1/nodes",
            "/api/v1/pods?fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed",
            "/api/v1/namespaces",
            "/api/v1/services",
            "/api/v1/persistentvolumes",
            "/api/v1/persistentvolumeclaims",
            "/api/v1/replicationcontrollers",
            "/apis/apps/v1/replicasets",
            "/apis/apps/v1/statefulsets",
            "/apis/policy/v1/poddisruptionbudgets",
            "/apis/storage.k8s.io/v1/storageclasses",
            "/apis/storage.k8s.io/v1/csinodes",
            "/apis/storage.k8s.io/v1/csidrivers",
            "/apis/storage.k8s.io/v1/csistoragecapacities",
            "/apis/storage.k8s.io/v1/volumeattachments",
            "/apis/resource.k8s.io/v1/resourceclaims",
            "/apis/resource.k8s.io/v1/resourceslices",
            "/apis/resource.k8s.io/v1/deviceclasses",
            "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dextension-apiserver-authentication",
        ],
    ),
    (
        "system:kube-controller-manager",
        "",
        &[
            "/api/v1/secrets",
            "/api/v1/serviceaccounts",
            "/api/v1/resourcequotas",
            "/api/v1/endpoints",
            "/apis/apps/v1/daemonsets",
            "/apis/apps/v1/controllerrevisions",
            "/apis/batch/v1/jobs",
            "/apis/batch/v1/cronjobs",
            "/apis/autoscaling/v2/horizontalpodautoscalers",
            "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            "/apis/coordination.k8s.io/v1/leases",
            "/apis/discovery.k8s.io/v1/endpointslices",
            "/apis/networking.k8s.io/v1/ipaddresses",
            "/apis/networking.k8s.io/v1/servicecidrs",
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "/apis/resource.k8s.io/v1/resourceclaimtemplates",
            "/apis/storage.k8s.io/v1/volumeattributesclasses",
        ],
    ),
    (
        "system:kube-proxy",
        "",
        &[
            "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fheadless%2C%21service.kubernetes.io%2Fservice-proxy-name",
            "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless%2C%21service.kubernetes.io%2Fservice-proxy-name",
            "/api/v1/nodes?fieldSelector=metadata.name%3Dn1",
            "/apis/networking.k8s.io/v1/servicecidrs",
        ],
    ),
    (
        "system:node:n1",
        "system:nodes",
        &[
            "/api/v1/nodes?fieldSelector=metadata.name%3Dn1",
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
            "/api/v1/services",
            "/apis/node.k8s.io/v1/runtimeclasses",
            "/apis/storage.k8s.io/v1/csidrivers",
        ],
    ),
];

#[tokio::test]
async fn informers() {
    let cluster = Cluster::start().await;
    for (user, group, collections) in INFORMERS {
        let client = cluster.as_certificate(user, group);
        for collection in *collections {
            let and = if collection.contains('?') { '&' } else { '?' };
            let list = format!("{collection}{and}limit=500&resourceVersion=0");
            let (status, _, body) = send(&client, "GET", &list, ACCEPT, None).await;
            assert_eq!(status, 200, "{user} {collection}: {}", String::from_utf8_lossy(&body));
            // Both ways of beginning to watch, and the garbage collector's form.
            for accept in [ACCEPT, PROTOBUF, &format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1")] {
                let watch = format!(
                    "{collection}{and}watch=true&allowWatchBookmarks=true&sendInitialEvents=true\
                     &resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
                );
                let request = Request::get(&watch).header("accept", accept).body(kube::client::Body::empty()).unwrap();
                let response = client.send(request).await.unwrap();
                assert_eq!(response.status(), 200, "{user} {collection}");
                let first = first_bytes(response.into_body(), b"initial-events-end").await;
                assert!(first, "{user} {collection} {accept}");
            }
        }
    }
}

/// Whether the stream gets to these bytes.
async fn first_bytes(mut body: kube::client::Body, wanted: &[u8]) -> bool {
    use http_body_util::BodyExt;
    let mut all = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        all.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if all.windows(wanted.len()).any(|w| w == wanted) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn zero_values_are_nothing() {
    let cluster = Cluster::start().await;
    // As a person writes it, who is no program in Go.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {}, "finalizers": []},
        "spec": {"automountServiceAccountToken": false, "hostNetwork": false, "nodeSelector": {}, "tolerations": [],
            "containers": [{"name": "c", "image": "nginx", "tty": false, "args": [], "workingDir": "",
                "ports": [{"containerPort": 80, "hostPort": 0, "protocol": ""}],
                "env": [{"name": "a", "value": ""}],
                "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": false}]}],
            "volumes": [{"name": "v", "emptyDir": {"medium": ""}}]}});
    let made = cluster.post(PODS, pod).await.unwrap();
    let container = &made["spec"]["containers"][0];
    assert_eq!(container["env"], json!([{"name": "a"}]));
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(made["spec"]["automountServiceAccountToken"], false);
    for absent in [&made["spec"]["hostNetwork"], &made["spec"]["nodeSelector"], &container["tty"], &container["args"]] {
        assert!(absent.is_null(), "{made}");
    }
    for absent in ["labels", "finalizers"] {
        assert!(made["metadata"].get(absent).is_none(), "{made}");
    }
    // What a client in Go read it writes back, changed a little.
    let mut echoed = protobuf::to_json(&protobuf::from_json(made.as_object().unwrap()).unwrap()).unwrap();
    echoed["metadata"]["labels"] = json!({"x": "y"});
    let (status, _, body) = send(&cluster.client, "PUT", &format!("{PODS}/p"), PROTOBUF, Some(&echoed)).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));

    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "paused": false, "minReadySeconds": 0, "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"hostPID": false,
            "containers": [{"name": "c", "image": "i", "stdin": false}]}}}});
    let made = cluster.post(deployments, deployment).await.unwrap();
    assert_eq!(made["spec"]["replicas"], 0);
    let echoed = protobuf::to_json(&protobuf::from_json(made.as_object().unwrap()).unwrap()).unwrap();
    let (status, _, body) = send(&cluster.client, "PUT", &format!("{deployments}/d"), PROTOBUF, Some(&echoed)).await;
    assert_eq!(status, 200);
    // No change: no new version and no new generation.
    assert_eq!(protobuf::to_json(&body).unwrap()["metadata"], made["metadata"]);
    let patch = json!({"spec": {"paused": false, "template": {"spec": {"hostIPC": false}}}});
    let patched = cluster.patch(&format!("{deployments}/d"), "merge-patch+json", patch).await.unwrap();
    assert_eq!(patched["metadata"], made["metadata"]);
}

#[tokio::test]
async fn what_is_not_there() {
    let cluster = Cluster::start().await;
    // Below what is served it is an API error; elsewhere the page of a web server.
    let cases = [
        ("/api/v1/things", true),
        ("/api/v9", true),
        ("/api/v9/pods", true),
        ("/apis/apps/v9", true),
        ("/apis/apps/v9/deployments", true),
        ("/apis/apps/v1/things", true),
        ("/api/v1/namespaces/default/pods/p/thing", true),
        ("/apis/things.example.com", false),
        ("/apis/things.example.com/v1", false),
        ("/apis/things.example.com/v1/things", false),
        ("/apis/things.example.com/v1/namespaces/default/things/a/status", false),
        ("/things", false),
    ];
    for (path, is_status) in cases {
        let (status, kind, body) = cluster.accepting(path, "application/json").await;
        assert_eq!(status, 404, "{path}");
        if is_status {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["message"], "the server could not find the requested resource", "{path}");
        } else {
            assert_eq!((kind.as_str(), body.as_str()), ("text/plain; charset=utf-8", "404 page not found\n"), "{path}");
        }
    }
    // Who may not look is not told.
    let joe = cluster.as_user(Some(JOE));
    let (status, ..) = send(&joe, "GET", "/apis/things.example.com/v1/things", "application/json", None).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn discovery_tells_the_address_in_both_forms() {
    let cluster = Cluster::start().await;
    let (_, _, json) = cluster.accepting("/api", "application/json").await;
    let versions: Value = serde_json::from_str(&json).unwrap();
    let addresses = &versions["serverAddressByClientCIDRs"][0];
    assert_eq!(addresses["clientCIDR"], "0.0.0.0/0");
    let port = format!(":{}", cluster.running.address.port());
    assert!(addresses["serverAddress"].as_str().unwrap().ends_with(&port), "{addresses}");
    for (path, kind) in
        [("/api", "APIVersions"), ("/apis", "APIGroupList"), ("/apis/apps", "APIGroup"), ("/api/v1", "APIResourceList")]
    {
        let (_, answered, body) = cluster.accepting_bytes(path, PROTOBUF).await;
        assert_eq!(answered, PROTOBUF, "{path}");
        let decoded = protobuf::to_json(&body).unwrap();
        assert_eq!(decoded["kind"], kind);
        let (_, _, json) = cluster.accepting(path, "application/json").await;
        let json: Value = serde_json::from_str(&json).unwrap();
        for field in ["groups", "resources", "versions", "serverAddressByClientCIDRs"] {
            let count = |v: &Value| v[field].as_array().map_or(0, Vec::len);
            assert_eq!(count(&decoded), count(&json), "{path} {field}");
        }
    }
}

#[tokio::test]
async fn paths_that_are_only_read() {
    let cluster = Cluster::start().await;
    for path in ["/version", "/api", "/apis/apps", "/apis/apps/v1"] {
        let (status, _, body) = send(&cluster.client, "POST", path, "application/json", None).await;
        let status_object: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &status_object["reason"]), (405, &json!("MethodNotAllowed")), "{path}");
    }
    for (path, want) in [("/healthz", 200), ("/things", 404)] {
        assert_eq!(send(&cluster.client, "POST", path, "application/json", None).await.0, want, "{path}");
    }
}

#[tokio::test]
async fn openapi_v2_in_protobuf() {
    const ANSWERED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let cluster = Cluster::start().await;
    let cases = [
        ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", ANSWERED),
        (ANSWERED, ANSWERED),
        ("application/json;q=0.5, application/com.github.proto-openapi.spec.v2@v1.0+protobuf", ANSWERED),
        ("application/json, application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/json"),
        ("*/*", "application/json"),
    ];
    for (accept, wanted) in cases {
        let (status, kind, body) = cluster.accepting_bytes("/openapi/v2", accept).await;
        assert_eq!((status, kind.as_str()), (200, wanted), "{accept}");
        assert!(body.starts_with(if wanted == ANSWERED { b"\n\x032.0" } else { b"{\"swa" }), "{accept}");
    }
    let (status, _, body) = cluster.accepting_bytes("/openapi/v2", "application/xml").await;
    assert_eq!((status, body.len()), (406, 0));
}

#[tokio::test]
async fn selectors_that_do_not_parse() {
    let cluster = Cluster::start().await;
    let (code, text) = cluster.get(&format!("{PODS}?labelSelector=a%3D%3D%3Db")).await.unwrap_err();
    assert_eq!((code, text.as_str()), (400, "unable to parse requirement: found '=', expected: identifier"));
}
