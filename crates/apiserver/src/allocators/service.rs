//! What a service needs: cluster IPs by type and families, node ports by type and traffic policy.
//!
//! Source: `pkg/registry/core/service/storage/alloc.go` (behaviour).
use super::{AddressRange, Claims, ServiceAllocators, State};
use apimachinery::{ApiError, field, status::On};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use std::net::IpAddr;

const NONE: &str = "None";

pub(super) fn fill(
    all: &ServiceAllocators,
    state: &mut State,
    chosen: &mut Claims,
    service: &mut Service,
    old: Option<&Service>,
) -> Result<(), ApiError> {
    let name = service.metadata.name.clone().unwrap_or_default();
    let Some(spec) = service.spec.as_mut() else { return Ok(()) };
    let old_spec = old.and_then(|o| o.spec.as_ref());
    if let Some(old_spec) = old_spec {
        keep_allocated(spec, old_spec);
    }
    let held = old.map(claims).unwrap_or_default();
    let mut filling = Filling { all, state, chosen, held: &held, name: &name };
    filling.addresses(spec, old_spec)?;
    filling.ports(spec)
}

/// Everything a service holds.
pub(super) fn claims(service: &Service) -> Claims {
    let mut claims = Claims::default();
    let Some(spec) = &service.spec else { return claims };
    for text in spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip) {
        if let Ok(address) = text.parse()
            && !claims.addresses.contains(&address)
        {
            claims.addresses.push(address);
        }
    }
    let ports = spec.ports.iter().flatten().filter_map(|p| p.node_port).chain(spec.health_check_node_port);
    for port in ports.filter_map(|p| u16::try_from(p).ok()).filter(|p| *p != 0) {
        if !claims.ports.contains(&port) {
            claims.ports.push(port);
        }
    }
    claims
}

fn type_of(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or("ClusterIP")
}

