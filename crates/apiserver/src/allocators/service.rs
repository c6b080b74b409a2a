//! What a service needs: cluster IPs by type and families, node ports by type and traffic policy.
//!
//! Source: `pkg/registry/core/service/storage/alloc.go` (behaviour).
use super::{
    AddressRange, Claims, ServiceAllocators,
    addresses::Owner,
    bitmap::{self, Used},
};
use crate::PortRange;
use apimachinery::{ApiError, field, status::On};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use std::net::IpAddr;

const NONE: &str = "None";

/// What was taken is in `taken`, also when this fails half-way.
pub(super) async fn fill(
    all: &ServiceAllocators,
    owner: &Owner,
    service: &mut Service,
    old: Option<&Service>,
    taken: &mut Claims,
    dry_run: bool,
) -> Result<(), ApiError> {
    let Some(spec) = service.spec.as_mut() else { return Ok(()) };
    let old_spec = old.and_then(|o| o.spec.as_ref());
    if let Some(old_spec) = old_spec {
        keep_allocated(spec, old_spec);
    }
    let held = old.map(claims).unwrap_or_default();
    let mut filling = Filling { all, owner, taken, held: &held, dry_run };
    filling.addresses(spec, old_spec).await?;
    filling.ports(spec).await
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
    owner: &'a Owner,
    taken: &'a mut Claims,
    /// What the stored service holds already.
    held: &'a Claims,
    dry_run: bool,
}

fn invalid(name: &str, error: field::Error) -> ApiError {
    let on = On { group: "", resource: "Service" };
    ApiError::invalid(on, name, &[error].into_iter().collect())
}

impl Filling<'_> {
    fn invalid(&self, error: field::Error) -> ApiError {
        invalid(&self.owner.name, error)
    }

    fn configured(&self) -> &[AddressRange] {
        &self.all.addresses.configured
    }

    async fn addresses(&mut self, spec: &mut ServiceSpec, old: Option<&ServiceSpec>) -> Result<(), ApiError> {
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
                    self.take_address(spec, text).await?;
                    result.push(text.clone());
                }
                None => result.push(self.any_address(family).await?.to_string()),
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
            families.extend(self.configured().first().map(|r| r.family().to_owned()));
        }
        for (i, family) in families.iter().enumerate() {
            if !self.configured().iter().any(|r| r.family() == family) {
                let path = field::Path::new("spec").child("ipFamilies").index(i);
                let why = "not configured on this cluster";
                return Err(self.invalid(field::Error::invalid(&path, family, why)));
            }
        }
        if policy != "SingleStack" && families.len() == 1 {
            let other = self.configured().iter().map(AddressRange::family).find(|f| families.iter().all(|g| g != f));
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

    async fn take_address(&mut self, spec: &ServiceSpec, text: &str) -> Result<(), ApiError> {
        // A text that is no address, or of the other family, is for validation to refuse.
        let Ok(address) = text.parse::<IpAddr>() else { return Ok(()) };
        if self.held.addresses.contains(&address) || self.taken.addresses.contains(&address) {
            return Ok(());
        }
        let addresses = &self.all.addresses;
        let why = if !addresses.ranges().iter().any(|r| r.contains(address)) {
            "the provided network does not match the current range"
        } else if self.dry_run && addresses.seems_free(address) {
            return Ok(());
        } else if !self.dry_run && addresses.take(self.owner, address).await? {
            self.taken.addresses.push(address);
            return Ok(());
        } else {
            "provided IP is already allocated"
        };
        let path = field::Path::new("spec").child("clusterIPs");
        let shown = spec.cluster_ips.clone().filter(|l| !l.is_empty()).unwrap_or_else(|| vec![text.to_owned()]);
        let why = format!("failed to allocate IP {address}: {why}");
        Err(self.invalid(field::Error::invalid(&path, shown, why)))
    }

    async fn any_address(&mut self, family: &str) -> Result<IpAddr, ApiError> {
        match self.all.addresses.take_any(self.owner, family == "IPv6", self.dry_run).await? {
            Some(address) => {
                self.taken.addresses.push(address);
                Ok(address)
            }
            None => Err(ApiError::internal("failed to allocate a serviceIP: range is full")),
        }
    }

    async fn ports(&mut self, spec: &mut ServiceSpec) -> Result<(), ApiError> {
        let planning = PortPlanning { range: self.all.ports.range, held: self.held, name: &self.owner.name };
        // Most services need none, and most updates none anew: no look at the store then.
        let mut unused = Used::new();
        let mut same = spec.clone();
        if matches!(planning.plan(&mut same, &mut unused), Ok(taken) if taken.is_empty()) {
            return Ok(());
        }
        let plan = |used: &mut Used| {
            let mut planned = spec.clone();
            planning.plan(&mut planned, used).map(|taken| (planned, taken))
        };
        let (planned, taken) = self.all.ports.change(self.dry_run, plan).await?;
        *spec = planned;
        self.taken.ports = taken;
        Ok(())
    }
}

