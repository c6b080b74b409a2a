//! ServiceCIDR: ranges become ready, and stay as long as services have addresses of theirs.
//!
//! Watches ServiceCIDRs and IPAddresses.
mod plan;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use plan::View;
use std::sync::Arc;

struct Ranges {
    ranges: Cache<ServiceCIDR>,
    addresses: Cache<IPAddress>,
}

/// Start the ServiceCIDR controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let known = setup.cache::<ServiceCIDR>();
    let all = known.clone();
    // There are few ranges, and one that comes, changes or goes may free another.
    setup.follow(&known, move |old, new, add| {
        old.or(new).into_iter().for_each(|range| add(Key::of(range)));
        all.list().iter().for_each(|range| add(Key::of(&**range)));
    });
    let all = known.clone();
    let addresses = setup.watch_changes::<IPAddress>(move |old, new, add| {
        // An address that is taken changes nothing; one that is given back may let its range go.
        if old.is_some() && new.is_none() {
            let leaving = |range: &&Arc<ServiceCIDR>| range.metadata.deletion_timestamp.is_some();
            all.list().iter().filter(leaving).for_each(|range| add(Key::of(&**range)));
        }
    });
    Ok(Arc::new(Ranges { ranges: known, addresses }))
}

#[async_trait]
impl Controller for Ranges {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(range) = self.ranges.at(key) else { return Ok(Plan::nothing()) };
        let addresses = self.addresses.list();
        Ok(plan::plan(&View { range, ranges: self.ranges.list(), addresses }, now))
    }
}
