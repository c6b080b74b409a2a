//! Deletion: preconditions, finalizers, grace, collections.
use crate::cluster::{Cluster, MAPS, PODS, map, pod};
use serde_json::json;

#[tokio::test]
async fn finalizers_hold_an_object() {
    let cluster = Cluster::start().await;
    let mut body = map("a");
    body["metadata"]["finalizers"] = json!(["example.com/x"]);
    cluster.post(MAPS, body).await.unwrap();
    let path = format!("{MAPS}/a");
    let marked = cluster.delete(&path, json!({})).await.unwrap();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(cluster.get(&path).await.unwrap(), marked);
    // Asking again changes nothing.
    assert_eq!(cluster.delete(&path, json!({})).await.unwrap(), marked);
    cluster.patch(&path, "merge-patch+json", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(cluster.get(&path).await.unwrap_err().0, 404);
}

#[tokio::test]
async fn preconditions() {
    let cluster = Cluster::start().await;
    let made = cluster.post(MAPS, map("a")).await.unwrap();
    let path = format!("{MAPS}/a");
    let (code, text) = cluster.delete(&path, json!({"preconditions": {"uid": "other"}})).await.unwrap_err();
    assert_eq!(code, 409);
    let uid = made["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (other) does not match the UID in \
             record ({uid}). The object might have been deleted and then recreated"
        )
    );
    assert_eq!(cluster.delete(&path, json!({"preconditions": {"resourceVersion": "1"}})).await.unwrap_err().0, 409);
    let right = json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}});
    cluster.delete(&path, right).await.unwrap();
    let (code, text) = cluster.delete(&path, json!({"propagationPolicy": "Some"})).await.unwrap_err();
    assert_eq!(code, 422, "{text}");
}

#[tokio::test]
async fn propagation_becomes_finalizers() {
    let cluster = Cluster::start().await;
    for (policy, want) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        cluster.post(MAPS, map("a")).await.unwrap();
        let path = format!("{MAPS}/a");
        let marked = cluster.delete(&path, json!({"propagationPolicy": policy})).await.unwrap();
        assert_eq!(marked["metadata"]["finalizers"], json!([want]));
        cluster.patch(&path, "merge-patch+json", json!({"metadata": {"finalizers": []}})).await.unwrap();
        assert_eq!(cluster.get(&path).await.unwrap_err().0, 404);
    }
}

#[tokio::test]
async fn pods_on_a_node_get_their_grace() {
    let cluster = Cluster::start().await;
    let path = format!("{PODS}/p");
    cluster.post(PODS, pod("p")).await.unwrap();
    cluster.delete(&path, json!({})).await.unwrap();
    assert_eq!(cluster.get(&path).await.unwrap_err().0, 404, "a pod without a node goes at once");

    cluster.post(PODS, pod("p")).await.unwrap();
    bind(&cluster, "p", "n1").await.unwrap();
    let marked = cluster.delete(&path, json!({"gracePeriodSeconds": 20})).await.unwrap();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 20);
    let shorter = cluster.delete(&path, json!({"gracePeriodSeconds": 5})).await.unwrap();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    cluster.delete(&path, json!({"gracePeriodSeconds": 0})).await.unwrap();
    assert_eq!(cluster.get(&path).await.unwrap_err().0, 404);
}

pub async fn bind(cluster: &Cluster, name: &str, node: &str) -> Result<serde_json::Value, (u16, String)> {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"kind": "Node", "name": node},
    });
    cluster.post(&format!("{PODS}/{name}/binding"), binding).await
}

#[tokio::test]
async fn collections() {
    let cluster = Cluster::start().await;
    for (name, app) in [("a", "web"), ("b", "web"), ("c", "db")] {
        cluster.post(MAPS, crate::cluster::labelled(name, app)).await.unwrap();
    }
    let deleted = cluster.delete(&format!("{MAPS}?labelSelector=app%3Dweb"), json!({})).await.unwrap();
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let left = cluster.get(MAPS).await.unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn namespaces_go_in_two_steps() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/t";
    cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "t"}})).await.unwrap();
    let marked = cluster.delete(path, json!({})).await.unwrap();
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert_eq!(marked["spec"]["finalizers"], json!(["kubernetes"]));
    let mut done = marked.clone();
    done["spec"]["finalizers"] = json!([]);
    cluster.put(&format!("{path}/finalize"), done).await.unwrap();
    assert_eq!(cluster.get(path).await.unwrap_err().0, 404);
}
