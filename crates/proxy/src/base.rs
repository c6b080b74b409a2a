//! The part of the table that does not depend on services: hooks, maps, and the chains between them.
use crate::{model::Family, table::Options};
use std::fmt::Write;

/// The statements that make the base in an empty table.
pub fn table(options: &Options) -> String {
    let (family, keyword) = (options.family, options.family.keyword());
    let place = format!("{keyword} {}", options.name);
    let address = family.address_type();
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!("add table {place} {{ comment \"rules for kube-proxy\" ; }}"));
    line(format!("add set {place} cluster-ips {{ type {address} ; comment \"Active ClusterIPs\" ; }}"));
    line(format!("add set {place} nodeport-ips {{ type {address} ; comment \"IPs that accept NodePort traffic\" ; }}"));
    let by_address = format!("{address} . inet_proto . inet_service : verdict");
    let by_port = "inet_proto . inet_service : verdict";
    for (map, kind, comment) in [
        ("firewall-ips", by_address.as_str(), "destinations that are subject to LoadBalancerSourceRanges"),
        ("no-endpoint-nodeports", by_port, "vmap to drop or reject packets to service nodeports with no endpoints"),
        ("no-endpoint-services", &by_address, "vmap to drop or reject packets to services with no endpoints"),
        ("service-ips", &by_address, "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
        ("service-nodeports", by_port, "NodePort traffic"),
    ] {
        line(format!("add map {place} {map} {{ type {kind} ; comment \"{comment}\" ; }}"));
    }
    for (chain, hook, priority) in [
        ("filter-prerouting-pre-dnat", "filter hook prerouting", -110),
        ("filter-output-pre-dnat", "filter hook output", -110),
        ("filter-forward", "filter hook forward", 0),
        ("filter-input", "filter hook input", 0),
        ("filter-output", "filter hook output", 0),
        ("nat-output", "nat hook output", -100),
        ("nat-postrouting", "nat hook postrouting", 100),
        ("nat-prerouting", "nat hook prerouting", -100),
    ] {
        line(format!("add chain {place} {chain} {{ type {hook} priority {priority} ; }}"));
    }
    for chain in [
        "cluster-ips-check",
        "firewall-check",
        "mark-for-masquerade",
        "masquerading",
        "nodeport-endpoints-check",
        "reject-chain",
        "services",
        "service-endpoints-check",
    ] {
        line(format!("add chain {place} {chain}"));
    }
    for (chain, rule) in rules(options, keyword) {
        line(format!("add rule {place} {chain} {rule}"));
    }
    out
}

fn rules(options: &Options, ip: &str) -> Vec<(&'static str, String)> {
    let mark = options.masquerade_mark;
    let destination = format!("{ip} daddr . meta l4proto . th dport");
    let port = "meta l4proto . th dport";
    let mut rules: Vec<(&'static str, String)> = vec![
        (
            "cluster-ips-check",
            format!(
                "{ip} daddr @cluster-ips goto reject-chain comment \"Reject traffic to invalid ports of ClusterIPs\""
            ),
        ),
        ("filter-prerouting-pre-dnat", "ct state new jump firewall-check".into()),
        ("filter-output-pre-dnat", "ct state new jump firewall-check".into()),
        ("filter-forward", "ct state new jump service-endpoints-check".into()),
        ("filter-forward", "ct state new jump cluster-ips-check".into()),
        ("filter-input", "ct state new jump nodeport-endpoints-check".into()),
        ("filter-input", "ct state new jump service-endpoints-check".into()),
        ("filter-output", "ct state new jump service-endpoints-check".into()),
        ("filter-output", "ct state new jump cluster-ips-check".into()),
        ("firewall-check", format!("{destination} vmap @firewall-ips")),
        ("mark-for-masquerade", format!("mark set mark or {mark:#x}")),
        ("masquerading", format!("mark and {mark:#x} == 0 return")),
        ("masquerading", format!("mark set mark xor {mark:#x}")),
        ("masquerading", "masquerade fully-random".into()),
        ("nat-output", "jump services".into()),
        ("nat-postrouting", "jump masquerading".into()),
        ("nat-prerouting", "jump services".into()),
        // A local client that is still connecting does not hear ICMP before its first repetition, a second later;
        // a reset it hears at once.
        ("reject-chain", "meta l4proto tcp reject with tcp reset".into()),
        ("reject-chain", "reject".into()),
        ("services", format!("{destination} vmap @service-ips")),
        ("service-endpoints-check", format!("{destination} vmap @no-endpoint-services")),
    ];
    let loopback = match options.family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1",
    };
    let networks = options.node_port_networks.iter().filter(|network| options.family.has_network(network));
    let by_network = networks.map(|network| {
        let any = network.ends_with("/0");
        let within = if any { String::new() } else { format!("{ip} daddr {network} ") };
        // Localhost is not served, as in upstream's nftables mode.
        format!("{within}fib daddr type local {ip} daddr != {loopback}")
    });
    for condition in by_network.chain([format!("{ip} daddr @nodeport-ips")]) {
        rules.push(("nodeport-endpoints-check", format!("{condition} {port} vmap @no-endpoint-nodeports")));
        rules.push(("services", format!("{condition} {port} vmap @service-nodeports")));
    }
    rules
}
