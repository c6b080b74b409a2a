//! Ranges and addresses in, plans out.
use super::plan::{View, plan};
use crate::fixtures::{now, objects};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use std::sync::Arc;

const LEAVING: &str = "finalizers: [networking.k8s.io/service-cidr-finalizer], deletionTimestamp:";
const READY: &str = "status: {conditions: [{type: Ready, status: 'True', reason: '', message: '', lastTransitionTime: '2025-12-31T00:00:00Z'}]}";

/// The plan for the first of `ranges`.
fn planned(ranges: &str, addresses: &str) -> String {
    let ranges: Vec<Arc<ServiceCIDR>> = objects(ranges);
    let addresses = addresses.split_whitespace().map(|ip| {
        format!("metadata: {{name: '{ip}', labels: {{ipaddress.kubernetes.io/managed-by: ipallocator.k8s.io}}}}")
    });
    let addresses: Vec<Arc<IPAddress>> = objects(&addresses.collect::<Vec<_>>().join("\n---\n"));
    plan(&View { range: ranges[0].clone(), ranges, addresses }, now()).to_string()
}

fn range(name: &str, meta: &str, cidrs: &str) -> String {
    format!("metadata: {{name: {name}, uid: u, {meta}}}\nspec: {{cidrs: [{cidrs}]}}\n{READY}\n---\n")
}

#[test]
fn a_new_range_is_protected_and_becomes_ready() {
    insta::assert_snapshot!(planned("metadata: {name: a, uid: u}\nspec: {cidrs: [10.1.0.0/24]}", ""), @r#"
    patch ServiceCIDR a {"metadata":{"finalizers":["networking.k8s.io/service-cidr-finalizer"],"uid":"u"}}
    patch ServiceCIDR a/status {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubernetes Service CIDR is ready","reason":"","status":"True","type":"Ready"}]}}
    "#);
    assert_eq!(planned(&range("a", "finalizers: [networking.k8s.io/service-cidr-finalizer]", "10.1.0.0/24"), ""), "");
}

#[test]
fn a_range_in_use_stays() {
    let leaving = range("a", &format!("{LEAVING} '2025-12-31T23:00:00Z'"), "10.1.0.0/24");
    insta::assert_snapshot!(planned(&leaving, "10.9.9.9 10.1.0.7"), @r#"patch ServiceCIDR a/status {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR","reason":"Terminating","status":"False","type":"Ready"}]}}"#);
    let gone = r#"patch ServiceCIDR a {"metadata":{"$deleteFromPrimitiveList/finalizers":["networking.k8s.io/service-cidr-finalizer"],"uid":"u"}}"#;
    assert_eq!(planned(&leaving, "10.9.9.9").trim(), gone);
    let wider = format!("{leaving}{}", range("b", "", "10.1.0.0/16"));
    assert_eq!(planned(&wider, "10.1.0.7").trim(), gone, "another range has the address as well");
    let halves = format!("{leaving}{}", range("b", "", "10.1.0.0/25"));
    assert_eq!(planned(&halves, "10.1.0.7").trim(), gone);
    assert!(planned(&halves, "10.1.0.200").contains("Terminating"));
    let both_go = format!("{leaving}{}", range("b", &format!("{LEAVING} '2025-12-31T23:00:00Z'"), "10.1.0.0/16"));
    assert!(planned(&both_go, "10.1.0.7").contains("Terminating"));
}

#[test]
fn allocators_get_time_to_hear_of_it() {
    let leaving = range("a", &format!("{LEAVING} '2025-12-31T23:59:57Z'"), "10.1.0.0/24");
    assert_eq!(planned(&leaving, ""), "again in 7s\n");
}
