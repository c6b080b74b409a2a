//! Endpoints: the older form of what stands behind a service, one object a service.
//!
//! Watches services and pods. Endpoints of services without a selector are their owner's business.
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    runtime::{Controller, Failure, Plan, Setup},
    service_pods,
};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use plan::View;
use std::sync::Arc;

struct EndpointsOfServices {
    services: Cache<Service>,
    pods: Cache<Pod>,
    endpoints: Cache<Endpoints>,
}

/// Start the endpoints controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let services = setup.watch::<Service>();
    let pods = setup.watch_changes::<Pod>(service_pods::follow(&services));
    // Somebody else's changes are set right; our own find nothing to do.
    let endpoints = setup.watch::<Endpoints>();
    Ok(Arc::new(EndpointsOfServices { services, pods, endpoints }))
}

#[async_trait]
impl Controller for EndpointsOfServices {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let service = self.services.at(key);
        let pods = service.as_ref().map(|service| service_pods::selected(service, &self.pods)).unwrap_or_default();
        Ok(plan::plan(&View { service, pods, endpoints: self.endpoints.at(key) }))
    }
}
