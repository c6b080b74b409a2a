//! Cluster IPs and node ports of services.
//!
//! The stored services are the only record of what is taken, so a crash can leave nothing allocated and
//! unused: the maps here follow the services' watch cache and can be dropped at any time. Between choosing
//! and storing, a reservation keeps others away; two services never get the same address or port.
mod ranges;
mod service;

pub use ranges::AddressRange;

use crate::PortRange;
use apimachinery::ApiError;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Service;
use parking_lot::Mutex;
use serde::Deserialize;
use std::{collections::HashMap, net::IpAddr, sync::Arc};
use storage::cache::{Cache, EventKind, Filter, Watcher};

pub struct ServiceAllocators {
    state: Arc<Mutex<State>>,
    /// The first is the cluster's primary family.
    pub(crate) ranges: Vec<AddressRange>,
    pub(crate) ports: PortRange,
}

/// What one service holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<u16>,
}

#[derive(Default)]
pub(crate) struct State {
    watcher: Option<Watcher>,
    claims: HashMap<Arc<str>, Claims>,
    /// Counted, because a stored claim and a reservation of the same service overlap for a moment.
    addresses: HashMap<IpAddr, u32>,
    ports: HashMap<u16, u32>,
}

#[derive(Deserialize)]
struct StoredService {
    spec: StoredSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StoredSpec {
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    health_check_node_port: u16,
    ports: Vec<StoredPort>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StoredPort {
    node_port: u16,
}

impl Claims {
    fn of_json(json: &[u8]) -> Self {
        let Ok(StoredService { spec }) = serde_json::from_slice(json) else { return Claims::default() };
        let texts = spec.cluster_ips.iter().chain(std::iter::once(&spec.cluster_ip));
        let mut claims = Claims::default();
        for address in texts.filter_map(|t| t.parse().ok()) {
            if !claims.addresses.contains(&address) {
                claims.addresses.push(address);
            }
        }
        for port in spec.ports.iter().map(|p| p.node_port).chain([spec.health_check_node_port]) {
            if port != 0 && !claims.ports.contains(&port) {
                claims.ports.push(port);
            }
        }
        claims
    }
}

impl State {
    /// Follow the cache up to now.
    fn catch_up(&mut self, cache: &Arc<Cache>) -> Result<(), ApiError> {
        loop {
            if let Some(watcher) = &mut self.watcher {
                match watcher.next().now_or_never() {
                    None => return Ok(()),
                    Some(Some(batch)) => {
                        for event in batch {
                            let claims = match event.kind {
                                EventKind::Deleted => Claims::default(),
                                _ => Claims::of_json(&event.entry.json),
                            };
                            self.set(&event.entry.key, claims);
                        }
                        continue;
                    }
                    Some(None) => {}
                }
            }
            let snapshot = cache.snapshot();
            let watcher = cache.watch(snapshot.revision(), Filter::prefix("/")).map_err(crate::store::unavailable)?;
            self.watcher = Some(watcher);
            for key in self.claims.keys().cloned().collect::<Vec<_>>() {
                self.set(&key, Claims::default());
            }
            for entry in snapshot.iter("/") {
                self.set(&entry.key, Claims::of_json(&entry.json));
            }
        }
    }

    fn set(&mut self, key: &Arc<str>, claims: Claims) {
        self.hold(&claims);
        let before =
            if claims == Claims::default() { self.claims.remove(key) } else { self.claims.insert(key.clone(), claims) };
        if let Some(before) = before {
            self.release(&before);
        }
    }

    pub(crate) fn hold(&mut self, claims: &Claims) {
        for address in &claims.addresses {
            *self.addresses.entry(*address).or_default() += 1;
        }
        for port in &claims.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    pub(crate) fn release(&mut self, claims: &Claims) {
        for address in &claims.addresses {
            if let Some(count) = self.addresses.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.addresses.remove(address);
                }
            }
        }
        for port in &claims.ports {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports.remove(port);
                }
            }
        }
    }

    pub(crate) fn address_taken(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    pub(crate) fn port_taken(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }
}

/// What was chosen for a service that is not stored yet.
pub struct Reservation {
    state: Arc<Mutex<State>>,
    key: Arc<str>,
    /// Chosen by this request.
    new: Claims,
    /// All the service will hold once stored.
    all: Claims,
    settled: bool,
}

impl Reservation {
    /// Give the reservation up, or turn it into a claim.
    pub fn settle(mut self, stored: bool) {
        self.settled = true;
        let mut state = self.state.lock();
        if stored {
            let all = std::mem::take(&mut self.all);
            let key = self.key.clone();
            state.set(&key, all);
        }
        state.release(&self.new);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.state.lock().release(&self.new);
        }
    }
}

impl ServiceAllocators {
    pub fn new(ranges: Vec<AddressRange>, ports: PortRange) -> Self {
        ServiceAllocators { state: Arc::default(), ranges, ports }
    }

    /// Fill in what the service needs and does not have yet, and keep it from others until settled.
    ///
    /// # Errors
    /// `Invalid` when what it asks for is taken or out of range, 500 when nothing is left.
    pub fn allocate(
        &self,
        cache: &Arc<Cache>,
        key: &str,
        service: &mut Service,
        old: Option<&Service>,
        dry_run: bool,
    ) -> Result<Reservation, ApiError> {
        let mut state = self.state.lock();
        state.catch_up(cache)?;
        let mut chosen = Claims::default();
        let result = service::fill(self, &mut state, &mut chosen, service, old);
        if let Err(error) = result {
            state.release(&chosen);
            return Err(error);
        }
        if dry_run {
            state.release(&chosen);
            chosen = Claims::default();
        }
        let all = service::claims(service);
        drop(state);
        Ok(Reservation { state: self.state.clone(), key: key.into(), new: chosen, all, settled: false })
    }
}
