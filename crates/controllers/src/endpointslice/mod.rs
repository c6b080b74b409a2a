//! EndpointSlices: what stands behind a service, in pieces of at most `--max-endpoints-per-slice`.
//!
//! Watches services, pods, its own slices, and the zones of nodes.
pub mod pack;
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup},
    service_pods,
};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use plan::{MANAGED_BY, MANAGER, SERVICE_NAME, View, ZONE};
use std::sync::Arc;

const BY_SERVICE: &str = "service";

struct Slices {
    services: Cache<Service>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    slices: Cache<EndpointSlice>,
    max_endpoints: usize,
}

/// The service a slice of ours belongs to.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = pods::labels(&slice.metadata);
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let service = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service))
}

/// Start the EndpointSlice controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let services = setup.watch::<Service>();
    let pods = setup.watch_changes::<Pod>(service_pods::follow(&services));
    let slices = setup.watch_mapped::<EndpointSlice>(|slice, add| service_of(slice).into_iter().for_each(add));
    slices.add_index(BY_SERVICE, |slice| service_of(slice).into_iter().map(|key| key.to_string()).collect());
    let all = services.clone();
    let nodes = setup.watch_changes::<Node>(move |old, new, add| {
        let zone = |node: Option<&Node>| node.and_then(|node| pods::labels(&node.metadata).get(ZONE).cloned());
        if zone(old) != zone(new) {
            all.keys().into_iter().for_each(add);
        }
    });
    let max_endpoints = setup.flags.max_endpoints_per_slice.clamp(1, 1000);
    Ok(Arc::new(Slices { services, pods, nodes, slices, max_endpoints }))
}

#[async_trait]
impl Controller for Slices {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        // The slices of a service that is gone go with it, by their owner reference.
        let Some(service) = self.services.at(key) else { return Ok(Plan::nothing()) };
        let pods = service_pods::selected(&service, &self.pods);
        let zones = pods.iter().filter_map(|pod| {
            let node = self.nodes.get("", pods::node(pod))?;
            Some((pods::node(pod).to_owned(), pods::labels(&node.metadata).get(ZONE)?.clone()))
        });
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let view = View { service, zones: zones.collect(), slices, max_endpoints: self.max_endpoints, pods };
        Ok(plan::plan(&view))
    }
}
