//! What does not fit between services, their `IPAddress` objects and the node ports recorded as used, and what
//! to do about it. Pure. Sources: `ipallocator/controller/repairip.go`, `portallocator/controller/repair.go`
//! (behaviour, and the texts of the events).
use super::{
    AddressRange,
    addresses::{FAMILY_LABEL, MANAGED_BY_LABEL, MANAGER, Owner, belongs_to, family},
    bitmap::Used,
    service,
};
use crate::PortRange;
use k8s_openapi::api::{core::v1::Service, networking::v1::IPAddress};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

/// An address without its service is left alone this long: the service may be about to be written.
const GRACE_SECONDS: i64 = 60;
/// Looks at a port without its service after which it is free.
pub const LOOKS_BEFORE_CLEANUP: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Create {
        owner: Owner,
        address: IpAddr,
    },
    /// Wrong in a way that only writing it anew mends.
    Recreate {
        owner: Owner,
        address: IpAddr,
    },
    Remove {
        name: String,
    },
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub about: About,
    pub reason: &'static str,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    Service(Owner),
    IpAddress(String),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub reports: Vec<Report>,
}

fn owner_of(service: &Service) -> Owner {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    Owner { namespace: text(&service.metadata.namespace), name: text(&service.metadata.name) }
}

fn label<'a>(address: &'a IPAddress, name: &str) -> &'a str {
    address.metadata.labels.as_ref().and_then(|l| l.get(name)).map(String::as_str).unwrap_or_default()
}

fn references_a_service(address: &IPAddress) -> bool {
    let parent = &address.spec.parent_ref;
    parent.group.as_deref().unwrap_or_default().is_empty() && parent.resource == "services"
}

/// `now`: seconds since the epoch.
pub fn addresses(services: &[Service], objects: &[IPAddress], ranges: &[AddressRange], now: i64) -> Plan {
    let mut plan = Plan::default();
    let by_owner: HashMap<Owner, &Service> = services.iter().map(|s| (owner_of(s), s)).collect();
    let by_name: HashMap<&str, &IPAddress> =
        objects.iter().filter_map(|o| Some((o.metadata.name.as_deref()?, o))).collect();
    for service in services {
        for address in service::claims(service).addresses {
            let name = address.to_string();
            service_address(&mut plan, service, address, by_name.get(name.as_str()).copied(), ranges, &by_owner);
        }
    }
    for object in objects.iter().filter(|o| label(o, MANAGED_BY_LABEL) == MANAGER) {
        orphan(&mut plan, object, &by_owner, now);
    }
    plan
}

fn service_address(
    plan: &mut Plan,
    service: &Service,
    address: IpAddr,
    object: Option<&IPAddress>,
    ranges: &[AddressRange],
    by_owner: &HashMap<Owner, &Service>,
) {
    let owner = owner_of(service);
    let family = family(address);
    let mut report = |reason, note| plan.reports.push(Report { about: About::Service(owner.clone()), reason, note });
    if !ranges.iter().any(|r| r.contains(address)) {
        let note = format!(
            "Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
        );
        return report("ClusterIPOutOfRange", note);
    }
    let Some(object) = object else {
        report("ClusterIPNotAllocated", format!("Cluster IP [{family}]: {address} is not allocated; repairing"));
        return plan.steps.push(Step::Create { owner, address });
    };
    if !belongs_to(object, &owner) {
        let parent = &object.spec.parent_ref;
        let namespace = parent.namespace.clone().unwrap_or_default();
        let other = Owner { namespace, name: parent.name.clone() };
        let other = by_owner.get(&other).filter(|_| references_a_service(object));
        let shared = other.is_some_and(|o| service::claims(o).addresses.contains(&address));
        let Owner { namespace, name } = &owner;
        if shared {
            let note =
                format!("Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service");
            return report("ClusterIPAlreadyAllocated", note);
        }
        let note = format!(
            "the ClusterIP [{family}]: {address} for Service {namespace}/{name} has a wrong reference; repairing"
        );
        report("ClusterIPNotAllocated", note);
        return plan.steps.push(Step::Recreate { owner, address });
    }
    if label(object, FAMILY_LABEL) != family || label(object, MANAGED_BY_LABEL) != MANAGER {
        plan.steps.push(Step::Recreate { owner, address });
    }
}

/// An object the allocator made for a service that does not have the address.
fn orphan(plan: &mut Plan, object: &IPAddress, by_owner: &HashMap<Owner, &Service>, now: i64) {
    let name = object.metadata.name.clone().unwrap_or_default();
    let parent = &object.spec.parent_ref;
    let owner = Owner { namespace: parent.namespace.clone().unwrap_or_default(), name: parent.name.clone() };
    let whose = format!("{}/{}", owner.namespace, owner.name);
    let (reason, note) = if !references_a_service(object) {
        let resource = &parent.resource;
        let note = format!(
            "IPAddress {name} appears to have been modified, not referencing a Service {resource} {whose}: cleaning up"
        );
        ("IPAddressNotAllocated", note)
    } else if let Some(service) = by_owner.get(&owner) {
        let has = name.parse().is_ok_and(|a| service::claims(service).addresses.contains(&a));
        // One that is written anew anyway is not removed as well.
        if has {
            return;
        }
        let note = format!("IPAddress: {name} for Service {whose} has a wrong reference; cleaning up");
        ("IPAddressWrongReference", note)
    } else {
        let made = object.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second());
        if now - made <= GRACE_SECONDS {
            return;
        }
        ("IPAddressNotAllocated", format!("IPAddress: {name} for Service {whose} appears to have leaked: cleaning up"))
    };
    let rewritten = |s: &Step| matches!(s, Step::Recreate { address, .. } if address.to_string() == name);
    if !plan.steps.iter().any(rewritten) {
        plan.reports.push(Report { about: About::IpAddress(name.clone()), reason, note });
        plan.steps.push(Step::Remove { name });
    }
}