/// Which node ports a service gets, decided on a view of what is used.
struct PortPlanning<'a> {
    range: PortRange,
    /// What the stored service holds already.
    held: &'a Claims,
    /// Of the service.
    name: &'a str,
}

impl PortPlanning<'_> {
    /// Writes the ports into the spec and the used ones; returns those taken anew.
    fn plan(&self, spec: &mut ServiceSpec, used: &mut Used) -> Result<Vec<u16>, ApiError> {
        let mut taken = Vec::new();
        if wants_node_ports(spec) {
            // Ports asked for first, so that no random choice takes one of them.
            for (i, port) in spec.ports.iter().flatten().enumerate() {
                if let Some(wanted) = port.node_port.filter(|p| *p != 0) {
                    let path = field::Path::new("spec").child("ports").index(i).child("nodePort");
                    self.take(&path, wanted, used, &mut taken)?;
                }
            }
            let mut shared: Vec<(i32, String, i32)> = Vec::new();
            for port in spec.ports.iter_mut().flatten() {
                if port.node_port.unwrap_or_default() == 0 {
                    // One number serves the same port of another protocol too.
                    let twin = shared.iter().find(|(p, proto, _)| *p == port.port && proto != protocol(port));
                    let chosen = match twin {
                        Some((_, _, number)) => *number,
                        None => self.any(used, &mut taken)?,
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
                Some(wanted) => {
                    let path = field::Path::new("spec").child("healthCheckNodePort");
                    self.take(&path, wanted, used, &mut taken)?;
                }
                None => spec.health_check_node_port = Some(self.any(used, &mut taken)?),
            }
        }
        Ok(taken)
    }

    fn take(&self, path: &field::Path, wanted: i32, used: &mut Used, taken: &mut Vec<u16>) -> Result<(), ApiError> {
        // A number that is no port is for validation to refuse.
        let Ok(port) = u16::try_from(wanted) else { return Ok(()) };
        if self.held.ports.contains(&port) || taken.contains(&port) {
            return Ok(());
        }
        if !self.range.contains(wanted) {
            let why = format!("provided port is not in the valid range. The range of valid ports is {}", self.range);
            return Err(invalid(self.name, field::Error::invalid(path, wanted, why)));
        }
        if !used.insert(port) {
            return Err(invalid(self.name, field::Error::invalid(path, wanted, "provided port is already allocated")));
        }
        taken.push(port);
        Ok(())
    }

    fn any(&self, used: &mut Used, taken: &mut Vec<u16>) -> Result<i32, ApiError> {
        let Some(port) = bitmap::choose(self.range, used, rand::random()) else {
            return Err(ApiError::internal("failed to allocate a nodePort: range is full"));
        };
        used.insert(port);
        taken.push(port);
        Ok(i32::from(port))
    }
}
