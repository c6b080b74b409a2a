//! What is to be done about a ServiceCIDR (KEP-1880).
use crate::{
    nodeipam::ranges::Network,
    runtime::{Plan, Write},
};
use client::Key;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc, time::Duration};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
const STILL_USED: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
/// Until then the allocators may not have heard that they are not to take addresses of the range any more.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// What there is: the range, all ranges, all addresses.
pub struct View {
    pub range: Arc<ServiceCIDR>,
    pub ranges: Vec<Arc<ServiceCIDR>>,
    pub addresses: Vec<Arc<IPAddress>>,
}

fn networks(range: &ServiceCIDR) -> impl Iterator<Item = Network> {
    let texts = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| text.parse().ok())
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let range = &*view.range;
    let protected = range.metadata.finalizers.iter().flatten().any(|known| known == FINALIZER);
    if let Some(began) = &range.metadata.deletion_timestamp {
        if !protected {
            return plan;
        }
        if !may_go(view) {
            set_ready(&mut plan, range, ("False", "Terminating", STILL_USED), now);
            return plan;
        }
        match Duration::try_from(GRACE - now.duration_since(began.0)) {
            Ok(left) if !left.is_zero() => plan.again_in(left),
            _ => plan.write(finalizer(range, "$deleteFromPrimitiveList/finalizers")),
        }
        return plan;
    }
    if !protected {
        plan.write(finalizer(range, "finalizers"));
    }
    if ready_status(range).is_none_or(|(status, _)| status != "True") {
        set_ready(&mut plan, range, ("True", "", "Kubernetes Service CIDR is ready"), now);
    }
    plan
}

fn finalizer(range: &ServiceCIDR, field: &str) -> Write {
    let mut metadata = json!({ "uid": range.metadata.uid });
    metadata[field] = json!([FINALIZER]);
    Write::strategic::<ServiceCIDR>(Key::of(range), json!({ "metadata": metadata })).or_gone()
}

/// Status and reason of the condition `Ready`.
fn ready_status(range: &ServiceCIDR) -> Option<(&str, &str)> {
    let mut conditions = range.status.as_ref()?.conditions.as_ref()?.iter();
    conditions.find(|c| c.type_ == "Ready").map(|c| (c.status.as_str(), c.reason.as_str()))
}

fn set_ready(plan: &mut Plan, range: &ServiceCIDR, (status, reason, message): (&str, &str, &str), now: Timestamp) {
    if ready_status(range) == Some((status, reason)) {
        return;
    }
    let condition: Value = json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": apimachinery::time::rfc3339(now),
    });
    let patch = json!({ "status": { "conditions": [condition] } });
    plan.write(Write::strategic::<ServiceCIDR>(Key::of(range), patch).at("status").or_gone());
}

/// Every address that services have of the range is in another one as well, that stays.
fn may_go(view: &View) -> bool {
    let name = &view.range.metadata.name;
    let staying =
        |other: &&Arc<ServiceCIDR>| other.metadata.name != *name && other.metadata.deletion_timestamp.is_none();
    let others: Vec<Network> = view.ranges.iter().filter(staying).flat_map(|other| networks(other)).collect();
    let own: Vec<Network> =
        networks(&view.range).filter(|own| !others.iter().any(|other| other.covers(*own))).collect();
    let allocated = |address: &&Arc<IPAddress>| {
        address.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == ALLOCATOR)
    };
    let of_own = |ip: IpAddr| own.iter().any(|own| own.contains(ip)) && !others.iter().any(|other| other.contains(ip));
    !view
        .addresses
        .iter()
        .filter(allocated)
        .filter_map(|address| address.metadata.name.as_ref()?.parse().ok())
        .any(of_own)
}
