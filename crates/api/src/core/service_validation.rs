//! Rules for Services.
//!
//! Source: `ValidateService` and friends in `pkg/apis/core/validation/validation.go`.
use crate::{core::service::service_type, meta};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::net::IpAddr;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
const TIMEOUT_MAX_SECONDS: i32 = 86_400;

fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|t| !t.is_empty())
}

fn cluster_ips(spec: &ServiceSpec) -> &[String] {
    spec.cluster_ips.as_deref().unwrap_or_default()
}

fn is_headless(spec: &ServiceSpec) -> bool {
    cluster_ips(spec).first().or(spec.cluster_ip.as_ref()).is_some_and(|ip| ip == "None")
}

/// What clients that do not know what was allocated may leave out: it stays.
///
/// Source: `patchAllocatedValues` in `pkg/registry/core/service/storage`.
pub fn carry_over(new: &mut ServiceSpec, old: &ServiceSpec) {
    let has_ip = |s: &ServiceSpec| service_type(s) != "ExternalName";
    let has_node_ports = |s: &ServiceSpec| matches!(service_type(s), "NodePort" | "LoadBalancer");
    if has_ip(new) && has_ip(old) {
        let was_headless = is_headless(old);
        if set(&new.cluster_ip).is_none() && (!was_headless || set(&new.cluster_ip).is_none()) {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.as_ref().is_none_or(Vec::is_empty) && new.cluster_ip == old.cluster_ip {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
        if new.ip_families.as_ref().is_none_or(Vec::is_empty) {
            new.ip_families.clone_from(&old.ip_families);
        }
        if new.ip_family_policy.is_none() {
            new.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    if has_node_ports(new) && has_node_ports(old) {
        let before = old.ports.as_deref().unwrap_or_default();
        let mut used: Vec<i32> = new.ports.iter().flatten().filter_map(|p| p.node_port).collect();
        for port in new.ports.iter_mut().flatten().filter(|p| p.node_port.unwrap_or_default() == 0) {
            let same = before.iter().find(|b| b.port == port.port && b.protocol == port.protocol);
            let node_port = same.and_then(|b| b.node_port).filter(|n| *n != 0 && !used.contains(n));
            if let Some(node_port) = node_port {
                port.node_port = Some(node_port);
                used.push(node_port);
            }
        }
    }
    let local =
        |s: &ServiceSpec| service_type(s) == "LoadBalancer" && s.external_traffic_policy.as_deref() == Some("Local");
    if local(new) && local(old) && new.health_check_node_port.unwrap_or_default() == 0 {
        new.health_check_node_port = old.health_check_node_port;
    }
}

/// What only the old type had goes with it, unless the client says something new about it.
///
/// Source: `dropTypeDependentFields` in `pkg/registry/core/service/strategy.go`.
pub fn drop_type_dependent(new: &mut ServiceSpec, old: &ServiceSpec) {
    let has_ip = |s: &ServiceSpec| service_type(s) != "ExternalName";
    let has_node_ports = |s: &ServiceSpec| matches!(service_type(s), "NodePort" | "LoadBalancer");
    let balanced = |s: &ServiceSpec| service_type(s) == "LoadBalancer";
    let local = |s: &ServiceSpec| balanced(s) && s.external_traffic_policy.as_deref() == Some("Local");
    if has_ip(old) && !has_ip(new) {
        if new.cluster_ip == old.cluster_ip && new.cluster_ips == old.cluster_ips {
            (new.cluster_ip, new.cluster_ips) = (None, None);
        }
        if new.ip_families == old.ip_families {
            new.ip_families = None;
        }
        if new.ip_family_policy == old.ip_family_policy {
            new.ip_family_policy = None;
        }
    }
    if has_node_ports(old) && !has_node_ports(new) {
        let ports = |s: &ServiceSpec| -> Vec<i32> { s.ports.iter().flatten().filter_map(|p| p.node_port).collect() };
        if ports(new) == ports(old) {
            new.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
        }
        let external = new.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()) && has_ip(new);
        if !external && new.external_traffic_policy == old.external_traffic_policy {
            new.external_traffic_policy = None;
        }
    }
    if local(old) && !local(new) && new.health_check_node_port == old.health_check_node_port {
        new.health_check_node_port = None;
    }
    if balanced(old) && !balanced(new) {
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
}

pub fn validate(service: &Service, errors: &mut ErrorList) {
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let path = Path::new("spec");
    validate_for_type(spec, &path, errors);
    validate_ports(spec, &path, errors);
    if let Some(selector) = &spec.selector {
        meta::validate_labels(selector, &path.child("selector"), errors);
    }
    validate_affinity(spec, &path, errors);
    for (i, ip) in spec.external_ips.iter().flatten().enumerate() {
        let at = path.child("externalIPs").index(i);
        let violations = validation::is_valid_ip(ip);
        if violations.is_empty() {
            validate_non_special_ip(ip, &at, errors);
        }
        for violation in violations {
            errors.push(Error::invalid(&at, ip, violation));
        }
    }
    let kind = spec.type_.as_deref().unwrap_or_default();
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), ""));
    } else if !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, TYPES));
    }
    validate_traffic(spec, &path, errors);
    validate_balancer(spec, &path, errors);
    validate_cluster_ips(spec, &path, errors);
}

