//! Pods: binding, eviction, status and the rules for their updates.
use crate::{
    cluster::{Cluster, PODS, pod},
    deletion::bind,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p")).await.unwrap();
    let done = bind(&cluster, "p", "n1").await.unwrap();
    assert_eq!(done["status"], "Success");
    let bound = cluster.get(&format!("{PODS}/p")).await.unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    let conditions = bound["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True"));
    let (code, text) = bind(&cluster, "p", "n2").await.unwrap_err();
    assert_eq!(code, 409);
    assert_eq!(text, "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"");
    let on_node = cluster.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.unwrap();
    assert_eq!(on_node["items"].as_array().unwrap().len(), 1);
    let elsewhere = cluster.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await.unwrap();
    assert_eq!(elsewhere["items"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn status_and_spec_are_written_separately() {
    let cluster = Cluster::start().await;
    let made = cluster.post(PODS, pod("p")).await.unwrap();
    let path = format!("{PODS}/p/status");
    let change = json!({"status": {"phase": "Running"}, "metadata": {"labels": {"x": "y"}}});
    let running = cluster.patch(&path, "strategic-merge-patch+json", change).await.unwrap();
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["spec"], made["spec"]);
    let back = json!({"status": {"phase": "Failed"}});
    let kept = cluster.patch(&format!("{PODS}/p"), "merge-patch+json", back).await.unwrap();
    assert_eq!(kept["status"]["phase"], "Running");
}

#[tokio::test]
async fn an_eviction_without_a_budget_deletes() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p")).await.unwrap();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let done = cluster.post(&format!("{PODS}/p/eviction"), eviction).await.unwrap();
    assert_eq!((&done["status"], &done["code"]), (&json!("Success"), &json!(201)));
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.unwrap_err().0, 404);
}

#[tokio::test]
async fn an_evicted_pod_says_why_it_goes() {
    let cluster = Cluster::start().await;
    let mut held = pod("p");
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    let created = cluster.post(PODS, held).await.unwrap();
    let version = &created["metadata"]["resourceVersion"];
    let eviction = |version: &Value| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
            "deleteOptions": {"preconditions": {"resourceVersion": version}}})
    };
    let (code, _) = cluster.post(&format!("{PODS}/p/eviction"), eviction(&json!("1"))).await.unwrap_err();
    assert_eq!(code, 409, "another version than the client saw");
    assert!(cluster.get(&format!("{PODS}/p")).await.unwrap()["status"]["conditions"].is_null());
    cluster.post(&format!("{PODS}/p/eviction"), eviction(version)).await.unwrap();
    let pod = cluster.get(&format!("{PODS}/p")).await.unwrap();
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let mut condition = pod["status"]["conditions"][0].clone();
    assert!(condition["lastTransitionTime"].take().is_string());
    let want = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "observedGeneration": 1, "lastTransitionTime": null});
    assert_eq!(condition, want);
}

#[tokio::test]
async fn what_says_nothing_is_not_stored() {
    let cluster = Cluster::start().await;
    let mut bare = pod("p");
    bare["metadata"]["finalizers"] = json!([]);
    bare["metadata"]["labels"] = json!({});
    bare["spec"]["hostNetwork"] = json!(false);
    bare["spec"]["terminationGracePeriodSeconds"] = json!(0);
    let created = cluster.post(PODS, bare).await.unwrap();
    for (part, field) in [("metadata", "finalizers"), ("metadata", "labels"), ("spec", "hostNetwork")] {
        assert!(created[part].get(field).is_none(), "{field}: {created}");
    }
    assert_eq!(created["spec"]["terminationGracePeriodSeconds"], 0, "a pointer: zero is a value");
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    cluster.patch(&format!("{PODS}/p"), "merge-patch+json", held).await.unwrap();
    let freed = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/held"]}});
    let freed = cluster.patch(&format!("{PODS}/p"), "strategic-merge-patch+json", freed).await.unwrap();
    assert!(freed["metadata"].get("finalizers").is_none(), "{freed}");
}

#[tokio::test]
async fn logs_before_there_is_a_node() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, pod("p")).await.unwrap();
    let (status, _, text) = cluster.accepting(&format!("{PODS}/p/log"), "*/*").await;
    assert_eq!((status, text.as_str()), (200, ""));
    let (code, text) = cluster.get(&format!("{PODS}/p/log?container=x")).await.unwrap_err();
    assert_eq!((code, text.as_str()), (400, "container x is not valid for pod p"));
}
