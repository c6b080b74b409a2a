//! Endpoints: the addresses behind a service, as clients of old know them.
use crate::{
    cells,
    core::{pod::defaults, service_validation::validate_non_special_ip},
    kind::Kind,
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};

/// More addresses are only counted in the table.
const SHOWN: usize = 3;

fn shown(endpoints: &Endpoints) -> String {
    let mut all: Vec<String> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let addresses = subset.addresses.as_deref().unwrap_or_default();
        match subset.ports.as_deref().filter(|p| !p.is_empty()) {
            None => all.extend(addresses.iter().map(|a| a.ip.clone())),
            Some(ports) => {
                let joined = |ip: &str, port: i32| {
                    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
                };
                all.extend(ports.iter().flat_map(|p| addresses.iter().map(move |a| joined(&a.ip, p.port))));
            }
        }
    }
    if all.is_empty() {
        return cells::NONE.into();
    }
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    let text = all.join(",");
    if more > 0 { format!("{text} + {more} more...") } else { text }
}

fn validate_address(address: &EndpointAddress, path: &Path, errors: &mut ErrorList) {
    for violation in validation::is_valid_ip(&address.ip) {
        errors.push(Error::invalid(&path.child("ip"), &address.ip, violation));
    }
    validate_non_special_ip(&address.ip, &path.child("ip"), errors);
    if let Some(name) = address.hostname.as_deref().filter(|n| !n.is_empty()) {
        for violation in validation::is_dns1123_label(name) {
            errors.push(Error::invalid(&path.child("hostname"), name, violation));
        }
    }
    if let Some(name) = &address.node_name {
        for violation in validation::is_dns1123_subdomain(name) {
            errors.push(Error::invalid(&path.child("nodeName"), name, violation));
        }
    }
}

fn validate_subset(subset: &EndpointSubset, path: &Path, errors: &mut ErrorList) {
    let addresses = subset.addresses.as_deref().unwrap_or_default();
    let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
    if addresses.is_empty() && not_ready.is_empty() {
        errors.push(Error::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (i, address) in addresses.iter().enumerate() {
        validate_address(address, &path.child("addresses").index(i), errors);
    }
    for (i, address) in not_ready.iter().enumerate() {
        validate_address(address, &path.child("notReadyAddresses").index(i), errors);
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (i, port) in ports.iter().enumerate() {
        let at = path.child("ports").index(i);
        match port.name.as_deref().filter(|n| !n.is_empty()) {
            None if ports.len() > 1 => errors.push(Error::required(&at.child("name"), "")),
            None => {}
            Some(name) => {
                for violation in validation::is_dns1123_label(name) {
                    errors.push(Error::invalid(&at.child("name"), name, violation));
                }
            }
        }
        for violation in validation::is_valid_port_num(i64::from(port.port)) {
            errors.push(Error::invalid(&at.child("port"), port.port, violation));
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            errors.push(Error::not_supported(&at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]));
        }
    }
}

impl Kind for Endpoints {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Endpoints",
            "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
        ),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("", "v1", "Endpoints", "endpoints").short(&["ep"]).stored_at("services/endpoints").created_on_update()
    }

    fn set_defaults(&mut self) {
        for port in self.subsets.iter_mut().flatten().flat_map(|s| s.ports.iter_mut().flatten()) {
            defaults::text(&mut port.protocol, "TCP");
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        for (i, subset) in self.subsets.iter().flatten().enumerate() {
            validate_subset(subset, &Path::new("subsets").index(i), errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
    }

    fn row(&self, now: i64) -> Row {
        vec![cells::name(&self.metadata), shown(self).into(), cells::age(&self.metadata, now)]
    }
}
