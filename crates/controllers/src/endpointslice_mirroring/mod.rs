//! Mirrors Endpoints that somebody maintains by hand into EndpointSlices, which is what proxies read.
//!
//! Watches Endpoints, their services, and its own slices. Services with a selector have slices made from pods.
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup},
};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use plan::{MANAGED_BY, MANAGER, SERVICE_NAME, View};
use std::sync::Arc;

const BY_SERVICE: &str = "mirrored";

struct Mirroring {
    endpoints: Cache<Endpoints>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    max_endpoints: usize,
}

/// The Endpoints a slice of ours mirrors.
fn source_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = pods::labels(&slice.metadata);
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let service = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service))
}

/// Start the EndpointSlice mirroring controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let endpoints = setup.watch::<Endpoints>();
    let services = setup.watch::<Service>();
    let slices = setup.watch_mapped::<EndpointSlice>(|slice, add| source_of(slice).into_iter().for_each(add));
    slices.add_index(BY_SERVICE, |slice| source_of(slice).into_iter().map(|key| key.to_string()).collect());
    let max_endpoints = setup.flags.mirroring_max_endpoints_per_subset.clamp(1, 1000);
    Ok(Arc::new(Mirroring { endpoints, services, slices, max_endpoints }))
}

#[async_trait]
impl Controller for Mirroring {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        Ok(plan::plan(&View {
            endpoints: self.endpoints.at(key),
            service: self.services.at(key),
            slices: self.slices.by_index(BY_SERVICE, &key.to_string()),
            max_endpoints: self.max_endpoints,
        }))
    }
}