/// What should be recorded as used. `leaks` counts the looks left for ports nobody seems to have.
pub fn ports(
    services: &[Service],
    stored: &Used,
    range: PortRange,
    leaks: &mut BTreeMap<u16, u32>,
) -> (Used, Vec<Report>) {
    let mut used = Used::new();
    let mut reports = Vec::new();
    for service in services {
        let mut report = |reason, note| {
            reports.push(Report { about: About::Service(owner_of(service)), reason, note });
        };
        for port in service::claims(service).ports {
            if !range.contains(port.into()) {
                let note = format!("Port {port} is not within the port range {range}; please recreate service");
                report("PortOutOfRange", note);
            } else if !used.insert(port) {
                let note = format!("Port {port} was assigned to multiple services; please recreate service");
                report("PortAlreadyAllocated", note);
            } else {
                leaks.remove(&port);
                if !stored.contains(&port) {
                    report("PortNotAllocated", format!("Port {port} is not allocated; repairing"));
                }
            }
        }
    }
    leaks.retain(|port, _| stored.contains(port));
    for port in stored.iter().copied().filter(|p| range.contains((*p).into())) {
        if used.contains(&port) {
            continue;
        }
        let left = leaks.entry(port).or_insert(LOOKS_BEFORE_CLEANUP - 1);
        if *left > 0 {
            *left -= 1;
            used.insert(port);
        } else {
            tracing::warn!(port, "the node port appears to have leaked: cleaning up");
            leaks.remove(&port);
        }
    }
    (used, reports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, address: &str, port: u16) -> Service {
        let spec = json!({"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 1, "nodePort": port}]});
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec})).expect("a service")
    }

    fn object(address: &str, service: &str) -> IPAddress {
        serde_json::from_value(json!({
            "metadata": {"name": address, "creationTimestamp": "1970-01-01T00:00:10Z",
                "labels": {FAMILY_LABEL: "IPv4", MANAGED_BY_LABEL: MANAGER}},
            "spec": {"parentRef": {"resource": "services", "namespace": "ns", "name": service}},
        }))
        .expect("an address")
    }

    fn check(services: &[Service], objects: &[IPAddress], now: i64, want: &[&str]) {
        let ranges = [AddressRange::parse("10.0.0.0/24").expect("a range")];
        let plan = addresses(services, objects, &ranges, now);
        let step = |s: &Step| match s {
            Step::Create { owner, address } => format!("create {address} for {}", owner.name),
            Step::Recreate { owner, address } => format!("recreate {address} for {}", owner.name),
            Step::Remove { name } => format!("remove {name}"),
        };
        let mut got: Vec<String> = plan.steps.iter().map(step).collect();
        got.extend(plan.reports.iter().map(|r| r.reason.to_owned()));
        assert_eq!(got, want);
    }

    #[test]
    fn services_and_addresses_are_made_to_agree() {
        let a = || service("a", "10.0.0.5", 0);
        check(&[a()], &[object("10.0.0.5", "a")], 1000, &[]);
        check(&[a()], &[], 1000, &["create 10.0.0.5 for a", "ClusterIPNotAllocated"]);
        check(&[service("a", "None", 0)], &[], 1000, &[]);
        check(&[service("a", "192.168.0.1", 0)], &[], 1000, &["ClusterIPOutOfRange"]);
        let wrong = [object("10.0.0.5", "gone")];
        check(&[a()], &wrong, 1000, &["recreate 10.0.0.5 for a", "ClusterIPNotAllocated"]);
        let twice = [a(), service("b", "10.0.0.5", 0)];
        check(&twice, &[object("10.0.0.5", "a")], 1000, &["ClusterIPAlreadyAllocated"]);
        let mut unlabelled = object("10.0.0.5", "a");
        unlabelled.metadata.labels = None;
        check(&[a()], &[unlabelled], 1000, &["recreate 10.0.0.5 for a"]);
    }

    #[test]
    fn addresses_without_a_service_are_removed_in_time() {
        check(&[], &[object("10.0.0.5", "a")], 70, &[]);
        check(&[], &[object("10.0.0.5", "a")], 71, &["remove 10.0.0.5", "IPAddressNotAllocated"]);
        let other = [service("a", "None", 0)];
        check(&other, &[object("10.0.0.5", "a")], 0, &["remove 10.0.0.5", "IPAddressWrongReference"]);
        let mut foreign = object("10.0.0.5", "a");
        foreign.metadata.labels = None;
        check(&[], &[foreign], 1000, &[]);
    }

    #[test]
    fn ports_are_freed_at_the_third_look_without_a_service() {
        let range = PortRange { first: 30000, last: 30010 };
        let services = [service("a", "None", 30001), service("b", "None", 30001), service("c", "None", 80)];
        let mut leaks = BTreeMap::new();
        let mut stored: Used = [30005].into_iter().collect();
        let (used, reports) = ports(&services, &stored, range, &mut leaks);
        assert_eq!(used, [30001, 30005].into_iter().collect());
        let reasons: Vec<_> = reports.iter().map(|r| r.reason).collect();
        assert_eq!(reasons, ["PortNotAllocated", "PortAlreadyAllocated", "PortOutOfRange"]);
        stored = used;
        let (used, _) = ports(&services, &stored, range, &mut leaks);
        assert!(used.contains(&30005));
        let (used, _) = ports(&services, &used, range, &mut leaks);
        assert_eq!(used, [30001].into_iter().collect());
        assert!(leaks.is_empty());
    }
}
