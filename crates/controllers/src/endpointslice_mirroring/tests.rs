//! Endpoints in, plans out.
use super::plan::{View, plan};
use crate::{
    fixtures::object,
    runtime::plan::{Step, Verb},
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;

const SERVICE: &str = "metadata: {name: db, namespace: default}\nspec: {ports: [{port: 80}]}";
const ENDPOINTS: &str = "metadata: {name: db, namespace: default, uid: e, labels: {tier: back}, annotations: {endpoints.kubernetes.io/last-change-trigger-time: x, note: kept}}\n\
    subsets: [{addresses: [{ip: 10.0.0.1}, {ip: 'fd00::1'}, {ip: nonsense}], notReadyAddresses: [{ip: 10.0.0.2, hostname: b}], ports: [{name: pg, port: 5432, protocol: TCP}]}]";

fn view(endpoints: &str, service: &str, slices: Vec<Arc<EndpointSlice>>) -> View {
    View { endpoints: Some(object(endpoints)), service: Some(object(service)), slices, max_endpoints: 1000 }
}

fn slices(view: &View) -> Vec<Arc<EndpointSlice>> {
    let writes = plan(view).steps.into_iter().filter_map(|step| match step {
        Step::Write(write) if write.verb != Verb::Delete => serde_json::from_value(write.body).ok().map(Arc::new),
        _ => None,
    });
    writes.collect()
}

#[test]
fn each_address_family_has_a_slice() {
    let view = view(ENDPOINTS, SERVICE, Vec::new());
    let made = slices(&view);
    let addresses: Vec<(&str, Vec<String>)> = made
        .iter()
        .map(|slice| {
            let endpoints = slice.endpoints.iter().flatten();
            let text = |e: &k8s_openapi::api::discovery::v1::Endpoint| {
                format!("{} {:?}", e.addresses[0], e.conditions.as_ref().and_then(|c| c.ready))
            };
            (slice.address_type.as_str(), endpoints.map(text).collect())
        })
        .collect();
    let four = vec!["10.0.0.1 Some(true)".to_owned(), "10.0.0.2 Some(false)".to_owned()];
    assert_eq!(addresses, [("IPv4", four), ("IPv6", vec!["fd00::1 Some(true)".to_owned()])]);
    assert!(plan(&view).to_string().contains("Skipped 1 invalid IP addresses"));
    let meta = &made[0].metadata;
    assert_eq!(meta.labels.as_ref().map(|labels| labels["tier"].as_str()), Some("back"));
    assert_eq!(
        meta.annotations.as_ref().map(|all| all.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["note".to_owned()])
    );
    assert_eq!(meta.generate_name.as_deref(), Some("db-"));
}

#[test]
fn what_is_mirrored_stays_and_what_is_not_goes() {
    let made = slices(&view(ENDPOINTS, SERVICE, Vec::new()));
    assert!(slices(&view(ENDPOINTS, SERVICE, made.clone())).is_empty(), "nothing changed");
    let selecting = SERVICE.replace("{ports", "{selector: {app: db}, ports");
    let skipping = ENDPOINTS.replace("tier: back", "endpointslice.kubernetes.io/skip-mirror: 'true'");
    let empty = &ENDPOINTS[..ENDPOINTS.find("subsets").expect("subsets")];
    for (endpoints, service) in [(ENDPOINTS, selecting.as_str()), (&skipping, SERVICE), (empty, SERVICE)] {
        let text = plan(&view(endpoints, service, made.clone())).to_string();
        assert_eq!(text.matches("delete EndpointSlice").count(), 2, "{text}");
    }
}