/// Addresses nobody else can be reached at.
pub fn validate_non_special_ip(text: &str, path: &Path, errors: &mut ErrorList) {
    let Ok(ip) = text.parse::<IpAddr>() else { return };
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let link_local_multicast = match ip {
        IpAddr::V4(ip) => ip.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(ip) => ip.segments().first() == Some(&0xff02),
    };
    let checks = [
        (ip.is_unspecified(), format!("may not be unspecified ({text})")),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ];
    for (wrong, detail) in checks {
        if wrong {
            errors.push(Error::invalid(path, text, detail));
        }
    }
}

fn validate_for_type(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    match service_type(spec) {
        type_ @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {type_} services");
            errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", detail));
        }
        "ExternalName" => {
            if !cluster_ips(spec).is_empty() {
                let detail = "may not be set for ExternalName services";
                errors.push(Error::forbidden(&path.child("clusterIPs"), detail));
            }
            if spec.ip_families.as_ref().is_some_and(|f| !f.is_empty()) {
                let detail = "may not be set for ExternalName services";
                errors.push(Error::forbidden(&path.child("ipFamilies"), detail));
            }
            if spec.ip_family_policy.is_some() {
                let detail = "may not be set for ExternalName services";
                errors.push(Error::forbidden(&path.child("ipFamilyPolicy"), detail));
            }
            let name = spec.external_name.as_deref().unwrap_or_default();
            if name.is_empty() {
                errors.push(Error::required(&path.child("externalName"), ""));
            } else {
                let violations = validation::is_dns1123_subdomain(name.strip_suffix('.').unwrap_or(name));
                for violation in violations {
                    errors.push(Error::invalid(&path.child("externalName"), name, violation));
                }
            }
        }
        _ => {}
    }
    if ports.is_empty() && !is_headless(spec) && service_type(spec) != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
}

fn validate_ports(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let path = path.child("ports");
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        validate_port(port, ports.len() > 1, &at, errors);
        let before = ports.iter().take(i);
        let name = set(&port.name);
        if name.is_some() && before.clone().any(|p| set(&p.name) == name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        if before.clone().any(|p| p.port == port.port && p.protocol == port.protocol) {
            let key = ServicePort { port: port.port, protocol: port.protocol.clone(), ..ServicePort::default() };
            errors.push(Error::duplicate(&at, key));
        }
        let node_port = port.node_port.unwrap_or_default();
        if node_port != 0 {
            if matches!(service_type(spec), "ClusterIP") {
                let detail = "may not be used when `type` is 'ClusterIP'";
                errors.push(Error::forbidden(&at.child("nodePort"), detail));
            } else if service_type(spec) == "ExternalName" {
                let detail = "may not be used when `type` is 'ExternalName'";
                errors.push(Error::forbidden(&at.child("nodePort"), detail));
            }
            for violation in validation::is_valid_port_num(i64::from(node_port)) {
                errors.push(Error::invalid(&at.child("nodePort"), node_port, violation));
            }
            if before.clone().any(|p| p.node_port == port.node_port && p.protocol == port.protocol) {
                errors.push(Error::duplicate(&at.child("nodePort"), node_port));
            }
        }
    }
}

fn validate_port(port: &ServicePort, needs_name: bool, path: &Path, errors: &mut ErrorList) {
    match set(&port.name) {
        None if needs_name => errors.push(Error::required(&path.child("name"), "")),
        None => {}
        Some(name) => {
            for violation in validation::is_dns1123_label(name) {
                errors.push(Error::invalid(&path.child("name"), name, violation));
            }
        }
    }
    for violation in validation::is_valid_port_num(i64::from(port.port)) {
        errors.push(Error::invalid(&path.child("port"), port.port, violation));
    }
    match set(&port.protocol) {
        None => errors.push(Error::required(&path.child("protocol"), "")),
        Some(protocol) if !PROTOCOLS.contains(&protocol) => {
            errors.push(Error::not_supported(&path.child("protocol"), protocol, PROTOCOLS));
        }
        Some(_) => {}
    }
    match &port.target_port {
        Some(IntOrString::Int(number)) => {
            for violation in validation::is_valid_port_num(i64::from(*number)) {
                errors.push(Error::invalid(&path.child("targetPort"), number, violation));
            }
        }
        Some(IntOrString::String(name)) => {
            for violation in validation::is_valid_port_name(name) {
                errors.push(Error::invalid(&path.child("targetPort"), name, violation));
            }
        }
        None => {}
    }
    if let Some(protocol) = &port.app_protocol {
        for violation in validation::is_qualified_name(protocol) {
            errors.push(Error::invalid(&path.child("appProtocol"), protocol, violation));
        }
    }
}

