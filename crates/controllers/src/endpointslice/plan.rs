//! What the EndpointSlices of a service are to be.
use super::pack::{self, Packed};
use crate::{
    pods,
    runtime::{Plan, Write, owners},
    service_pods::{self, HEADLESS, TRIGGER_TIME},
};
use client::{Key, events::reference};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone},
};
use kube::core::ObjectMeta;
use std::{collections::BTreeMap, sync::Arc};

pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// What there is: the service, the pods it selects, the zones of their nodes by name, its slices.
pub struct View {
    pub service: Arc<Service>,
    pub pods: Vec<Arc<Pod>>,
    pub zones: BTreeMap<String, String>,
    pub slices: Vec<Arc<EndpointSlice>>,
    pub max_endpoints: usize,
}

type Port = (String, i32, String, Option<String>);

/// What to do now.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    let service = &*view.service;
    if !service_pods::has_selector(service) || service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).filter(|f| !f.is_empty());
    let families = families.unwrap_or_else(|| vec!["IPv4".to_owned()]);
    for slice in view.slices.iter().filter(|slice| !families.contains(&slice.address_type)) {
        plan.write(Write::delete(&**slice, None));
    }
    for family in &families {
        plan_family(&mut plan, view, family);
    }
    plan
}

fn plan_family(plan: &mut Plan, view: &View, family: &str) {
    let mut groups = endpoints(view, family);
    let slices: Vec<_> = view.slices.iter().filter(|slice| slice.address_type == family).cloned().collect();
    let mut by_ports: BTreeMap<Vec<Port>, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        by_ports.entry(known_ports(&slice)).or_default().push(slice);
    }
    if groups.is_empty() {
        // An empty slice says that there is nothing, rather than that nobody has looked.
        groups.insert(Vec::new(), Vec::new());
    }
    let labels = labels(&view.service);
    let stale = |slice: &EndpointSlice| pods::labels(&slice.metadata) != &labels;
    let mut unused: Vec<Arc<EndpointSlice>> = Vec::new();
    let mut packs = Vec::new();
    for (ports, wanted) in groups {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        let placeholder = wanted.is_empty();
        let mut packed = pack::pack(&slices, wanted, view.max_endpoints, stale);
        if placeholder {
            keep_placeholder(&mut packed, stale);
        }
        unused.append(&mut packed.empty);
        packs.push((ports, packed));
    }
    unused.extend(by_ports.into_values().flatten());
    for (ports, packed) in packs {
        write(plan, view, family, &ports, packed, &labels, &mut unused);
    }
    for slice in unused {
        plan.write(Write::delete(&*slice, None));
    }
}

fn keep_placeholder(packed: &mut Packed, stale: impl Fn(&EndpointSlice) -> bool) {
    match packed.empty.pop() {
        Some(slice) if pack::endpoints_of(&slice).is_empty() && !stale(&slice) => packed.kept.push(slice),
        Some(slice) => packed.changed.push((slice, Vec::new())),
        None => packed.made.push(Vec::new()),
    }
}

