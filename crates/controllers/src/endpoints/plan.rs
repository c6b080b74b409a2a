//! What the Endpoints of a service are to be.
//!
//! Source: "Endpoints (deprecated)"; subsets as upstream packs them: addresses with equal ports together.
use crate::{
    pods,
    runtime::{Plan, Write},
    service_pods::{self, HEADLESS, TRIGGER_TIME},
};
use client::events::reference;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use kube::core::ObjectMeta;
use std::{collections::BTreeMap, sync::Arc};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Most addresses in one Endpoints object.
const MAX_ADDRESSES: usize = 1000;

/// What there is: the service, the pods it selects, its endpoints.
pub struct View {
    pub service: Option<Arc<Service>>,
    pub pods: Vec<Arc<Pod>>,
    pub endpoints: Option<Arc<Endpoints>>,
}

/// What to do now.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    let Some(service) = view.service.as_deref() else {
        let ours = |endpoints: &&Arc<Endpoints>| pods::labels(&endpoints.metadata).contains_key(MANAGED_BY);
        if let Some(endpoints) = view.endpoints.as_ref().filter(ours) {
            plan.write(Write::delete(&**endpoints, None));
        }
        return plan;
    };
    if !service_pods::has_selector(service) || service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let (subsets, cut) = subsets(service, &view.pods);
    let existing = view.endpoints.as_deref();
    let labels = labels(service);
    let mut annotations = existing.and_then(|e| e.metadata.annotations.clone()).unwrap_or_default();
    if cut {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    let same = existing.is_some_and(|existing| {
        let known = existing.subsets.as_deref().unwrap_or_default();
        known == subsets.as_slice()
            && pods::labels(&existing.metadata) == &labels
            && existing.metadata.annotations.clone().unwrap_or_default() == annotations
    });
    if same {
        return plan;
    }
    if let Some(time) = service_pods::trigger_time(service, &view.pods) {
        annotations.insert(TRIGGER_TIME.to_owned(), time);
    }
    let (namespace, name) = (service.metadata.namespace.clone(), service.metadata.name.clone());
    let mut metadata = existing
        .map_or_else(|| ObjectMeta { namespace, name, ..Default::default() }, |existing| existing.metadata.clone());
    metadata.labels = Some(labels);
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    let endpoints = Endpoints { metadata, subsets: Some(subsets).filter(|subsets| !subsets.is_empty()) };
    let about = reference(service);
    let key = client::Key::of(service);
    plan.write(if existing.is_some() {
        let message = format!("Failed to update endpoint {key}: {{error}}");
        Write::replace(&endpoints).told_failed(&about, "FailedToUpdateEndpoint", message)
    } else {
        let message = format!("Failed to create endpoint for service {key}: {{error}}");
        Write::create(&endpoints).told_failed(&about, "FailedToCreateEndpoint", message)
    });
    plan
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = pods::labels(&service.metadata).clone();
    labels.remove(HEADLESS);
    if service_pods::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    labels
}

type Ports = Vec<(Option<String>, i32, String, Option<String>)>;

fn ports(service: &Service, pod: &Pod) -> Ports {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let found = ports.filter_map(|port| {
        let number = service_pods::port(pod, port)?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some((port.name.clone().filter(|name| !name.is_empty()), number, protocol, port.app_protocol.clone()))
    });
    let mut ports: Ports = found.collect();
    ports.sort();
    ports
}

/// The subsets in a fixed order, and whether addresses were left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let spec = service.spec.clone().unwrap_or_default();
    let publish_all = spec.publish_not_ready_addresses == Some(true);
    let family = spec.ip_families.as_ref().and_then(|families| families.first()).map_or("IPv4", String::as_str);
    let portless = spec.ports.as_ref().is_none_or(|ports| ports.is_empty());
    // By ports: addresses that are ready, and those that are not.
    let mut groups: BTreeMap<Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let mut left = MAX_ADDRESSES;
    let mut cut = false;
    let mut candidates: Vec<_> = pods.iter().filter(|pod| service_pods::is_candidate(pod, publish_all)).collect();
    // If addresses must be left out, then ready ones last.
    candidates.sort_by_key(|pod| !pods::is_ready(pod));
    for pod in candidates {
        let ports = ports(service, pod);
        if ports.is_empty() && !portless {
            continue;
        }
        let of_family = |ip: &&str| ip.contains(':') == (family == "IPv6");
        let Some(ip) = service_pods::addresses(pod).find(of_family) else { continue };
        if left == 0 {
            cut = true;
            break;
        }
        left -= 1;
        let address = EndpointAddress {
            ip: ip.to_owned(),
            node_name: Some(pods::node(pod).to_owned()).filter(|node| !node.is_empty()),
            target_ref: Some(service_pods::target(pod)),
            hostname: service_pods::hostname(pod, service),
        };
        let group = groups.entry(ports).or_default();
        if publish_all || pods::is_ready(pod) { group.0.push(address) } else { group.1.push(address) }
    }
    (groups.into_iter().map(subset).collect(), cut)
}

fn subset((ports, (ready, not_ready)): (Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>))) -> EndpointSubset {
    let sorted = |mut addresses: Vec<EndpointAddress>| {
        addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        Some(addresses).filter(|addresses| !addresses.is_empty())
    };
    let port =
        |(name, port, protocol, app_protocol)| EndpointPort { name, port, protocol: Some(protocol), app_protocol };
    EndpointSubset {
        addresses: sorted(ready),
        not_ready_addresses: sorted(not_ready),
        ports: Some(ports.into_iter().map(port).collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    }
}