fn wants_cluster_ip(spec: &ServiceSpec) -> bool {
    matches!(type_of(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn wants_node_ports(spec: &ServiceSpec) -> bool {
    match type_of(spec) {
        "NodePort" => true,
        "LoadBalancer" => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

fn wants_health_check_port(spec: &ServiceSpec) -> bool {
    type_of(spec) == "LoadBalancer" && spec.external_traffic_policy.as_deref() == Some("Local")
}

fn unset(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

/// A client that leaves out what was allocated means to keep it.
fn keep_allocated(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if wants_cluster_ip(spec) && wants_cluster_ip(old) {
        if unset(spec.cluster_ip.as_ref()) {
            spec.cluster_ip.clone_from(&old.cluster_ip);
        }
        if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) && spec.cluster_ip == old.cluster_ip {
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
        if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
            spec.ip_families.clone_from(&old.ip_families);
        }
        if spec.ip_family_policy.is_none() {
            spec.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    if wants_node_ports(spec) && wants_node_ports(old) {
        let mut used: Vec<i32> = spec.ports.iter().flatten().filter_map(|p| p.node_port).collect();
        for port in spec.ports.iter_mut().flatten().filter(|p| p.node_port.unwrap_or_default() == 0) {
            let same = |o: &&ServicePort| o.port == port.port && protocol(o) == protocol(port);
            let before = old.ports.iter().flatten().find(same).and_then(|o| o.node_port);
            if let Some(before) = before.filter(|b| *b != 0 && !used.contains(b)) {
                port.node_port = Some(before);
                used.push(before);
            }
        }
    }
    if wants_health_check_port(spec) && wants_health_check_port(old) && spec.health_check_node_port.unwrap_or(0) == 0 {
        spec.health_check_node_port = old.health_check_node_port;
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

struct Filling<'a> {
    all: &'a ServiceAllocators,
    state: &'a mut State,
    chosen: &'a mut Claims,
    /// What the stored service holds already.
    held: &'a Claims,
    name: &'a str,
}

impl Filling<'_> {
    fn invalid(&self, error: field::Error) -> ApiError {
        let on = On { group: "", resource: "Service" };
        ApiError::invalid(on, self.name, &[error].into_iter().collect())
    }

    fn range(&self, family: &str) -> Option<&AddressRange> {
        self.all.ranges.iter().find(|r| r.family() == family)
    }

    fn addresses(&mut self, spec: &mut ServiceSpec, old: Option<&ServiceSpec>) -> Result<(), ApiError> {
        if !wants_cluster_ip(spec) {
            if old.is_some_and(wants_cluster_ip) {
                // Turned into an ExternalName: what was allocated is given back.
                (spec.cluster_ip, spec.cluster_ips, spec.ip_families, spec.ip_family_policy) = (None, None, None, None);
            }
            return Ok(());
        }
        let mut given: Vec<String> = spec.cluster_ips.clone().unwrap_or_default();
        match (&spec.cluster_ip, given.first()) {
            (Some(one), None) if !one.is_empty() => given.push(one.clone()),
            // What does not agree is for validation to refuse.
            (Some(one), Some(first)) if !one.is_empty() && one != first => return Ok(()),
            _ => {}
        }
        let headless = given.first().is_some_and(|g| g == NONE);
        let families = self.families(spec, &given)?;
        if headless {
            spec.cluster_ip = Some(NONE.into());
            spec.cluster_ips = Some(vec![NONE.into()]);
            spec.ip_families = Some(families);
            return Ok(());
        }
        let mut result: Vec<String> = Vec::with_capacity(families.len());
        for (i, family) in families.iter().enumerate() {
            match given.get(i) {
                Some(text) => {
                    self.take_address(spec, family, text)?;
                    result.push(text.clone());
                }
                None => result.push(self.any_address(family)?.to_string()),
            }
        }
        result.extend(given.into_iter().skip(families.len()));
        spec.cluster_ip = result.first().cloned();
        spec.cluster_ips = Some(result);
        spec.ip_families = Some(families);
        Ok(())
    }

    /// Families in order, from what is given, the policy, and the cluster's own.
    fn families(&self, spec: &mut ServiceSpec, given: &[String]) -> Result<Vec<String>, ApiError> {
        let mut families = spec.ip_families.clone().unwrap_or_default();
        for text in given.iter().skip(families.len()) {
            if let Ok(address) = text.parse::<IpAddr>() {
                families.push(if address.is_ipv6() { "IPv6" } else { "IPv4" }.to_owned());
            }
        }
        let policy = match spec.ip_family_policy.clone() {
            Some(policy) => policy,
            None if families.len() > 1 => "RequireDualStack".to_owned(),
            None => "SingleStack".to_owned(),
        };
        if families.is_empty() {
            families.extend(self.all.ranges.first().map(|r| r.family().to_owned()));
        }
        for (i, family) in families.iter().enumerate() {
            if self.range(family).is_none() {
                let path = field::Path::new("spec").child("ipFamilies").index(i);
                let why = "not configured on this cluster";
                return Err(self.invalid(field::Error::invalid(&path, family, why)));
            }
        }
        if policy != "SingleStack" && families.len() == 1 {
            let other = self.all.ranges.iter().map(AddressRange::family).find(|f| families.iter().all(|g| g != f));
            match other {
                Some(other) => families.push(other.to_owned()),
                None if policy == "RequireDualStack" => {
                    let path = field::Path::new("spec").child("ipFamilyPolicy");
                    let why = "this cluster is not configured for dual-stack services";
                    return Err(self.invalid(field::Error::invalid(&path, &policy, why)));
                }
                None => {}
            }
        }
        if policy == "SingleStack" {
            families.truncate(given.len().max(1));
        }
        spec.ip_family_policy = Some(policy);
        Ok(families)
    }

    fn take_address(&mut self, spec: &ServiceSpec, family: &str, text: &str) -> Result<(), ApiError> {
        // A text that is no address, or of the other family, is for validation to refuse.
        let Ok(address) = text.parse::<IpAddr>() else { return Ok(()) };
        if self.held.addresses.contains(&address) || self.chosen.addresses.contains(&address) {
            return Ok(());
        }
        let why = match self.range(family) {
            Some(range) if !range.contains(address) => Some(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
            )),
            Some(_) if self.state.address_taken(address) => Some("provided IP is already allocated".to_owned()),
            _ => None,
        };
        if let Some(why) = why {
            let path = field::Path::new("spec").child("clusterIPs");
            let shown = spec.cluster_ips.clone().filter(|l| !l.is_empty()).unwrap_or_else(|| vec![text.to_owned()]);
            let why = format!("failed to allocate IP {address}: {why}");
            return Err(self.invalid(field::Error::invalid(&path, shown, why)));
        }
        self.choose(address);
        Ok(())
    }

    fn any_address(&mut self, family: &str) -> Result<IpAddr, ApiError> {
        let range = self.range(family).copied();
        let address = range.and_then(|r| r.choose(rand::random(), |a| self.state.address_taken(a)));
        let Some(address) = address else {
            return Err(ApiError::internal("failed to allocate a serviceIP: range is full"));
        };
        self.choose(address);
        Ok(address)
    }

    fn choose(&mut self, address: IpAddr) {
        self.state.hold(&Claims { addresses: vec![address], ports: Vec::new() });
        self.chosen.addresses.push(address);
    }

    fn ports(&mut self, spec: &mut ServiceSpec) -> Result<(), ApiError> {
        if wants_node_ports(spec) {
            // Ports asked for first, so that no random choice takes one of them.
            for (i, port) in spec.ports.iter().flatten().enumerate() {
                if let Some(wanted) = port.node_port.filter(|p| *p != 0) {
                    let path = field::Path::new("spec").child("ports").index(i).child("nodePort");
                    self.take_port(&path, wanted)?;
                }
            }
            let mut shared: Vec<(i32, String, i32)> = Vec::new();
            for port in spec.ports.iter_mut().flatten() {
                if port.node_port.unwrap_or_default() == 0 {
                    // One number serves the same port of another protocol too.
                    let twin = shared.iter().find(|(p, proto, _)| *p == port.port && proto != protocol(port));
                    let chosen = match twin {
                        Some((_, _, number)) => *number,
                        None => self.any_port()?,
                    };
                    port.node_port = Some(chosen);
                }
                if let Some(number) = port.node_port {
                    shared.push((port.port, protocol(port).to_owned(), number));
                }
            }
        }
        if wants_health_check_port(spec) {
            match spec.health_check_node_port.filter(|p| *p != 0) {
                Some(wanted) => self.take_port(&field::Path::new("spec").child("healthCheckNodePort"), wanted)?,
                None => spec.health_check_node_port = Some(self.any_port()?),
            }
        }
        Ok(())
    }

    fn take_port(&mut self, path: &field::Path, wanted: i32) -> Result<(), ApiError> {
        // A number that is no port is for validation to refuse.
        let Ok(port) = u16::try_from(wanted) else { return Ok(()) };
        if self.held.ports.contains(&port) || self.chosen.ports.contains(&port) {
            return Ok(());
        }
        if !self.all.ports.contains(wanted) {
            let why =
                format!("provided port is not in the valid range. The range of valid ports is {}", self.all.ports);
            return Err(self.invalid(field::Error::invalid(path, wanted, why)));
        }
        if self.state.port_taken(port) {
            return Err(self.invalid(field::Error::invalid(path, wanted, "provided port is already allocated")));
        }
        self.state.hold(&Claims { addresses: Vec::new(), ports: vec![port] });
        self.chosen.ports.push(port);
        Ok(())
    }

    fn any_port(&mut self) -> Result<i32, ApiError> {
        let range = self.all.ports;
        let size = u32::from(range.last - range.first) + 1;
        let start = rand::random::<u32>() % size;
        let free = (0..size)
            .filter_map(|i| u16::try_from(u32::from(range.first) + (start + i) % size).ok())
            .find(|port| !self.state.port_taken(*port));
        let Some(port) = free else {
            return Err(ApiError::internal("failed to allocate a nodePort: range is full"));
        };
        self.state.hold(&Claims { addresses: Vec::new(), ports: vec![port] });
        self.chosen.ports.push(port);
        Ok(i32::from(port))
    }
}