fn write(
    plan: &mut Plan,
    view: &View,
    family: &str,
    ports: &[Port],
    packed: Packed,
    labels: &BTreeMap<String, String>,
    unused: &mut Vec<Arc<EndpointSlice>>,
) {
    let service = &*view.service;
    let about = reference(service);
    let key = Key::of(service);
    let trigger = service_pods::trigger_time(service, &view.pods);
    let make = |mut metadata: ObjectMeta, endpoints: Vec<Endpoint>| {
        metadata.labels = Some(labels.clone());
        if let Some(time) = &trigger {
            metadata.annotations.get_or_insert_default().insert(TRIGGER_TIME.to_owned(), time.clone());
        }
        let ports = ports.iter().map(|(name, port, protocol, app)| EndpointPort {
            name: Some(name.clone()),
            port: Some(*port),
            protocol: Some(protocol.clone()),
            app_protocol: app.clone(),
        });
        EndpointSlice {
            metadata,
            address_type: family.to_owned(),
            endpoints: Some(endpoints),
            ports: Some(ports.collect()),
        }
    };
    let update = |slice: &EndpointSlice, endpoints: Vec<Endpoint>| {
        let message = format!("Error updating Endpoint Slices for Service {key}: {{error}}");
        let slice = make(slice.metadata.clone(), endpoints);
        Write::replace(&slice).told_failed(&about, "FailedToUpdateEndpointSlices", message)
    };
    for (slice, endpoints) in packed.changed {
        plan.write(update(&slice, endpoints));
    }
    for endpoints in packed.made {
        // Rather than delete one slice and make another.
        if let Some(slice) = unused.pop() {
            plan.write(update(&slice, endpoints));
            continue;
        }
        let metadata = ObjectMeta {
            namespace: service.metadata.namespace.clone(),
            generate_name: Some(format!("{}-", key.name)),
            owner_references: Some(vec![owners::controller_reference(service)]),
            ..Default::default()
        };
        let message = format!("Error updating Endpoint Slices for Service {key}: {{error}}");
        let slice = make(metadata, endpoints);
        plan.write(Write::create(&slice).told_failed(&about, "FailedToUpdateEndpointSlices", message));
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = pods::labels(&service.metadata).clone();
    labels.remove(HEADLESS);
    if service_pods::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn known_ports(slice: &EndpointSlice) -> Vec<Port> {
    let port = |port: &EndpointPort| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        (port.name.clone().unwrap_or_default(), port.port.unwrap_or(0), protocol, port.app_protocol.clone())
    };
    let mut ports: Vec<Port> = slice.ports.iter().flatten().map(port).collect();
    ports.sort();
    ports
}

/// The endpoints of one address family, by the ports their pods have.
fn endpoints(view: &View, family: &str) -> BTreeMap<Vec<Port>, Vec<Endpoint>> {
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    let service = &*view.service;
    let spec = service.spec.clone().unwrap_or_default();
    for pod in view.pods.iter().filter(|pod| service_pods::is_candidate(pod, true)) {
        let of_family = |ip: &&str| ip.contains(':') == (family == "IPv6");
        let Some(ip) = service_pods::addresses(pod).find(of_family) else { continue };
        let found = spec.ports.iter().flatten().filter_map(|port| {
            let number = service_pods::port(pod, port)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((port.name.clone().unwrap_or_default(), number, protocol, port.app_protocol.clone()))
        });
        let mut ports: Vec<Port> = found.collect();
        ports.sort();
        groups.entry(ports).or_default().push(endpoint(view, pod, ip));
    }
    groups
}

fn endpoint(view: &View, pod: &Pod, ip: &str) -> Endpoint {
    let service = &*view.service;
    let spec = service.spec.as_ref();
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let publish_all = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let ready = publish_all || (serving && !terminating);
    let node = Some(pods::node(pod).to_owned()).filter(|node| !node.is_empty());
    let zone = node.as_ref().and_then(|node| view.zones.get(node)).cloned();
    let near = spec.and_then(|spec| spec.traffic_distribution.as_deref()).filter(|_| ready);
    Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: hints(near, zone.as_deref(), node.as_deref()),
        hostname: service_pods::hostname(pod, service),
        target_ref: Some(service_pods::target(pod)),
        node_name: node,
        zone,
        ..Default::default()
    }
}

/// Where traffic to an endpoint should come from (KEP-4444, KEP-3015).
fn hints(distribution: Option<&str>, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let zones = || zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let hints = match distribution? {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones: zones(), for_nodes: None },
        "PreferSameNode" => {
            let nodes = node.map(|node| vec![ForNode { name: node.to_owned() }]);
            EndpointHints { for_zones: zones(), for_nodes: nodes }
        }
        _ => return None,
    };
    (hints.for_zones.is_some() || hints.for_nodes.is_some()).then_some(hints)
}
