//! From a service, its slices and what is known of the node to the rules it needs. Pure.
//!
//! Layout and names follow upstream's nftables mode (KEP-3866): the maps `service-ips` and `service-nodeports` lead
//! to one chain a port, that one picks an endpoint at random (or by affinity) and goes to the endpoint's chain, which
//! translates the address. What cannot be served is in `no-endpoint-*` and rejected or dropped before.
use crate::{
    categorize::categorize,
    model::{Endpoint, Family, ServicePort, endpoints, service_ports},
    ruleset::{Collection, Rules, name},
};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use std::{net::IpAddr, sync::Arc};

const REJECT: &str = "goto reject-chain";
const DROP: &str = "drop";

/// How to tell traffic of this cluster's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocalDetector {
    /// It cannot be told: nothing is masqueraded for coming from outside.
    #[default]
    None,
    /// By its source address, one network a family.
    Networks(Vec<String>),
    /// By the bridge it comes in on.
    Bridge(String),
    /// By the prefix of the interface it comes in on.
    InterfacePrefix(String),
}

impl LocalDetector {
    /// The condition in nftables' words, positive or negative.
    fn condition(&self, family: Family, local: bool) -> Option<String> {
        let operator = if local { "" } else { "!= " };
        match self {
            LocalDetector::None => None,
            LocalDetector::Networks(networks) => {
                let network = networks.iter().find(|network| family.has_network(network))?;
                Some(format!("{} saddr {operator}{network}", family.keyword()))
            }
            LocalDetector::Bridge(name) => Some(format!("meta iifname {operator}\"{name}\"")),
            LocalDetector::InterfacePrefix(prefix) => Some(format!("meta iifname {operator}\"{prefix}*\"")),
        }
    }
}

/// What is known of the node and of how it is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub node_name: String,
    /// The node's own addresses.
    pub node_ips: Vec<IpAddr>,
    /// `topology.kubernetes.io/zone` of the node.
    pub zone: Option<String>,
    pub local_detector: LocalDetector,
    /// All traffic to cluster IPs is masqueraded.
    pub masquerade_all: bool,
    /// This node's pod networks, if packets between its pods do not pass our rules (no bridge netfilter): then
    /// traffic from them to an endpoint among them is masqueraded, so that the answers come back through here.
    pub unfiltered_networks: Vec<String>,
}

struct Planner<'a> {
    family: Family,
    facts: &'a Facts,
    port: &'a ServicePort,
    rules: &'a mut Rules,
}

/// The rules a service needs in the table of one family. None: an empty set.
pub fn plan(service: &Service, slices: &[Arc<EndpointSlice>], facts: &Facts, family: Family) -> Rules {
    let mut rules = Rules::default();
    for port in service_ports(service, family) {
        let all = endpoints(&port, slices, family, &facts.node_name);
        Planner { family, facts, port: &port, rules: &mut rules }.port(&all);
    }
    rules
}

/// The addresses that node ports listen on, as a rule set of its own. `None`: by rule, not by address.
pub fn node_port_addresses(facts: &Facts, family: Family) -> Rules {
    let mut rules = Rules::default();
    for ip in facts.node_ips.iter().filter(|ip| Family::of(**ip) == family) {
        rules.element(Collection::NodePortIps, ip.to_string(), "", "");
    }
    rules
}

