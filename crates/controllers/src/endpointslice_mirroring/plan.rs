//! What the slices that mirror an Endpoints object are to be: one set for each of its ports and address families.
use crate::{
    endpointslice::pack,
    pods,
    runtime::{Plan, Write, owners},
    service_pods::TRIGGER_TIME,
};
use client::{Key, events::reference};
use k8s_openapi::api::{
    core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
};
use kube::core::ObjectMeta;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints with it are a lock of leader election.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What there is: the Endpoints, the service of the same name, and the slices that mirror the former.
pub struct View {
    pub endpoints: Option<Arc<Endpoints>>,
    pub service: Option<Arc<Service>>,
    pub slices: Vec<Arc<EndpointSlice>>,
    pub max_endpoints: usize,
}

/// Name, number, protocol, application protocol.
type Port = (String, i32, String, Option<String>);
type Group = (String, Vec<Port>);

/// What to do now.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    let Some(endpoints) = view.endpoints.as_deref().filter(|endpoints| is_mirrored(endpoints, view)) else {
        view.slices.iter().for_each(|slice| plan.write(Write::delete(&**slice, None)));
        return plan;
    };
    let mut wanted: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    let (mut invalid, mut skipped) = (0, 0);
    for subset in endpoints.subsets.iter().flatten() {
        gather(&mut wanted, subset, view.max_endpoints, &mut invalid, &mut skipped);
    }
    let about = reference(endpoints);
    if invalid > 0 {
        let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        plan.warning(&about, "InvalidIPAddress", message);
    }
    if skipped > 0 {
        let message = format!(
            "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped",
            view.max_endpoints
        );
        plan.warning(&about, "TooManyAddressesToMirror", message);
    }
    let mut known: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in &view.slices {
        known.entry((slice.address_type.clone(), ports_of(slice))).or_default().push(slice.clone());
    }
    let mut unused: Vec<Arc<EndpointSlice>> = Vec::new();
    for (group, wanted) in wanted {
        let slices = known.remove(&group).unwrap_or_default();
        let stale = |slice: &EndpointSlice| {
            let meta = metadata(endpoints);
            slice.metadata.labels != meta.labels
                || slice.metadata.annotations.clone().unwrap_or_default() != meta.annotations.unwrap_or_default()
        };
        let packed = pack::pack(&slices, wanted, view.max_endpoints, stale);
        for (slice, content) in packed.changed {
            plan.write(write(endpoints, &group, content, Some(&slice)));
        }
        for content in packed.made {
            plan.write(write(endpoints, &group, content, None));
        }
        unused.extend(packed.empty);
    }
    unused.extend(known.into_values().flatten());
    unused.iter().for_each(|slice| plan.write(Write::delete(&**slice, None)));
    plan
}

fn is_mirrored(endpoints: &Endpoints, view: &View) -> bool {
    let opted_out = pods::labels(&endpoints.metadata).get(SKIP).is_some_and(|skip| skip == "true");
    let is_lock = endpoints.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(LEADER));
    let service = view.service.as_ref().and_then(|service| service.spec.as_ref());
    let is_by_hand = service.is_some_and(|spec| spec.selector.as_ref().is_none_or(BTreeMap::is_empty));
    !opted_out && !is_lock && is_by_hand && endpoints.metadata.deletion_timestamp.is_none()
}

fn gather(
    wanted: &mut BTreeMap<Group, Vec<Endpoint>>,
    subset: &EndpointSubset,
    max: usize,
    invalid: &mut usize,
    skipped: &mut usize,
) {
    let ports = subset.ports.iter().flatten().map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        (port.name.clone().unwrap_or_default(), port.port, protocol, port.app_protocol.clone())
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let all = ready.chain(subset.not_ready_addresses.iter().flatten().map(|address| (address, false)));
    let (mut taken, mut seen) = (0, BTreeSet::new());
    for (address, ready) in all {
        let Ok(ip) = address.ip.parse::<IpAddr>() else {
            *invalid += 1;
            continue;
        };
        if taken == max {
            *skipped += 1;
            continue;
        }
        if !seen.insert(address.ip.as_str()) {
            continue;
        }
        taken += 1;
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        wanted.entry((family.to_owned(), ports.clone())).or_default().push(endpoint(address, ready));
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        ..Default::default()
    }
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let ports = slice.ports.iter().flatten().map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        (port.name.clone().unwrap_or_default(), port.port.unwrap_or(0), protocol, port.app_protocol.clone())
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    ports
}

/// The labels and annotations of a mirroring slice.
fn metadata(endpoints: &Endpoints) -> ObjectMeta {
    let mut labels = pods::labels(&endpoints.metadata).clone();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| name != TRIGGER_TIME && name != LAST_APPLIED);
    let annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    ObjectMeta { labels: Some(labels), annotations, ..Default::default() }
}

fn write(
    endpoints: &Endpoints,
    (family, ports): &Group,
    content: Vec<Endpoint>,
    existing: Option<&EndpointSlice>,
) -> Write {
    let key = Key::of(endpoints);
    let ObjectMeta { labels, annotations, .. } = metadata(endpoints);
    let base = existing.map_or_else(
        || ObjectMeta {
            namespace: endpoints.metadata.namespace.clone(),
            generate_name: Some(format!("{}-", key.name)),
            owner_references: Some(vec![owners::controller_reference(endpoints)]),
            ..Default::default()
        },
        |slice| slice.metadata.clone(),
    );
    let ports = ports.iter().map(|(name, port, protocol, app)| EndpointPort {
        name: Some(name.clone()),
        port: Some(*port),
        protocol: Some(protocol.clone()),
        app_protocol: app.clone(),
    });
    let slice = EndpointSlice {
        metadata: ObjectMeta { labels, annotations, ..base },
        address_type: family.clone(),
        endpoints: Some(content),
        ports: Some(ports.collect()),
    };
    let write = if existing.is_some() { Write::replace(&slice) } else { Write::create(&slice) };
    let message = format!("Error updating Endpoint Slices for Endpoints {key}: {{error}}");
    write.told_failed(&reference(endpoints), "FailedToUpdateEndpointSlices", message)
}
