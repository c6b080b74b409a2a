//! Workload kinds: scale, status and generations.
use crate::cluster::Cluster;
use serde_json::json;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> serde_json::Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}})
}

#[tokio::test]
async fn scale() {
    let cluster = Cluster::start().await;
    cluster.post(DEPLOYMENTS, deployment()).await.unwrap();
    let path = format!("{DEPLOYMENTS}/d/scale");
    let scale = cluster.get(&path).await.unwrap();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(2), &json!("app=d")));
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(5);
    assert_eq!(cluster.put(&path, wanted.clone()).await.unwrap()["spec"]["replicas"], 5);
    assert_eq!(cluster.put(&path, wanted).await.unwrap_err().0, 409);
    let patched = cluster.patch(&path, "merge-patch+json", json!({"spec": {"replicas": 7}})).await.unwrap();
    assert_eq!(patched["spec"]["replicas"], 7);
    assert_eq!(cluster.get(&format!("{DEPLOYMENTS}/d")).await.unwrap()["spec"]["replicas"], 7);
    assert_eq!(cluster.patch(&path, "merge-patch+json", json!({"spec": {"replicas": -1}})).await.unwrap_err().0, 422);
}

#[tokio::test]
async fn generation_follows_the_spec() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    assert_eq!(cluster.post(DEPLOYMENTS, deployment()).await.unwrap()["metadata"]["generation"], 1);
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(cluster.patch(&path, "merge-patch+json", label).await.unwrap()["metadata"]["generation"], 1);
    let spec = json!({"spec": {"replicas": 3}});
    assert_eq!(cluster.patch(&path, "merge-patch+json", spec).await.unwrap()["metadata"]["generation"], 2);
    let status = json!({"status": {"replicas": 3}});
    let path = format!("{path}/status");
    assert_eq!(cluster.patch(&path, "merge-patch+json", status).await.unwrap()["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_disruption_budget_refuses_evictions() {
    let cluster = Cluster::start().await;
    let mut pod = crate::cluster::pod("p");
    pod["metadata"]["labels"] = json!({"app": "d"});
    cluster.post(crate::cluster::PODS, pod).await.unwrap();
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "d"}}}});
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    cluster.post(budgets, budget).await.unwrap();
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let path = format!("{}/p", crate::cluster::PODS);
    cluster.patch(&format!("{path}/status"), "merge-patch+json", status).await.unwrap();
    let counts = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
        "desiredHealthy": 1, "expectedPods": 1}});
    cluster.patch(&format!("{budgets}/b/status"), "merge-patch+json", counts).await.unwrap();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let masters = cluster.running.client(auth::UserInfo::new("me", [auth::groups::MASTERS]));
    let post =
        || crate::cluster::call(&masters, "POST", "/api/v1/namespaces/default/pods/p/eviction", Some(eviction.clone()));
    let (code, text) = post().await.unwrap_err();
    assert_eq!((code, text.as_str()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    let counts = json!({"status": {"disruptionsAllowed": 1}});
    cluster.patch(&format!("{budgets}/b/status"), "merge-patch+json", counts).await.unwrap();
    post().await.unwrap();
    assert_eq!(cluster.get(&path).await.unwrap_err().0, 404);
    let budget = cluster.get(&format!("{budgets}/b")).await.unwrap();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["p"].is_string());
    let condition = &budget["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("DisruptionAllowed"), &json!("False")));
}

#[tokio::test]
async fn events_are_served_in_both_groups() {
    let cluster = Cluster::start().await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "Started", "message": "hello"});
    cluster.post("/api/v1/namespaces/default/events", event).await.unwrap();
    let newer = cluster.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.unwrap();
    assert_eq!(newer["apiVersion"], "events.k8s.io/v1");
    assert_eq!((&newer["note"], &newer["regarding"]["name"]), (&json!("hello"), &json!("p")));
    let list = cluster.get("/apis/events.k8s.io/v1/events").await.unwrap();
    assert_eq!(list["kind"], "EventList");
    assert_eq!(list["items"][0]["note"], "hello");
}

#[tokio::test]
async fn concurrent_scale_patches_all_succeed() {
    let cluster = Cluster::start().await;
    cluster.post(DEPLOYMENTS, deployment()).await.unwrap();
    let path = format!("{DEPLOYMENTS}/d/scale");
    let each = (3..7).map(|n| cluster.patch(&path, "merge-patch+json", json!({"spec": {"replicas": n}})));
    for done in futures::future::join_all(each).await {
        done.unwrap();
    }
}
