//! NetworkPolicies.
use crate::{
    cells,
    core::pod::defaults,
    kind::{Kind, spec_only},
    meta,
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::util::intstr::IntOrString,
};

fn default_ports(ports: &mut Option<Vec<NetworkPolicyPort>>) {
    for port in ports.iter_mut().flatten() {
        defaults::text(&mut port.protocol, "TCP");
    }
}

fn validate_block(block: &IPBlock, path: &Path, errors: &mut ErrorList) {
    if block.cidr.is_empty() {
        errors.push(Error::required(&path.child("cidr"), ""));
        return;
    }
    let violations = validation::is_valid_cidr(&block.cidr);
    if !violations.is_empty() {
        for violation in violations {
            errors.push(Error::invalid(&path.child("cidr"), &block.cidr, violation));
        }
        return;
    }
    let outer = validation::parse_cidr(&block.cidr);
    for (i, except) in block.except.iter().flatten().enumerate() {
        let at = path.child("except").index(i);
        for violation in validation::is_valid_cidr(except) {
            errors.push(Error::invalid(&at, except, violation));
        }
        let (Some(outer), Some(inner)) = (outer, validation::parse_cidr(except)) else { continue };
        if !strictly_contains(outer, inner) {
            let detail = format!("must be a strict subset of `cidr` {}", block.cidr);
            errors.push(Error::invalid(&at, except, detail));
        }
    }
}

fn strictly_contains(outer: (std::net::IpAddr, u8), inner: (std::net::IpAddr, u8)) -> bool {
    use std::net::IpAddr;
    let same = |a: u128, b: u128, width: u32| {
        let shift = width.saturating_sub(u32::from(outer.1));
        shift >= 128 || (a >> shift) == (b >> shift)
    };
    let inside = match (outer.0, inner.0) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    };
    inside && inner.1 > outer.1
}

fn validate_peer(peer: &NetworkPolicyPeer, path: &Path, errors: &mut ErrorList) {
    let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
    for (selector, field) in [(&peer.pod_selector, "podSelector"), (&peer.namespace_selector, "namespaceSelector")] {
        if let Some(selector) = selector {
            meta::validate_label_selector(selector, &path.child(field), errors);
        }
    }
    if let Some(block) = &peer.ip_block {
        validate_block(block, &path.child("ipBlock"), errors);
    }
    match (selects, peer.ip_block.is_some()) {
        (false, false) => errors.push(Error::required(path, "must specify a peer")),
        (true, true) => {
            errors.push(Error::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        _ => {}
    }
}

fn validate_port(port: &NetworkPolicyPort, path: &Path, errors: &mut ErrorList) {
    let protocol = port.protocol.as_deref().unwrap_or_default();
    if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
        errors.push(Error::not_supported(&path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]));
    }
    match &port.port {
        Some(IntOrString::Int(number)) => {
            for violation in validation::is_valid_port_num(i64::from(*number)) {
                errors.push(Error::invalid(&path.child("port"), number, violation));
            }
            if let Some(end) = port.end_port {
                if end < *number {
                    errors.push(Error::invalid(&path.child("endPort"), end, "must be greater than or equal to `port`"));
                }
                for violation in validation::is_valid_port_num(i64::from(end)) {
                    errors.push(Error::invalid(&path.child("endPort"), end, violation));
                }
            }
        }
        Some(IntOrString::String(name)) => {
            if port.end_port.is_some() {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(Error::invalid(&path.child("endPort"), port.end_port, detail));
            }
            for violation in validation::is_valid_port_name(name) {
                errors.push(Error::invalid(&path.child("port"), name, violation));
            }
        }
        None => {
            if port.end_port.is_some() {
                let detail = "may not be specified when `port` is not specified";
                errors.push(Error::invalid(&path.child("endPort"), port.end_port, detail));
            }
        }
    }
}

impl Kind for NetworkPolicy {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Pod-Selector",
            "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
        ),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies").short(&["netpol"])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        // Upstream's field is no pointer: it is always written.
        spec.pod_selector.get_or_insert_default();
        spec.ingress.iter_mut().flatten().for_each(|rule| default_ports(&mut rule.ports));
        spec.egress.iter_mut().flatten().for_each(|rule| default_ports(&mut rule.ports));
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            let mut types = vec!["Ingress".to_owned()];
            if spec.egress.as_ref().is_some_and(|e| !e.is_empty()) {
                types.push("Egress".to_owned());
            }
            spec.policy_types = Some(types);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        if let Some(selector) = &spec.pod_selector {
            meta::validate_label_selector(selector, &path.child("podSelector"), errors);
        }
        for (i, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = path.child("ingress").index(i);
            for (j, port) in rule.ports.iter().flatten().enumerate() {
                validate_port(port, &path.child("ports").index(j), errors);
            }
            for (j, peer) in rule.from.iter().flatten().enumerate() {
                validate_peer(peer, &path.child("from").index(j), errors);
            }
        }
        for (i, rule) in spec.egress.iter().flatten().enumerate() {
            let path = path.child("egress").index(i);
            for (j, port) in rule.ports.iter().flatten().enumerate() {
                validate_port(port, &path.child("ports").index(j), errors);
            }
            for (j, peer) in rule.to.iter().flatten().enumerate() {
                validate_peer(peer, &path.child("to").index(j), errors);
            }
        }
        let types = spec.policy_types.as_deref().unwrap_or_default();
        if types.len() > 2 {
            errors.push(Error::invalid(&path.child("policyTypes"), types, "may not specify more than two policyTypes"));
        }
        for (i, type_) in types.iter().enumerate() {
            if !matches!(type_.as_str(), "Ingress" | "Egress") {
                let at = path.child("policyTypes").index(i);
                errors.push(Error::not_supported(&at, type_, &["Egress", "Ingress"]));
            }
        }
    }

    fn row(&self, now: i64) -> Row {
        let selector = self.spec.as_ref().and_then(|s| s.pod_selector.as_ref());
        vec![cells::name(&self.metadata), cells::selector(selector).into(), cells::age(&self.metadata, now)]
    }
}
