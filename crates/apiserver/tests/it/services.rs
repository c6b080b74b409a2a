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
        text.ends_with("failed to allocate IP 192.168.0.1: the provided network does not match the current range"),
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

const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_taken_address_is_an_object() {
    let cluster = Cluster::start().await;
    let default = cluster.get(&format!("{CIDRS}/kubernetes")).await.unwrap();
    assert_eq!(default["spec"]["cidrs"], json!(["10.0.0.0/24"]));
    assert_eq!(default["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(names(&cluster.get(ADDRESSES).await.unwrap()), ["10.0.0.1"]);

    let made = cluster.post(SERVICES, service("s", "ClusterIP")).await.unwrap();
    let object = cluster.get(&format!("{ADDRESSES}/{}", address(&made))).await.unwrap();
    let parent = json!({"group": "", "resource": "services", "namespace": "default", "name": "s"});
    assert_eq!(object["spec"]["parentRef"], parent);
    assert_eq!(object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    // Refused by validation after the address was taken: given back.
    let mut wrong = service("t", "ClusterIP");
    wrong["spec"]["sessionAffinity"] = json!("Never");
    assert_eq!(cluster.post(SERVICES, wrong).await.unwrap_err().0, 422);
    assert_eq!(cluster.post(SERVICES, service("s", "ClusterIP")).await.unwrap_err().0, 409);
    assert_eq!(names(&cluster.get(ADDRESSES).await.unwrap()).len(), 2);
    // No longer wanted.
    let mut external = made.clone();
    external["spec"] = json!({"type": "ExternalName", "externalName": "example.com"});
    cluster.put(&format!("{SERVICES}/s"), external).await.unwrap();
    assert_eq!(names(&cluster.get(ADDRESSES).await.unwrap()), ["10.0.0.1"]);
}

#[tokio::test]
async fn further_ranges_give_addresses_and_lost_objects_come_back() {
    let cluster = Cluster::start().await;
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
        "spec": {"cidrs": ["10.9.0.0/24"]}});
    cluster.post(CIDRS, range).await.unwrap();
    let mut wanted = service("s", "NodePort");
    wanted["spec"]["clusterIP"] = json!("10.9.0.7");
    let made = cluster.post(SERVICES, wanted).await.unwrap();
    cluster.delete(&format!("{ADDRESSES}/10.9.0.7"), json!({})).await.unwrap();
    let dir = cluster.stop().await;
    let cluster = Cluster::start_in(dir).await;
    let object = cluster.get(&format!("{ADDRESSES}/10.9.0.7")).await.unwrap();
    assert_eq!(object["spec"]["parentRef"]["name"], "s");
    // The port is still taken.
    let mut twin = service("t", "NodePort");
    twin["spec"]["ports"][0]["nodePort"] = made["spec"]["ports"][0]["nodePort"].clone();
    let (_, text) = cluster.post(SERVICES, twin.clone()).await.unwrap_err();
    assert!(text.ends_with("provided port is already allocated"), "{text}");
    cluster.delete(&format!("{SERVICES}/s"), json!({})).await.unwrap();
    cluster.post(SERVICES, twin).await.unwrap();
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
