//! The rules in a real kernel: a node and a pod, each a network namespace of its own, and real connections.
//!
//! Needs root, `ip` and `nft`; without them the tests say why they do nothing.
#![allow(clippy::unwrap_used)]
mod namespace;

use client::Key;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use namespace::{Network, reason_to_skip};
use nft::Nft;
use proxy::{
    dataplane::{self, Dataplane},
    model::Family,
    plan::{Facts, LocalDetector, node_port_addresses, plan},
    ruleset::Rules,
    table::Options,
};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const CLUSTER_IP: &str = "10.96.0.50";
const EXTERNAL_IP: &str = "192.0.2.50";
const NODE_PORT: u16 = 30080;

fn service(extra: serde_json::Value) -> Service {
    let mut service = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"type": "NodePort",
        "clusterIP": CLUSTER_IP, "externalIPs": [EXTERNAL_IP],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": NODE_PORT}]}});
    if let (Some(spec), Some(extra)) = (service["spec"].as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    serde_json::from_value(service).unwrap()
}

fn slices(addresses: &[&str], port: u16) -> Vec<Arc<EndpointSlice>> {
    let endpoints: Vec<_> = addresses.iter().map(|ip| json!({"addresses": [ip], "nodeName": "node"})).collect();
    let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}]});
    vec![Arc::new(serde_json::from_value(slice).unwrap())]
}

fn facts(network: &Network) -> Facts {
    Facts {
        node_name: "node".into(),
        node_ips: vec![network.node_ip.parse().unwrap()],
        local_detector: LocalDetector::Networks(vec!["10.244.0.0/16".into()]),
        ..Facts::default()
    }
}

struct Proxy<'a> {
    network: &'a Network,
    dataplane: Dataplane,
}

impl<'a> Proxy<'a> {
    fn new(network: &'a Network) -> Self {
        let options = Options {
            family: Family::V4,
            name: "kube-proxy".into(),
            masquerade_mark: 0x4000,
            node_port_networks: Vec::new(),
        };
        Proxy { network, dataplane: Dataplane::new(network.nft(), vec![options]) }
    }

    async fn set(&mut self, service: Option<Service>, slices: &[Arc<EndpointSlice>]) {
        let facts = facts(self.network);
        let rules = service.map(|s| plan(&s, slices, &facts, Family::V4)).unwrap_or_default();
        let node: Rules = node_port_addresses(&facts, Family::V4);
        let changes = vec![(Key::new("ns", "web"), rules), (Key::new("", ""), node)];
        self.dataplane.update(vec![(Family::V4, changes)]).await.unwrap();
    }
}

#[tokio::test]
async fn connections_get_through_and_refusals_are_immediate() {
    if let Some(reason) = reason_to_skip() {
        eprintln!("skipped: {reason}");
        return;
    }
    let network = Network::new("a");
    let mut proxy = Proxy::new(&network);
    let server = network.pod.listen(&network.pod_ip, 8080);
    proxy.set(Some(service(json!({}))), &slices(&[&network.pod_ip], 8080)).await;

    let node_port = format!("{}:{NODE_PORT}", network.node_ip);
    for target in [format!("{CLUSTER_IP}:80"), format!("{EXTERNAL_IP}:80"), node_port.clone()] {
        network.node.connect(&target).unwrap_or_else(|error| panic!("{target} from the node: {error}"));
        server.accept();
    }
    // Hairpin: the pod reaches itself, and sees the node's address.
    for target in [format!("{CLUSTER_IP}:80"), node_port.clone()] {
        network.pod.connect(&target).unwrap_or_else(|error| panic!("{target} from the pod: {error}"));
        assert_ne!(server.accept().ip().to_string(), network.pod_ip, "a pod must not see itself as its client");
    }

    proxy.set(Some(service(json!({}))), &[]).await;
    for target in [format!("{CLUSTER_IP}:80"), node_port] {
        let start = Instant::now();
        let error = network.node.connect(&target).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{target}");
        let error = network.pod.connect(&target).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{target} from the pod");
        assert!(start.elapsed() < Duration::from_secs(1), "{target} took {:?}", start.elapsed());
    }
    // Another port of a cluster IP is refused too, not sent out of the cluster.
    let error = network.node.connect(&format!("{CLUSTER_IP}:81")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn all_endpoints_are_used_and_affinity_keeps_one() {
    if let Some(reason) = reason_to_skip() {
        eprintln!("skipped: {reason}");
        return;
    }
    let network = Network::new("b");
    let mut proxy = Proxy::new(&network);
    let servers: Vec<_> = (0..2).map(|n| network.pod.listen(&network.pod_ips[n], 8080)).collect();
    let both = slices(&[&network.pod_ips[0], &network.pod_ips[1]], 8080);
    let target = format!("{CLUSTER_IP}:80");
    let spread = || {
        for _ in 0..24 {
            network.node.connect(&target).unwrap();
        }
        servers.iter().map(|server| server.drain()).collect::<Vec<usize>>()
    };
    proxy.set(Some(service(json!({}))), &both).await;
    let counts = spread();
    assert!(counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == 24, "{counts:?}");

    proxy.set(Some(service(json!({"sessionAffinity": "ClientIP"}))), &both).await;
    let counts = spread();
    assert!(counts.contains(&0) && counts.contains(&24), "{counts:?}");
    // A new timeout means new sets: nothing of the old may be in the way.
    let config = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}});
    proxy.set(Some(service(config)), &both).await;
    network.node.connect(&target).unwrap();
}

#[tokio::test]
async fn a_table_that_was_flushed_comes_back_and_cleanup_leaves_nothing() {
    if let Some(reason) = reason_to_skip() {
        eprintln!("skipped: {reason}");
        return;
    }
    let network = Network::new("c");
    let mut proxy = Proxy::new(&network);
    let _server = network.pod.listen(&network.pod_ip, 8080);
    let target = format!("{CLUSTER_IP}:80");
    let endpoints = slices(&[&network.pod_ip], 8080);
    proxy.set(Some(service(json!({}))), &endpoints).await;
    assert!(!proxy.dataplane.check().await, "the table is there");

    let nft: Nft = network.nft();
    nft.apply("flush ruleset\n").await.unwrap();
    assert!(network.node.connect(&target).is_err());
    assert!(proxy.dataplane.check().await, "that it is gone is noticed");
    proxy.dataplane.update(Vec::new()).await.unwrap();
    network.node.connect(&target).unwrap();

    // A service that goes takes its rules with it, its chains a little later.
    proxy.set(None, &[]).await;
    let deadline = proxy.dataplane.next_deadline().unwrap();
    tokio::time::sleep_until(deadline).await;
    proxy.dataplane.update(Vec::new()).await.unwrap();
    assert!(!network.ruleset().contains("ns/web"), "{}", network.ruleset());
    // A proxy that starts finds a table of an earlier run and takes its place.
    let mut again = Proxy::new(&network);
    again.set(Some(service(json!({}))), &endpoints).await;
    network.node.connect(&target).unwrap();

    dataplane::remove(&nft, "kube-proxy").await.unwrap();
    assert_eq!(network.ruleset().trim(), "");
}