fn validate_affinity(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let at = path.child("sessionAffinity");
    match spec.session_affinity.as_deref().unwrap_or_default() {
        "" => errors.push(Error::required(&at, "")),
        "ClientIP" => {
            let timeout = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
            if let Some(seconds) = timeout.and_then(|t| t.timeout_seconds)
                && !(1..=TIMEOUT_MAX_SECONDS).contains(&seconds)
            {
                let at = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
                let detail = format!("must be greater than 0 and less than {TIMEOUT_MAX_SECONDS}");
                errors.push(Error::invalid(&at, seconds, detail));
            }
        }
        "None" => {
            if spec.session_affinity_config.is_some() {
                let detail = "must not be set when session affinity is None";
                errors.push(Error::forbidden(&path.child("sessionAffinityConfig"), detail));
            }
        }
        other => errors.push(Error::not_supported(&at, other, AFFINITIES)),
    }
}

fn validate_traffic(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let external = matches!(service_type(spec), "NodePort" | "LoadBalancer")
        || spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    let at = path.child("externalTrafficPolicy");
    match set(&spec.external_traffic_policy) {
        None if external => errors.push(Error::required(&at, "")),
        Some(_) if !external => {
            let detail = "may only be set for externally-accessible services";
            errors.push(Error::invalid(&at, &spec.external_traffic_policy, detail));
        }
        Some(policy) if !matches!(policy, "Cluster" | "Local") => {
            errors.push(Error::not_supported(&at, policy, &["Cluster", "Local"]));
        }
        _ => {}
    }
    let at = path.child("internalTrafficPolicy");
    match set(&spec.internal_traffic_policy) {
        None if service_type(spec) != "ExternalName" => errors.push(Error::required(&at, "")),
        Some(policy) if !matches!(policy, "Cluster" | "Local") => {
            errors.push(Error::not_supported(&at, policy, &["Cluster", "Local"]));
        }
        _ => {}
    }
    let at = path.child("trafficDistribution");
    if let Some(distribution) = set(&spec.traffic_distribution) {
        let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        if !known.contains(&distribution) {
            errors.push(Error::not_supported(&at, distribution, &known));
        }
    }
    let local = service_type(spec) == "LoadBalancer" && spec.external_traffic_policy.as_deref() == Some("Local");
    if spec.health_check_node_port.unwrap_or_default() != 0 && !local {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid(&path.child("healthCheckNodePort"), spec.health_check_node_port, detail));
    }
}

