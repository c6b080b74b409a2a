//! Which endpoints traffic may go to: policies, readiness, termination, and topology hints.
//!
//! Source: upstream's `topology.go` (KEP-1669 terminating endpoints, KEP-2433 hints, KEP-3015 same node).
use crate::{
    model::{Endpoint, ServicePort},
    plan::Facts,
};

/// The endpoints of one service port by use.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Categories {
    /// For traffic under policy `Cluster`.
    pub cluster: Vec<Endpoint>,
    /// For traffic under policy `Local`.
    pub local: Vec<Endpoint>,
    /// All of both, each once.
    pub reachable: Vec<Endpoint>,
    /// There are usable endpoints somewhere, perhaps not for this node.
    pub any: bool,
}

fn terminating(endpoint: &Endpoint) -> bool {
    endpoint.serving && endpoint.terminating
}

/// Ready ones, or else those that are ending but still serve.
fn usable(endpoints: &[Endpoint], among: impl Fn(&Endpoint) -> bool) -> Vec<Endpoint> {
    let ready: Vec<_> = endpoints.iter().filter(|e| e.ready && among(e)).cloned().collect();
    if !ready.is_empty() {
        return ready;
    }
    endpoints.iter().filter(|e| terminating(e) && among(e)).cloned().collect()
}

enum Topology<'a> {
    None,
    Node(&'a str),
    Zone(&'a str),
}

/// Hints count only if every ready endpoint has them and one is for us.
fn topology<'a>(endpoints: &[Endpoint], facts: &'a Facts) -> Topology<'a> {
    let ready = || endpoints.iter().filter(|e| e.ready);
    let node = facts.node_name.as_str();
    if ready().all(|e| !e.node_hints.is_empty()) && ready().any(|e| e.node_hints.iter().any(|n| n == node)) {
        return Topology::Node(node);
    }
    match facts.zone.as_deref() {
        Some(zone)
            if ready().all(|e| !e.zone_hints.is_empty()) && ready().any(|e| e.zone_hints.iter().any(|z| z == zone)) =>
        {
            Topology::Zone(zone)
        }
        _ => Topology::None,
    }
}

/// Sorts a port's endpoints by use.
pub fn categorize(port: &ServicePort, endpoints: &[Endpoint], facts: &Facts) -> Categories {
    let mut out = Categories::default();
    if port.uses_cluster_endpoints() {
        out.cluster = match topology(endpoints, facts) {
            Topology::None => usable(endpoints, |_| true),
            Topology::Node(node) => usable(endpoints, |e| e.node_hints.iter().any(|n| n == node)),
            Topology::Zone(zone) => usable(endpoints, |e| e.zone_hints.iter().any(|z| z == zone)),
        };
        out.any = !out.cluster.is_empty();
    }
    if port.uses_local_endpoints() {
        out.local = usable(endpoints, |e| e.local);
        out.any |= endpoints.iter().any(|e| e.ready || terminating(e));
    }
    out.reachable = out.cluster.iter().chain(&out.local).cloned().collect();
    out.reachable.sort();
    out.reachable.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn endpoint(last: u8, state: &str) -> Endpoint {
        Endpoint {
            ip: [10, 0, 0, last].into(),
            port: 80,
            ready: state.contains('r'),
            serving: state.contains('s') || state.contains('r'),
            terminating: state.contains('t'),
            local: state.contains('l'),
            zone_hints: if state.contains('z') { vec!["here".into()] } else { vec!["there".into()] },
            node_hints: Vec::new(),
        }
    }

    fn port(internal_local: bool, external_local: bool, node_port: u16) -> ServicePort {
        ServicePort {
            namespace: "ns".into(),
            service: "svc".into(),
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            cluster_ip: [10, 96, 0, 1].into(),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            node_port,
            affinity_seconds: None,
            internal_local,
            external_local,
        }
    }

    #[test]
    fn policies_readiness_and_hints_decide() {
        // Port, zone, endpoints; last octets of cluster, local; whether any.
        type Row = (ServicePort, Option<&'static str>, Vec<&'static str>, Vec<u8>, Vec<u8>, bool);
        let table: Vec<Row> = vec![
            (port(false, false, 0), None, vec!["r", "s", "r"], vec![0, 2], vec![], true),
            (port(false, false, 0), None, vec!["st", "t"], vec![0], vec![], true),
            (port(false, false, 0), None, vec!["", "s"], vec![], vec![], false),
            (port(true, false, 0), None, vec!["r", "rl"], vec![], vec![1], true),
            (port(true, false, 0), None, vec!["r"], vec![], vec![], true),
            (port(false, true, 3000), None, vec!["r", "stl"], vec![0], vec![1], true),
            (port(false, true, 0), None, vec!["r", "rl"], vec![0, 1], vec![], true),
            (port(false, false, 0), Some("here"), vec!["rz", "r"], vec![0], vec![], true),
            (port(false, false, 0), Some("nowhere"), vec!["rz", "r"], vec![0, 1], vec![], true),
        ];
        for (port, zone, states, cluster, local, any) in table {
            let all: Vec<_> = (0u8..).zip(&states).map(|(n, state)| endpoint(n, state)).collect();
            let facts = Facts { zone: zone.map(str::to_owned), ..Facts::default() };
            let got = categorize(&port, &all, &facts);
            let octets =
                |list: &[Endpoint]| list.iter().map(|e| e.ip.to_string().as_bytes()[7] - b'0').collect::<Vec<_>>();
            assert_eq!(
                (octets(&got.cluster), octets(&got.local), got.any),
                (cluster, local, any),
                "{states:?} {port:?}"
            );
        }
    }
}
