//! Priority and fairness over TLS: by what requests are served, who is turned away, what is told of schemas.
use crate::cluster::{Cluster, JOE, MAPS};
use futures::{AsyncBufReadExt, StreamExt};
use http::{HeaderMap, Request};
use kube::Client;
use serde_json::{Value, json};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

async fn get(client: &Client, path: &str) -> (u16, HeaderMap, String) {
    let request = Request::get(path).body(kube::client::Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect_bytes().await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
}

async fn uid(cluster: &Cluster, path: &str) -> String {
    cluster.get(path).await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn schema(name: &str, level: &str, user: &str) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
        "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": level}, "rules": [{
            "subjects": [{"kind": "User", "user": {"name": user}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}})
}

#[tokio::test]
async fn answers_tell_by_what_they_were_served() {
    let cluster = Cluster::start().await;
    let (joe, nobody) = (cluster.as_user(Some(JOE)), cluster.as_user(None));
    let cases = [
        (&cluster.client, MAPS, 200, "exempt", "exempt"),
        (&joe, MAPS, 403, "global-default", "global-default"),
        (&nobody, "/readyz", 200, "probes", "exempt"),
        (&nobody, "/version", 200, "global-default", "global-default"),
        // Watches too.
        (&cluster.client, "/api/v1/configmaps?watch=1&timeoutSeconds=1", 200, "exempt", "exempt"),
    ];
    for (client, path, want, schema, level) in cases {
        let (status, headers, _) = get(client, path).await;
        assert_eq!(status, want, "{path}");
        let by =
            (text(&headers, "x-kubernetes-pf-flowschema-uid"), text(&headers, "x-kubernetes-pf-prioritylevel-uid"));
        let (schema, level) =
            (uid(&cluster, &format!("{SCHEMAS}/{schema}")).await, uid(&cluster, &format!("{LEVELS}/{level}")).await);
        assert_eq!(by, (&*schema, &*level), "{path}");
    }
    // Streams of nodes are no requests that one waits for.
    let (_, headers, _) = get(&cluster.client, "/api/v1/namespaces/default/pods/p/log").await;
    assert!(!headers.contains_key("x-kubernetes-pf-flowschema-uid"));
}

#[tokio::test]
async fn who_finds_no_seat_is_told_when_to_come_back() {
    let cluster = Cluster::start().await;
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "shut"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}});
    cluster.post(LEVELS, level).await.unwrap();
    let made = cluster.post(SCHEMAS, schema("joe", "shut", "joe")).await.unwrap();
    let joe = cluster.as_user(Some(JOE));
    let (status, headers, body) = get(&joe, MAPS).await;
    assert_eq!((status, body.as_str()), (429, "Too many requests, please try again later.\n"));
    assert_eq!(text(&headers, "retry-after"), "1");
    assert_eq!(text(&headers, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(text(&headers, "x-kubernetes-pf-flowschema-uid"), made["metadata"]["uid"].as_str().unwrap());
    let (_, _, metrics) = get(&cluster.client, "/metrics").await;
    let counted = "apiserver_flowcontrol_rejected_requests_total{priority_level=\"shut\",flow_schema=\"joe\",reason=\"concurrency-limit\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    // Its rules are for resources.
    assert_eq!(get(&joe, "/version").await.0, 200);
    // A change counts from the next request on.
    cluster.delete(&format!("{SCHEMAS}/joe"), json!({})).await.unwrap();
    assert_eq!(get(&joe, MAPS).await.0, 403);
}

#[tokio::test]
async fn what_is_mandatory_stays() {
    let cluster = Cluster::start().await;
    let shares = |n: i32| json!({"spec": {"limited": {"nominalConcurrencyShares": n}}});
    let (code, text) = cluster.patch(&format!("{LEVELS}/catch-all"), "merge-patch+json", shares(7)).await.unwrap_err();
    assert_eq!(code, 422);
    assert!(text.ends_with("spec of 'catch-all' must equal the fixed value"), "{text}");
    cluster.patch(&format!("{LEVELS}/system"), "merge-patch+json", shares(7)).await.unwrap();
    let exempt = json!({"spec": {"exempt": {"nominalConcurrencyShares": 7}}});
    cluster.patch(&format!("{LEVELS}/exempt"), "merge-patch+json", exempt).await.unwrap();
}

#[tokio::test]
async fn a_schema_without_its_level_is_told_so() {
    let cluster = Cluster::start().await;
    cluster.post(SCHEMAS, schema("lost", "nowhere", "joe")).await.unwrap();
    // It counts for nothing.
    assert_eq!(get(&cluster.as_user(Some(JOE)), MAPS).await.0, 403);
    let watch = format!("{SCHEMAS}?watch=true&fieldSelector=metadata.name%3Dlost&timeoutSeconds=20");
    let request = Request::get(watch).body(Vec::new()).unwrap();
    let mut lines = cluster.client.request_stream(request).await.unwrap().lines();
    let condition = loop {
        let line = lines.next().await.expect("the condition").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        if let Some(condition) = event["object"]["status"]["conditions"].get(0) {
            break condition.clone();
        }
    };
    assert_eq!(
        (condition["type"].as_str(), condition["status"].as_str(), condition["reason"].as_str()),
        (Some("Dangling"), Some("True"), Some("NotFound"))
    );
    assert_eq!(
        condition["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"nowhere\" but there is no such object"
    );
}
