//! Cluster IPs and node ports of services.
//!
//! What is taken is recorded in the store, where every API server of the cluster sees it: an address is taken
//! by creating its `IPAddress` object, a node port by a compare-and-set on the range's bitmap. Both are taken
//! before the service is written and given back when it is known not to have been; what a crash or an unknown
//! outcome leaves behind, [`repair`] finds. Sources: KEP-1880, `pkg/registry/core/service` (behaviour).
mod addresses;
pub mod bitmap;
mod ports;
mod ranges;
pub mod repair;
mod repair_plan;
mod service;

pub use ranges::AddressRange;

use crate::{PortRange, registry::Registry};
use addresses::{Addresses, Owner};
use apimachinery::ApiError;
use k8s_openapi::api::core::v1::Service;
use ports::Ports;
use std::{net::IpAddr, sync::Arc};
use storage::Backend;

pub struct ServiceAllocators {
    addresses: Addresses,
    ports: Ports,
    registry: Arc<Registry>,
}

/// What one service holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<u16>,
}

impl Claims {
    /// What is here and not there.
    fn without(&self, other: &Claims) -> Claims {
        Claims {
            addresses: self.addresses.iter().filter(|a| !other.addresses.contains(a)).copied().collect(),
            ports: self.ports.iter().filter(|p| !other.ports.contains(p)).copied().collect(),
        }
    }
}

/// What was taken for a write that has not happened yet.
pub struct Reservation {
    allocators: Arc<ServiceAllocators>,
    owner: Owner,
    /// Taken for this write: given back when it does not happen.
    taken: Claims,
    /// No longer wanted: given back when it does.
    dropped: Claims,
}

/// What became of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stored,
    Refused,
    /// It may have happened: nothing is given back, the repair looks later.
    Unknown,
}

impl Reservation {
    pub async fn settle(self, outcome: Outcome) {
        let claims = match outcome {
            Outcome::Stored => &self.dropped,
            Outcome::Refused => &self.taken,
            Outcome::Unknown => return,
        };
        self.allocators.release(&self.owner, claims).await;
    }
}

impl ServiceAllocators {
    /// `configured` are the ranges of the flags; the first is the cluster's primary family.
    ///
    /// # Errors
    /// A kind this needs is not served.
    pub fn new(
        registry: Arc<Registry>,
        backend: Arc<dyn Backend>,
        root: &str,
        configured: Vec<AddressRange>,
        ports: PortRange,
    ) -> Result<Self, crate::Error> {
        let addresses = Addresses::new(&registry, configured)?;
        Ok(ServiceAllocators { addresses, ports: Ports::new(backend, root, ports), registry })
    }

    /// Fill in what the service needs and does not have yet. With `dry_run` nothing is taken.
    ///
    /// # Errors
    /// `Invalid` when what it asks for is taken or out of range, 500 when nothing is left.
    pub async fn allocate(
        self: &Arc<Self>,
        service: &mut Service,
        namespace: &str,
        old: Option<&Service>,
        dry_run: bool,
    ) -> Result<Reservation, ApiError> {
        let name = service.metadata.name.clone().unwrap_or_default();
        let owner = Owner { namespace: namespace.to_owned(), name };
        let held = old.map(service::claims).unwrap_or_default();
        let mut taken = Claims::default();
        let filled = service::fill(self, &owner, service, old, &mut taken, dry_run).await;
        if dry_run {
            taken = Claims::default();
        }
        if let Err(error) = filled {
            self.release(&owner, &taken).await;
            return Err(error);
        }
        let dropped = if dry_run { Claims::default() } else { held.without(&service::claims(service)) };
        Ok(Reservation { allocators: self.clone(), owner, taken, dropped })
    }

    /// Gives back what a service held that is gone.
    pub async fn removed(&self, service: &Service) {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let owner = Owner { namespace: text(&service.metadata.namespace), name: text(&service.metadata.name) };
        self.release(&owner, &service::claims(service)).await;
    }

    /// What cannot be given back now is found by the repair.
    async fn release(&self, owner: &Owner, claims: &Claims) {
        for address in &claims.addresses {
            if let Err(error) = self.addresses.release(owner, *address).await {
                tracing::warn!(%address, %error, "a service's address could not be given back");
            }
        }
        if claims.ports.is_empty() {
            return;
        }
        let release = |used: &mut bitmap::Used| {
            claims.ports.iter().for_each(|port| {
                used.remove(port);
            });
            Ok(())
        };
        if let Err(error) = self.ports.change(false, release).await {
            tracing::warn!(?claims.ports, %error, "node ports could not be given back");
        }
    }
}
