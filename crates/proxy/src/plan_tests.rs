//! Golden rulesets: services and slices in, nftables out.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::table::{Options, Table};
use client::Key;
use tokio::time::Instant;

/// Documents of a YAML stream: services and slices.
fn objects(yaml: &str) -> (Vec<Service>, Vec<Arc<EndpointSlice>>) {
    let (mut services, mut slices) = (Vec::new(), Vec::new());
    for document in yaml.split("\n---\n") {
        if document.contains("kind: Service\n") {
            services.push(serde_saphyr::from_str(document).unwrap());
        } else {
            slices.push(Arc::new(serde_saphyr::from_str(document).unwrap()));
        }
    }
    (services, slices)
}

fn facts() -> Facts {
    Facts {
        node_name: "node1".into(),
        node_ips: vec![[192, 168, 0, 2].into()],
        local_detector: LocalDetector::Networks(vec!["10.0.0.0/8".into()]),
        ..Facts::default()
    }
}

/// What is added to a base table for the objects, one statement a line.
fn transaction(yaml: &str, facts: &Facts) -> String {
    let (services, slices) = objects(yaml);
    let mut table = Table::new(Options {
        family: Family::V4,
        name: "kube-proxy".into(),
        masquerade_mark: 0x4000,
        node_port_networks: Vec::new(),
    });
    let of = |service: &Service| {
        let name = service.metadata.name.clone().unwrap();
        let own: Vec<_> = slices
            .iter()
            .filter(|s| s.metadata.labels.as_ref().unwrap()["kubernetes.io/service-name"] == name)
            .cloned()
            .collect();
        (Key::new("ns1", &name), plan(service, &own, facts, Family::V4))
    };
    let changes = services.iter().map(of).collect();
    table.update(changes, Instant::now())
}

const CLUSTER_IP: &str = "
apiVersion: v1
kind: Service
metadata: {name: svc1, namespace: ns1}
spec:
  clusterIP: 172.30.0.41
  ports: [{name: p80, port: 80, protocol: TCP, targetPort: web}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc1-a, namespace: ns1, labels: {kubernetes.io/service-name: svc1}}
addressType: IPv4
endpoints: [{addresses: [10.180.0.1]}]
ports: [{name: p80, port: 8080, protocol: TCP}]
";

#[test]
fn a_cluster_ip_is_upstreams_rules() {
    insta::assert_snapshot!(transaction(CLUSTER_IP, &facts()));
}

#[test]
fn a_node_port_with_affinity() {
    insta::assert_snapshot!(transaction(
        "
apiVersion: v1
kind: Service
metadata: {name: svc3, namespace: ns1}
spec:
  type: NodePort
  clusterIP: 172.30.0.43
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  ports: [{name: dns, port: 53, protocol: UDP, nodePort: 3003}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc3-a, namespace: ns1, labels: {kubernetes.io/service-name: svc3}}
addressType: IPv4
endpoints: [{addresses: [10.180.0.3]}, {addresses: [10.180.0.4]}]
ports: [{name: dns, port: 53, protocol: UDP}]
",
        &facts()
    ));
}

#[test]
fn a_local_load_balancer_without_local_endpoints() {
    insta::assert_snapshot!(transaction(
        "
apiVersion: v1
kind: Service
metadata: {name: svc2, namespace: ns1}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  clusterIP: 172.30.0.42
  externalIPs: [192.168.99.22]
  loadBalancerSourceRanges: [' 203.0.113.0/25']
  ports: [{name: p80, port: 80, protocol: TCP, nodePort: 3001}]
status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc2-a, namespace: ns1, labels: {kubernetes.io/service-name: svc2}}
addressType: IPv4
endpoints: [{addresses: [10.180.0.2], nodeName: elsewhere}]
ports: [{name: p80, port: 80, protocol: TCP}]
",
        &facts()
    ));
}

#[test]
fn nobody_to_serve_is_rejected() {
    let (service, _) = CLUSTER_IP.split_once("\n---\n").unwrap();
    insta::assert_snapshot!(transaction(&format!("{service}\n"), &facts()));
}

#[test]
fn headless_and_foreign_services_need_nothing() {
    for yaml in [
        "kind: Service\nmetadata: {name: a}\nspec: {clusterIP: None, ports: [{port: 80}]}",
        "kind: Service\nmetadata: {name: a}\nspec: {type: ExternalName, externalName: example.com}",
        "kind: Service\nmetadata: {name: a, labels: {service.kubernetes.io/service-proxy-name: x}}\nspec: {clusterIP: \
         10.0.0.1, ports: [{port: 80}]}",
    ] {
        let service: Service = serde_saphyr::from_str(yaml).unwrap();
        assert!(plan(&service, &[], &facts(), Family::V4).is_empty(), "{yaml}");
    }
}

#[test]
fn without_bridge_netfilter_traffic_among_the_nodes_pods_is_masqueraded() {
    let facts = Facts { unfiltered_networks: vec!["10.180.0.0/24".into()], ..facts() };
    let text = transaction(CLUSTER_IP, &facts);
    assert!(text.contains("ip saddr 10.180.0.0/24 jump mark-for-masquerade"), "{text}");
}

#[test]
fn networks_contain_addresses() {
    let table = [
        ("10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "11.1.2.3", false),
        ("0.0.0.0/0", "11.1.2.3", true),
        ("1.2.3.4/32", "1.2.3.4", true),
        ("fd00::/64", "fd00::1", true),
        ("fd00::/64", "10.0.0.1", false),
        ("nonsense/8", "10.0.0.1", false),
    ];
    for (network, ip, expected) in table {
        assert_eq!(contains(network, ip.parse().unwrap()), expected, "{network} {ip}");
    }
}