fn validate_balancer(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let balancer = service_type(spec) == "LoadBalancer";
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let at = path.child("loadBalancerSourceRanges");
    if !ranges.is_empty() && !balancer {
        errors.push(Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'"));
    }
    for (i, range) in ranges.iter().enumerate() {
        for violation in validation::is_valid_cidr(range.trim()) {
            errors.push(Error::invalid(&at.index(i), range, violation));
        }
    }
    if spec.allocate_load_balancer_node_ports.is_some() && !balancer {
        let at = path.child("allocateLoadBalancerNodePorts");
        errors.push(Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'"));
    }
    if let Some(class) = &spec.load_balancer_class {
        let at = path.child("loadBalancerClass");
        if !balancer {
            errors.push(Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'"));
        }
        for violation in validation::is_qualified_name(class) {
            errors.push(Error::invalid(&at, class, violation));
        }
    }
}

fn validate_cluster_ips(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let at = path.child("clusterIPs");
    let ips = cluster_ips(spec);
    let first = ips.first().map(String::as_str).unwrap_or_default();
    if let Some(ip) = set(&spec.cluster_ip)
        && !ips.is_empty()
        && ip != first
    {
        errors.push(Error::invalid(&at, ips, "first value must match `clusterIP`"));
    }
    if ips.len() > 1 && first == "None" {
        let detail = "'None' must be the first and only value";
        errors.push(Error::invalid(&at.index(1), ips.get(1), detail));
    }
    let shown: Vec<&str> = if ips.is_empty() { set(&spec.cluster_ip).into_iter().collect() } else { vec![] };
    for (i, ip) in ips.iter().map(String::as_str).chain(shown).enumerate() {
        if ip == "None" || ip.is_empty() {
            continue;
        }
        for violation in validation::is_valid_ip(ip) {
            errors.push(Error::invalid(&at.index(i), ip, violation));
        }
    }
    if ips.len() > 2 {
        errors.push(Error::invalid(&at, ips, "may only hold up to 2 values"));
    }
    for (i, family) in spec.ip_families.iter().flatten().enumerate() {
        let at = path.child("ipFamilies").index(i);
        if !matches!(family.as_str(), "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&at, family, &["IPv4", "IPv6"]));
        }
        if spec.ip_families.iter().flatten().take(i).any(|f| f == family) {
            errors.push(Error::duplicate(&at, family));
        }
    }
    if let Some(policy) = set(&spec.ip_family_policy) {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        if !known.contains(&policy) {
            errors.push(Error::not_supported(&path.child("ipFamilyPolicy"), policy, &known));
        }
    }
}

/// The first address never changes while the service has one.
pub fn validate_update(new: &Service, old: &Service, errors: &mut ErrorList) {
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else { return };
    let path = Path::new("spec");
    let had_ip = service_type(before) != "ExternalName";
    let has_ip = service_type(spec) != "ExternalName";
    let old_ip = cluster_ips(before).first().or(before.cluster_ip.as_ref()).map(String::as_str).unwrap_or_default();
    let new_ip = cluster_ips(spec).first().or(spec.cluster_ip.as_ref()).map(String::as_str).unwrap_or_default();
    if had_ip && has_ip && !old_ip.is_empty() && old_ip != new_ip {
        let detail = "may not change once set";
        errors.push(Error::invalid(
            &path.child("clusterIPs").index(0),
            spec.cluster_ips.as_ref().unwrap_or(&vec![]),
            detail,
        ));
    }
    if service_type(before) == "LoadBalancer"
        && service_type(spec) == "LoadBalancer"
        && spec.load_balancer_class != before.load_balancer_class
    {
        let detail = "may not change once set";
        errors.push(Error::invalid(&path.child("loadBalancerClass"), &spec.load_balancer_class, detail));
    }
}

pub fn validate_status(service: &Service, errors: &mut ErrorList) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = balancer.iter().flat_map(|b| b.ingress.iter().flatten());
    let is_balanced = service.spec.as_ref().is_some_and(|s| service_type(s) == "LoadBalancer");
    for (i, ingress) in ingress.enumerate() {
        let at = path.index(i);
        if i == 0 && !is_balanced {
            errors.push(Error::forbidden(&path, "may only be used when `spec.type` is LoadBalancer"));
        }
        if let Some(ip) = set(&ingress.ip) {
            for violation in validation::is_valid_ip(ip) {
                errors.push(Error::invalid(&at.child("ip"), ip, violation));
            }
        }
        if let Some(name) = set(&ingress.hostname) {
            for violation in validation::is_dns1123_subdomain(name) {
                errors.push(Error::invalid(&at.child("hostname"), name, violation));
            }
            if name.parse::<IpAddr>().is_ok() {
                errors.push(Error::invalid(&at.child("hostname"), name, "must be a DNS name, not an IP address"));
            }
        }
    }
}

pub fn warnings(service: &Service) -> Vec<String> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let mut warnings = Vec::new();
    if service_type(spec) == "ExternalName" {
        return warnings;
    }
    let v6 = |ip: &str| ip.contains(':') && ip.parse::<IpAddr>().is_ok_and(|p| p.to_string() != ip);
    for (i, ip) in cluster_ips(spec).iter().enumerate().filter(|(_, ip)| v6(ip)) {
        let canonical = ip.parse::<IpAddr>().map(|p| p.to_string()).unwrap_or_default();
        warnings.push(format!(
            "spec.clusterIPs[{i}]: IPv6 address {ip:?} should be in RFC 5952 canonical format ({canonical:?})"
        ));
    }
    if set(&spec.load_balancer_ip).is_some() && service_type(spec) != "LoadBalancer" {
        warnings.push("spec.loadBalancerIP is ignored when spec.type is not \"LoadBalancer\"".into());
    }
    let port_less = spec.ports.iter().flatten().any(|p| p.protocol.as_deref() == Some("SCTP"));
    if is_headless(spec) && spec.session_affinity.as_deref() != Some("None") && !port_less {
        warnings.push("spec.SessionAffinity is ignored for headless services".into());
    }
    if is_headless(spec) && set(&spec.load_balancer_ip).is_some() {
        warnings.push("spec.loadBalancerIP is ignored for headless services".into());
    }
    if is_headless(spec) && spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
        warnings.push("spec.externalIPs is ignored for headless services".into());
    }
    warnings
}
