//! Stale UDP flows: the kernel keeps sending a flow where it first went, even after that endpoint is gone.
//!
//! When an endpoint goes, its flows are forgotten; when a port gets its first endpoints, the flows that were not
//! translated are. TCP needs none of it: its flows end by themselves. Source: upstream's `conntrack` package.
use crate::{
    categorize::categorize,
    model::{Family, Protocol, endpoints, service_ports},
    plan::Facts,
};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use std::{collections::BTreeSet, net::IpAddr, process::Stdio, sync::Arc};
use tokio::process::Command;

/// A UDP port of a service, with everything flows to it may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpPort {
    /// With the protocol's port, what a client sends to.
    pub ips: BTreeSet<IpAddr>,
    pub port: u16,
    /// 0: none.
    pub node_port: u16,
    pub endpoints: BTreeSet<IpAddr>,
}

/// Flows to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// Those to the address and port, wherever they went.
    Service {
        ip: IpAddr,
        port: u16,
    },
    NodePort(u16),
    /// Those to the address that went to the endpoint.
    Endpoint {
        ip: IpAddr,
        endpoint: IpAddr,
    },
    NodePortEndpoint {
        port: u16,
        endpoint: IpAddr,
    },
}

/// The UDP ports of a service and their endpoints.
pub fn udp_ports(service: &Service, slices: &[Arc<EndpointSlice>], facts: &Facts, family: Family) -> Vec<UdpPort> {
    let ports = service_ports(service, family).into_iter().filter(|port| port.protocol == Protocol::Udp);
    ports
        .map(|port| {
            let all = endpoints(&port, slices, family, &facts.node_name);
            let ips =
                [port.cluster_ip].into_iter().chain(port.external_ips.clone()).chain(port.load_balancer_ips.clone());
            UdpPort {
                ips: ips.collect(),
                port: port.port,
                node_port: port.node_port,
                endpoints: categorize(&port, &all, facts).reachable.iter().map(|e| e.ip).collect(),
            }
        })
        .collect()
}

/// What to forget when a service's UDP ports change.
pub fn stale(before: &[UdpPort], after: &[UdpPort]) -> BTreeSet<Stale> {
    let mut out = BTreeSet::new();
    for old in before {
        let new = after.iter().find(|new| new.port == old.port);
        let kept = |endpoint: &IpAddr| new.is_some_and(|new| new.endpoints.contains(endpoint));
        for endpoint in old.endpoints.iter().filter(|endpoint| !kept(endpoint)) {
            out.extend(old.ips.iter().map(|ip| Stale::Endpoint { ip: *ip, endpoint: *endpoint }));
            if old.node_port != 0 {
                out.insert(Stale::NodePortEndpoint { port: old.node_port, endpoint: *endpoint });
            }
        }
    }
    for new in after.iter().filter(|new| !new.endpoints.is_empty()) {
        let served = before.iter().any(|old| old.port == new.port && !old.endpoints.is_empty());
        if !served {
            out.extend(new.ips.iter().map(|ip| Stale::Service { ip: *ip, port: new.port }));
            if new.node_port != 0 {
                out.insert(Stale::NodePort(new.node_port));
            }
        }
    }
    out
}

impl Stale {
    fn arguments(&self) -> Vec<String> {
        let words: Vec<String> = match self {
            Stale::Service { ip, port } => {
                vec!["--orig-dst".into(), ip.to_string(), "--dport".into(), port.to_string()]
            }
            Stale::NodePort(port) => vec!["--dport".into(), port.to_string()],
            Stale::Endpoint { ip, endpoint } => {
                vec!["--orig-dst".into(), ip.to_string(), "--dst-nat".into(), endpoint.to_string()]
            }
            Stale::NodePortEndpoint { port, endpoint } => {
                vec!["--dport".into(), port.to_string(), "--dst-nat".into(), endpoint.to_string()]
            }
        };
        let v6 = match self {
            Stale::Service { ip, .. } | Stale::Endpoint { ip, .. } => ip.is_ipv6(),
            Stale::NodePortEndpoint { endpoint, .. } => endpoint.is_ipv6(),
            Stale::NodePort(_) => false,
        };
        let family = if v6 { "ipv6" } else { "ipv4" };
        ["-D", "-f", family, "-p", "udp"].map(str::to_owned).into_iter().chain(words).collect()
    }
}

/// Forgets flows with the `conntrack` tool. False: there is no such tool.
pub async fn forget(flows: BTreeSet<Stale>) -> bool {
    for flow in flows {
        let arguments = flow.arguments();
        let run = Command::new("conntrack")
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .status();
        match run.await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            // It also "fails" when there was nothing to forget.
            Ok(_) => tracing::debug!(?flow, "forgot stale flows"),
            Err(error) => tracing::warn!(%error, "conntrack"),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(endpoints: &[[u8; 4]]) -> UdpPort {
        UdpPort {
            ips: [[10, 96, 0, 10].into()].into(),
            port: 53,
            node_port: 0,
            endpoints: endpoints.iter().map(|ip| (*ip).into()).collect(),
        }
    }

    #[test]
    fn gone_endpoints_and_first_endpoints_matter() {
        let (ip, a, b) = (IpAddr::from([10, 96, 0, 10]), [10, 0, 0, 1], [10, 0, 0, 2]);
        let table: Vec<(Vec<UdpPort>, Vec<UdpPort>, Vec<Stale>)> = vec![
            (vec![port(&[a, b])], vec![port(&[b])], vec![Stale::Endpoint { ip, endpoint: a.into() }]),
            (vec![port(&[a])], vec![port(&[a, b])], vec![]),
            (vec![port(&[])], vec![port(&[a])], vec![Stale::Service { ip, port: 53 }]),
            (vec![], vec![port(&[a])], vec![Stale::Service { ip, port: 53 }]),
            (vec![port(&[a])], vec![], vec![Stale::Endpoint { ip, endpoint: a.into() }]),
        ];
        for (before, after, expected) in table {
            assert_eq!(stale(&before, &after).into_iter().collect::<Vec<_>>(), expected);
        }
    }
}
