//! Watches: from where they start, what they deliver, bookmarks, and how they end.
use crate::{
    cluster::{Cluster, MAPS, PODS, labelled, map, pod, version},
    deletion::bind,
};
use futures::{AsyncBufReadExt, StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use std::time::Duration;

type Events = BoxStream<'static, Value>;

async fn watch(cluster: &Cluster, query: &str) -> Events {
    watch_at(cluster, MAPS, query).await
}

async fn watch_at(cluster: &Cluster, path: &str, query: &str) -> Events {
    let request = http::Request::get(format!("{path}?watch=true&{query}")).body(Vec::new()).unwrap();
    let lines = cluster.client.request_stream(request).await.unwrap().lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).boxed()
}

async fn next(events: &mut Events) -> Value {
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("in time").expect("an event")
}

fn seen(event: &Value) -> String {
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
    format!("{} {name}", event["type"].as_str().unwrap())
}

#[tokio::test]
async fn events_from_a_version_on() {
    let cluster = Cluster::start().await;
    let first = cluster.post(MAPS, map("a")).await.unwrap();
    cluster.patch(&format!("{MAPS}/a"), "merge-patch+json", json!({"data": {"z": "1"}})).await.unwrap();
    let mut events = watch(&cluster, &format!("resourceVersion={}", version(&first))).await;
    assert_eq!(seen(&next(&mut events).await), "MODIFIED a");
    cluster.post(MAPS, map("b")).await.unwrap();
    assert_eq!(seen(&next(&mut events).await), "ADDED b");
    cluster.delete(&format!("{MAPS}/a"), json!({})).await.unwrap();
    let gone = next(&mut events).await;
    assert_eq!(seen(&gone), "DELETED a");
    assert!(version(&gone["object"]).parse::<u64>().unwrap() > version(&first).parse::<u64>().unwrap());
}

#[tokio::test]
async fn without_a_version_what_exists_comes_first() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    for query in ["", "resourceVersion=0"] {
        let mut events = watch(&cluster, query).await;
        assert_eq!(seen(&next(&mut events).await), "ADDED a", "{query}");
    }
}

#[tokio::test]
async fn a_selector_turns_changes_into_additions_and_deletions() {
    let cluster = Cluster::start().await;
    let made = cluster.post(MAPS, labelled("a", "web")).await.unwrap();
    let query = format!("resourceVersion={}&labelSelector=app%3Ddb", version(&made));
    let mut events = watch(&cluster, &query).await;
    let path = format!("{MAPS}/a");
    let to = |app: &str| json!({"metadata": {"labels": {"app": app}}});
    cluster.patch(&path, "merge-patch+json", to("db")).await.unwrap();
    assert_eq!(seen(&next(&mut events).await), "ADDED a");
    cluster.patch(&path, "merge-patch+json", to("web")).await.unwrap();
    assert_eq!(seen(&next(&mut events).await), "DELETED a");
}

/// What decides where a watcher is kept (a name, a node's pods) must not hide what else it selects.
#[tokio::test]
async fn all_that_a_selector_says_is_kept() {
    let cluster = Cluster::start().await;
    let before = version(&cluster.post(MAPS, labelled("a", "web")).await.unwrap());
    cluster.post(MAPS, labelled("b", "web")).await.unwrap();
    cluster.post(MAPS, labelled("c", "db")).await.unwrap();
    for (name, node) in [("p", "n1"), ("q", "n2")] {
        cluster.post(PODS, pod(name)).await.unwrap();
        bind(&cluster, name, node).await.unwrap();
    }
    let table: [(&str, &str, &[&str]); 12] = [
        (MAPS, "fieldSelector=metadata.name%3Db", &["ADDED b"]),
        (MAPS, "fieldSelector=metadata.name%3Db%2Cmetadata.name%3Db", &["ADDED b"]),
        (MAPS, "fieldSelector=metadata.name%3Db%2Cmetadata.name%3Dc", &[]),
        (MAPS, "fieldSelector=metadata.name%3Db%2Cmetadata.name%21%3Db", &[]),
        (MAPS, "fieldSelector=metadata.name%3Db%2Cmetadata.namespace%3Dother", &[]),
        (MAPS, "fieldSelector=metadata.name%21%3Db", &["ADDED c"]),
        (MAPS, "fieldSelector=metadata.name%3Db&labelSelector=app%3Ddb", &[]),
        ("/api/v1/configmaps", "fieldSelector=metadata.name%3Dc%2Cmetadata.namespace%3Ddefault", &["ADDED c"]),
        (PODS, "fieldSelector=spec.nodeName%3Dn1", &["ADDED p"]),
        (PODS, "fieldSelector=spec.nodeName%3Dn1%2Cspec.nodeName%3Dn2", &[]),
        (PODS, "fieldSelector=spec.nodeName%3Dn1%2Cmetadata.name%3Dq", &[]),
        (PODS, "fieldSelector=spec.nodeName%3Dn2%2Cstatus.phase%3DRunning", &[]),
    ];
    let watched = table.map(|(path, selector, want)| {
        let query = format!("resourceVersion={before}&timeoutSeconds=1&{selector}");
        let cluster = &cluster;
        async move {
            let events: Vec<Value> = watch_at(cluster, path, &query).await.collect().await;
            assert_eq!(events.iter().map(seen).collect::<Vec<_>>(), want, "{path}?{selector}");
        }
    });
    futures::future::join_all(watched).await;
}

#[tokio::test]
async fn streaming_lists_end_with_a_marked_bookmark() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.post(MAPS, map(name)).await.unwrap();
    }
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = watch(&cluster, query).await;
    assert_eq!(seen(&next(&mut events).await), "ADDED a");
    assert_eq!(seen(&next(&mut events).await), "ADDED b");
    let mark = next(&mut events).await;
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["kind"], "ConfigMap");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    cluster.post(MAPS, map("c")).await.unwrap();
    assert_eq!(seen(&next(&mut events).await), "ADDED c");
    let (code, text) = cluster.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await.unwrap_err();
    assert_eq!(code, 422);
    assert!(text.contains("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"), "{text}");
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_up_with_a_bookmark_before() {
    let cluster = Cluster::start().await;
    let made = cluster.post(MAPS, map("a")).await.unwrap();
    let query = format!("resourceVersion={}&timeoutSeconds=3&allowWatchBookmarks=true", version(&made));
    let events = watch(&cluster, &query).await;
    // A write to another resource moves the store's version, which the bookmark then tells.
    cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "x"}})).await.unwrap();
    let all = tokio::time::timeout(Duration::from_secs(20), events.collect::<Vec<_>>()).await.expect("it ends");
    assert!(all.iter().all(|e| e["type"] == "BOOKMARK"), "{all:?}");
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn a_version_that_is_gone_is_told_in_the_stream() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.unwrap();
    // A restarted server has no history from before.
    let dir = cluster.stop().await;
    let cluster = Cluster::start_in(dir).await;
    let mut events = watch(&cluster, "resourceVersion=1").await;
    let error = next(&mut events).await;
    assert_eq!(error["type"], "ERROR");
    assert_eq!(error["object"]["code"], 410);
    assert_eq!(error["object"]["reason"], "Expired");
    let text = error["object"]["message"].as_str().unwrap();
    assert!(text.starts_with("too old resource version: 1 ("), "{text}");
    assert!(events.next().await.is_none());
}
