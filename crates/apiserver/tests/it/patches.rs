//! The three kinds of patch, races, and what is refused.
use crate::cluster::{Cluster, MAPS, PODS, map, pod, version};
use serde_json::json;

#[tokio::test]
async fn json_merge_and_strategic() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    let path = format!("{MAPS}/a");
    let merged = cluster.patch(&path, "merge-patch+json", json!({"data": {"b": "2", "a": null}})).await.unwrap();
    assert_eq!(merged["data"], json!({"b": "2"}));
    let operations =
        json!([{"op": "test", "path": "/data/b", "value": "2"}, {"op": "add", "path": "/data/c", "value": "3"}]);
    let patched = cluster.patch(&path, "json-patch+json", operations).await.unwrap();
    assert_eq!(patched["data"], json!({"b": "2", "c": "3"}));
    let wrong = json!([{"op": "test", "path": "/data/b", "value": "nine"}]);
    assert_eq!(cluster.patch(&path, "json-patch+json", wrong).await.unwrap_err().0, 422);
    let same = cluster.patch(&path, "merge-patch+json", json!({})).await.unwrap();
    assert_eq!(version(&same), version(&patched));

    cluster.post(PODS, pod("p")).await.unwrap();
    let change = json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}});
    let patched = cluster.patch(&format!("{PODS}/p"), "strategic-merge-patch+json", change).await.unwrap();
    assert_eq!(patched["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(patched["spec"]["containers"][0]["image"], "nginx:2");
}

#[tokio::test]
async fn what_a_patch_may_not_do() {
    let cluster = Cluster::start().await;
    let made = cluster.post(MAPS, map("a")).await.unwrap();
    let path = format!("{MAPS}/a");
    let (code, text) = cluster.patch(&path, "apply-patch+yaml", map("a")).await.unwrap_err();
    assert_eq!(code, 415, "{text}");
    assert!(text.contains("application/strategic-merge-patch+json"), "{text}");
    assert_eq!(cluster.patch(&path, "merge-patch+json", json!({"metadata": {"name": "b"}})).await.unwrap_err().0, 400);
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"z": "1"}});
    assert_eq!(cluster.patch(&path, "merge-patch+json", stale).await.unwrap_err().0, 409);
    let uid = json!({"metadata": {"uid": "other"}});
    assert_eq!(cluster.patch(&path, "merge-patch+json", uid).await.unwrap_err().0, 409);
    assert_eq!(cluster.patch(&format!("{MAPS}/none"), "merge-patch+json", json!({})).await.unwrap_err().0, 404);
    assert_eq!(cluster.get(&path).await.unwrap(), made);
}

#[tokio::test]
async fn concurrent_patches_all_arrive() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    let path = format!("{MAPS}/a");
    let each = (0..8).map(|i| {
        let (cluster, path) = (&cluster, &path);
        async move {
            loop {
                let change = json!({"data": {format!("k{i}"): "v"}});
                match cluster.patch(path, "merge-patch+json", change).await {
                    Ok(_) => return,
                    Err((409, _)) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    });
    futures::future::join_all(each).await;
    let data = cluster.get(&path).await.unwrap()["data"].as_object().unwrap().len();
    assert_eq!(data, 9);
}

#[tokio::test]
async fn what_cannot_be_applied_is_told_as_upstream_tells_it() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    let path = format!("{MAPS}/a");
    for (kind, query, patch, code, want) in [
        ("merge-patch+json", "", json!({"data": {"a": 1}}), 422, "into Go struct field ConfigMap.data of type string"),
        (
            "strategic-merge-patch+json",
            "",
            json!({"data": {"a": 1}}),
            422,
            " \"\" is invalid: patch: Invalid value: \"map[data:map[a:1]]\": cannot convert int64 to string",
        ),
        (
            "strategic-merge-patch+json",
            "?fieldValidation=Strict",
            json!({"foo": ["x", 1]}),
            422,
            "patch: Invalid value: \"map[foo:[x 1]]\": strict decoding error: unknown field \"foo\"",
        ),
        (
            "merge-patch+json",
            "",
            json!([1]),
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "merge-patch+json",
            "",
            json!({"kind": "Pod"}),
            422,
            "converting (v1.Pod) to (core.ConfigMap): unknown conversion",
        ),
    ] {
        let (found, text) = cluster.patch(&format!("{path}{query}"), kind, patch).await.unwrap_err();
        assert_eq!(found, code, "{text}");
        assert!(text.ends_with(want), "{text}");
    }
}
