//! Services: addresses and node ports are handed out once and taken back.
use crate::cluster::Cluster;
use serde_json::{Value, json};
use std::collections::HashSet;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": kind, "ports": [{"name": "http", "port": 80}], "selector": {"app": name}}})
}

fn address(service: &Value) -> String {
    service["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn addresses_and_ports_are_given_once() {
    let cluster = Cluster::start().await;
    let kubernetes = cluster.get(&format!("{SERVICES}/kubernetes")).await.unwrap();
    assert_eq!(address(&kubernetes), "10.0.0.1");
    let made = futures::future::join_all((0..20).map(|i| {
        let cluster = &cluster;
        async move { cluster.post(SERVICES, service(&format!("s{i}"), "NodePort")).await.unwrap() }
    }))
    .await;
    let addresses: HashSet<String> = made.iter().map(address).collect();
    let ports: HashSet<i64> = made.iter().map(|s| s["spec"]["ports"][0]["nodePort"].as_i64().unwrap()).collect();
    assert_eq!((addresses.len(), ports.len()), (20, 20));
    assert!(ports.iter().all(|p| (30000..=32767).contains(p)));

    let mut taken = service("x", "ClusterIP");
    taken["spec"]["clusterIP"] = json!(address(&made[0]));
    let (code, text) = cluster.post(SERVICES, taken.clone()).await.unwrap_err();
    assert_eq!(code, 422);
    assert!(text.ends_with("provided IP is already allocated"), "{text}");
    cluster.delete(&format!("{SERVICES}/s0"), json!({})).await.unwrap();
    assert_eq!(address(&cluster.post(SERVICES, taken).await.unwrap()), address(&made[0]));

    let mut outside = service("y", "ClusterIP");
    outside["spec"]["clusterIP"] = json!("192.168.0.1");
    let (_, text) = cluster.post(SERVICES, outside).await.unwrap_err();
    assert!(
        text.ends_with(
            "the provided IP (192.168.0.1) is not in the valid range. The range of valid IPs is 10.0.0.0/24"
        ),
        "{text}"
    );
    let mut port = service("z", "NodePort");
    port["spec"]["ports"][0]["nodePort"] = made[1]["spec"]["ports"][0]["nodePort"].clone();
    let (_, text) = cluster.post(SERVICES, port.clone()).await.unwrap_err();
    assert!(text.ends_with("provided port is already allocated"), "{text}");
    port["spec"]["ports"][0]["nodePort"] = json!(80);
    let (_, text) = cluster.post(SERVICES, port).await.unwrap_err();
    assert!(
        text.ends_with("provided port is not in the valid range. The range of valid ports is 30000-32767"),
        "{text}"
    );
}

#[tokio::test]
async fn updates_keep_what_was_given() {
    let cluster = Cluster::start().await;
    let path = format!("{SERVICES}/s");
    let made = cluster.post(SERVICES, service("s", "NodePort")).await.unwrap();
    let same = cluster.put(&path, service("s", "NodePort")).await.unwrap();
    assert_eq!(same["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(same["spec"]["ports"], made["spec"]["ports"]);
    let headless = json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}});
    assert_eq!(cluster.post(SERVICES, headless).await.unwrap()["spec"]["clusterIPs"], json!(["None"]));
    let external = json!({"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "example.com"}});
    assert!(cluster.post(SERVICES, external).await.unwrap()["spec"].get("clusterIP").is_none());
}

#[tokio::test]
async fn a_dry_run_takes_nothing() {
    let cluster = Cluster::start().await;
    let made = cluster.post(&format!("{SERVICES}?dryRun=All"), service("s", "ClusterIP")).await.unwrap();
    let mut again = service("t", "ClusterIP");
    again["spec"]["clusterIP"] = json!(address(&made));
    cluster.post(SERVICES, again).await.unwrap();
}

#[tokio::test]
async fn the_server_is_reachable_through_its_own_service() {
    let cluster = Cluster::start().await;
    let port = i64::from(cluster.running.address.port());
    let slice = cluster.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await.unwrap();
    assert_eq!(slice["ports"][0]["port"], port);
    let endpoints = cluster.get("/api/v1/namespaces/default/endpoints/kubernetes").await.unwrap();
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], port);
}
