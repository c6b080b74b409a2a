//! Services and endpoints as the proxy sees them: one IP family at a time, one entry a service port.
//!
//! Taken from the API's objects without looking at anything else. What the proxy must not handle (headless,
//! `ExternalName`, another proxy's) yields nothing.
use k8s_openapi::api::{
    core::v1::{Service, ServicePort as ApiServicePort},
    discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice},
};
use std::{fmt, net::IpAddr, sync::Arc};

/// Services with this label belong to another proxy.
pub const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// The label that ties a slice to its service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// nftables' name of the family, which is also its name of the header.
    pub fn keyword(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// nftables' type of an address.
    pub fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }

    /// Does this network (`10.0.0.0/8`) belong to the family?
    pub fn has_network(self, cidr: &str) -> bool {
        let address = cidr.split('/').next().and_then(|a| a.parse().ok());
        address.is_some_and(|ip: IpAddr| Family::of(ip) == self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("" | "TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// One port of one service, in one IP family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub namespace: String,
    pub service: String,
    /// Empty for the only port of a service.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub cluster_ip: IpAddr,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    /// Networks that may use the load balancer's addresses; empty: all.
    pub source_ranges: Vec<String>,
    /// 0: none.
    pub node_port: u16,
    /// Seconds for which a client keeps its endpoint.
    pub affinity_seconds: Option<i32>,
    pub internal_local: bool,
    pub external_local: bool,
}

impl ServicePort {
    /// Can it be reached by other addresses than its cluster IP?
    pub fn externally_accessible(&self) -> bool {
        self.node_port != 0 || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_local || (self.external_local && self.externally_accessible())
    }

    /// Also true of an external port with policy `Local`: pods and the node itself take the short way.
    pub fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_local || self.externally_accessible()
    }

    /// `ns/svc:port`, as upstream names it in comments and logs.
    pub fn label(&self) -> String {
        let separator = if self.name.is_empty() { "" } else { ":" };
        format!("{}/{}{separator}{}", self.namespace, self.service, self.name)
    }

    /// What chain names of this port are made from.
    pub fn chain_base(&self) -> String {
        format!("{}/{}/{}/{}", self.namespace, self.service, self.protocol, self.name)
    }
}

fn addresses(texts: Option<&Vec<String>>, family: Family) -> Vec<IpAddr> {
    let parsed = texts.into_iter().flatten().filter_map(|text| text.parse().ok());
    parsed.filter(|ip| Family::of(*ip) == family).collect()
}

/// The ports of a service in one family.
pub fn service_ports(service: &Service, family: Family) -> Vec<ServicePort> {
    let (Some(spec), metadata) = (&service.spec, &service.metadata) else { return Vec::new() };
    let labels = metadata.labels.as_ref();
    let foreign = labels.is_some_and(|labels| labels.contains_key(PROXY_NAME_LABEL));
    if spec.type_.as_deref() == Some("ExternalName") || foreign {
        return Vec::new();
    }
    let single = spec.cluster_ip.clone().map(|ip| vec![ip]);
    let cluster_ips = spec.cluster_ips.as_ref().filter(|ips| !ips.is_empty()).or(single.as_ref());
    let Some(cluster_ip) = addresses(cluster_ips, family).first().copied() else { return Vec::new() };
    let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|b| b.ingress.as_ref());
    let balanced = ingress.into_iter().flatten().filter(|i| i.ip_mode.as_deref() != Some("Proxy"));
    let load_balancer_ips: Vec<IpAddr> =
        balanced.filter_map(|i| i.ip.as_deref()?.parse().ok()).filter(|ip| Family::of(*ip) == family).collect();
    let ranges = spec.load_balancer_source_ranges.iter().flatten().map(|range| range.trim().to_owned());
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        config.and_then(|c| c.timeout_seconds).unwrap_or(10_800)
    });
    let one = |port: &ApiServicePort| {
        Some(ServicePort {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            service: metadata.name.clone().unwrap_or_default(),
            name: port.name.clone().unwrap_or_default(),
            protocol: Protocol::parse(port.protocol.as_deref())?,
            port: u16::try_from(port.port).ok()?,
            cluster_ip,
            external_ips: addresses(spec.external_ips.as_ref(), family),
            load_balancer_ips: load_balancer_ips.clone(),
            source_ranges: ranges.clone().filter(|range| family.has_network(range)).collect(),
            node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
            affinity_seconds: affinity,
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        })
    };
    spec.ports.iter().flatten().filter_map(one).collect()
}

/// The port for a load balancer's health checks, when the service has one.
pub fn health_check_port(service: &Service) -> Option<u16> {
    let spec = service.spec.as_ref()?;
    let local =
        spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local");
    spec.health_check_node_port.filter(|_| local).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
}

/// One address and port behind a service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    /// On this node.
    pub local: bool,
    pub zone_hints: Vec<String>,
    pub node_hints: Vec<String>,
}

impl Endpoint {
    fn new(source: &ApiEndpoint, ip: IpAddr, port: u16, node: &str) -> Self {
        let conditions = source.conditions.as_ref();
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let hints = source.hints.as_ref();
        Endpoint {
            ip,
            port,
            ready,
            serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
            terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
            local: source.node_name.as_deref() == Some(node),
            zone_hints: hints.iter().flat_map(|h| h.for_zones.iter().flatten()).map(|z| z.name.clone()).collect(),
            node_hints: hints.iter().flat_map(|h| h.for_nodes.iter().flatten()).map(|n| n.name.clone()).collect(),
        }
    }

    /// For chain names: `10.180.0.1/80`, `fd00..1/80`.
    pub fn chain_part(&self) -> String {
        format!("{}/{}", self.ip.to_string().replace(':', "."), self.port)
    }

    /// Where to translate to.
    pub fn target(&self) -> String {
        std::net::SocketAddr::new(self.ip, self.port).to_string()
    }
}

/// The endpoints of a service port: those of all its slices whose port has the same name, each once, sorted.
pub fn endpoints(port: &ServicePort, slices: &[Arc<EndpointSlice>], family: Family, node: &str) -> Vec<Endpoint> {
    let wanted = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let mut out = Vec::new();
    for slice in slices.iter().filter(|slice| slice.address_type == wanted) {
        let ports = slice.ports.iter().flatten().filter(|p| {
            p.name.as_deref().unwrap_or_default() == port.name
                && Protocol::parse(p.protocol.as_deref()) == Some(port.protocol)
        });
        for number in ports.filter_map(|p| p.port).filter_map(|p| u16::try_from(p).ok()) {
            for endpoint in slice.endpoints.iter().flatten() {
                // Only the first address is used: others of the same endpoint are reserved (API reference).
                let ip = endpoint.addresses.first().and_then(|a| a.parse().ok());
                if let Some(ip) = ip.filter(|ip| Family::of(*ip) == family) {
                    out.push(Endpoint::new(endpoint, ip, number, node));
                }
            }
        }
    }
    // During a slice's rewrite an endpoint may be in two: the ready one counts.
    out.sort_by_key(|e| (e.ip, e.port, !e.ready));
    out.dedup_by(|later, first| (later.ip, later.port) == (first.ip, first.port));
    out
}