impl Planner<'_> {
    fn port(&mut self, all: &[Endpoint]) {
        let port = self.port;
        let found = categorize(port, all, self.facts);
        let base = port.chain_base();
        let cluster_chain = name("service", &base);
        let local_chain = name("local", &base);
        let external_chain = name("external", &base);
        let (cluster, local) = (!found.cluster.is_empty(), !found.local.is_empty());
        let policy = |is_local: bool| if is_local { (&local_chain, local) } else { (&cluster_chain, cluster) };
        let (internal_chain, has_internal) = policy(port.internal_local);
        let (external_policy_chain, has_external) = policy(port.external_local);
        // Somebody else can serve it: silence, so that clients try again. Nobody can: say so.
        let verdict = |has: bool| if has { None } else { Some(if found.any { DROP } else { REJECT }) };

        self.cluster_ip(internal_chain, verdict(has_internal));
        let external = (found.any && port.externally_accessible()).then_some(external_chain.as_str());
        self.external(external, verdict(has_external && found.any));
        if has_internal {
            self.masquerade_cluster_ip(internal_chain);
        }
        if let Some(chain) = external {
            self.external_chain(chain, &cluster_chain, external_policy_chain, has_external, cluster);
        }
        if cluster && port.uses_cluster_endpoints() {
            self.balance(&cluster_chain, &found.cluster);
        }
        if local && port.uses_local_endpoints() {
            self.balance(&local_chain, &found.local);
        }
        for endpoint in &found.reachable {
            self.endpoint(endpoint);
        }
    }

    fn rule(&mut self, chain: &str, rule: String) {
        self.rules.chains.entry(chain.to_owned()).or_default().push(rule);
    }

    fn destination(&self, ip: IpAddr) -> String {
        format!("{ip} . {} . {}", self.port.protocol, self.port.port)
    }

    fn cluster_ip(&mut self, chain: &str, verdict: Option<&str>) {
        let (ip, label) = (self.port.cluster_ip, self.port.label());
        self.rules.element(Collection::ClusterIps, ip.to_string(), "", "");
        let key = self.destination(ip);
        match verdict {
            None => self.rules.element(Collection::ServiceIps, key, &format!("goto {chain}"), ""),
            Some(verdict) => self.rules.element(Collection::NoEndpointServices, key, verdict, &label),
        }
    }

    /// Everything but the cluster IP: `chain` to go to if there is one, `verdict` if there is nobody to serve.
    fn external(&mut self, chain: Option<&str>, verdict: Option<&str>) {
        let port = self.port;
        let label = port.label();
        for ip in port.external_ips.iter().chain(&port.load_balancer_ips) {
            let key = self.destination(*ip);
            if let Some(chain) = chain {
                self.rules.element(Collection::ServiceIps, key.clone(), &format!("goto {chain}"), "");
            }
            if let Some(verdict) = verdict {
                self.rules.element(Collection::NoEndpointServices, key, verdict, &label);
            }
        }
        if !port.source_ranges.is_empty() && chain.is_some() {
            self.firewall();
        }
        if port.node_port != 0 {
            let key = format!("{} . {}", port.protocol, port.node_port);
            if let Some(chain) = chain {
                self.rules.element(Collection::ServiceNodePorts, key.clone(), &format!("goto {chain}"), "");
            }
            if let Some(verdict) = verdict {
                self.rules.element(Collection::NoEndpointNodePorts, key, verdict, &label);
            }
        }
    }

    /// Only the source ranges, and the node itself if it is in one, may use the load balancer's addresses.
    fn firewall(&mut self) {
        let port = self.port;
        let chain = name("firewall", &port.chain_base());
        let mut sources: Vec<String> = port.source_ranges.iter().filter(|range| is_network(range)).cloned().collect();
        let includes_node = self.facts.node_ips.iter().any(|ip| sources.iter().any(|range| contains(range, *ip)));
        for ip in &port.load_balancer_ips {
            if includes_node {
                // The node's own traffic to a load balancer's address may carry that address as its source.
                sources.push(ip.to_string());
            }
            let key = self.destination(*ip);
            self.rules.element(Collection::FirewallIps, key, &format!("goto {chain}"), &port.label());
        }
        if !port.load_balancer_ips.is_empty() {
            self.rule(&chain, format!("{} saddr != {{ {} }} drop", self.family.keyword(), sources.join(", ")));
        }
    }

    fn masquerade_cluster_ip(&mut self, chain: &str) {
        let destination = format!("{} daddr {}", self.family.keyword(), self.port.cluster_ip);
        if self.facts.masquerade_all {
            self.rule(chain, format!("{destination} jump mark-for-masquerade"));
        } else if let Some(outside) = self.facts.local_detector.condition(self.family, false) {
            self.rule(chain, format!("{destination} {outside} jump mark-for-masquerade"));
        }
    }

    fn external_chain(&mut self, chain: &str, cluster_chain: &str, policy_chain: &str, has: bool, cluster: bool) {
        if !self.port.external_local {
            // The endpoint may be on another node, and the answer has to come back through this one.
            self.rule(chain, "jump mark-for-masquerade".into());
        } else if cluster {
            if let Some(inside) = self.facts.local_detector.condition(self.family, true) {
                self.rule(chain, format!("{inside} goto {cluster_chain} comment \"short-circuit pod traffic\""));
            }
            self.rule(
                chain,
                "fib saddr type local jump mark-for-masquerade comment \"masquerade local traffic\"".into(),
            );
            let goto = format!("fib saddr type local goto {cluster_chain} comment \"short-circuit local traffic\"");
            self.rule(chain, goto);
        }
        if has {
            self.rule(chain, format!("goto {policy_chain}"));
        }
        self.rules.chains.entry(chain.to_owned()).or_default();
    }

    fn endpoint_base(&self, endpoint: &Endpoint) -> String {
        format!("{}__{}", self.port.chain_base(), endpoint.chain_part())
    }

    fn balance(&mut self, chain: &str, endpoints: &[Endpoint]) {
        let keyword = self.family.keyword();
        let chains: Vec<_> = endpoints.iter().map(|e| name("endpoint", &self.endpoint_base(e))).collect();
        if self.port.affinity_seconds.is_some() {
            for (endpoint, target) in endpoints.iter().zip(&chains) {
                let set = name("affinity", &self.endpoint_base(endpoint));
                self.rule(chain, format!("{keyword} saddr @{set} goto {target}"));
            }
        }
        let targets: Vec<_> = chains.iter().enumerate().map(|(n, target)| format!("{n} : goto {target}")).collect();
        self.rule(chain, format!("numgen random mod {} vmap {{ {} }}", chains.len(), targets.join(" , ")));
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let keyword = self.family.keyword();
        let base = self.endpoint_base(endpoint);
        let chain = name("endpoint", &base);
        // A pod that reaches itself through a service must see somebody else's address.
        self.rule(&chain, format!("{keyword} saddr {} jump mark-for-masquerade", endpoint.ip));
        let networks = &self.facts.unfiltered_networks;
        if let Some(network) = networks.iter().find(|network| contains(network, endpoint.ip)) {
            self.rule(&chain, format!("{keyword} saddr {network} jump mark-for-masquerade"));
        }
        if let Some(seconds) = self.port.affinity_seconds {
            let set = name("affinity", &base);
            self.rule(&chain, format!("update @{set} {{ {keyword} saddr }}"));
            let definition =
                format!("{{ type {} ; flags dynamic,timeout ; timeout {seconds}s ; }}", self.family.address_type());
            self.rules.sets.insert(set, definition);
        }
        self.rule(&chain, format!("meta l4proto {} dnat to {}", self.port.protocol, endpoint.target()));
    }
}

/// Is this a network such as `10.0.0.0/8`?
pub fn is_network(text: &str) -> bool {
    let parts = text.split_once('/').map(|(address, length)| (address.parse::<IpAddr>(), length.parse::<u8>()));
    matches!(parts, Some((Ok(ip), Ok(length))) if length <= if ip.is_ipv4() { 32 } else { 128 })
}

/// Is the address in the network? A network that cannot be understood contains nothing.
pub fn contains(network: &str, ip: IpAddr) -> bool {
    let Some((address, length)) = network.split_once('/') else { return network.parse() == Ok(ip) };
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match (address, ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (u32::from(net) & mask) == (u32::from(ip) & mask)
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            (u128::from(net) & mask) == (u128::from(ip) & mask)
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
