//! Carries out the repair: at start, before the first request, and again and again while the server runs.
//!
//! Every step is a compare-and-set, so any number of servers may do this at the same time.
use super::{
    ServiceAllocators,
    addresses::Owner,
    repair_plan::{self, About, Plan, Report, Step},
};
use apimachinery::ApiError;
use k8s_openapi::api::{core::v1::Service, networking::v1::IPAddress};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const ADDRESSES_EVERY: Duration = Duration::from_secs(20);
/// Ports are looked at every so many rounds: each three minutes, as upstream.
const ROUNDS_PER_PORTS: u32 = 9;

pub struct Repair {
    allocators: Arc<ServiceAllocators>,
    leaks: BTreeMap<u16, u32>,
}

impl Repair {
    pub fn new(allocators: Arc<ServiceAllocators>) -> Self {
        Repair { allocators, leaks: BTreeMap::new() }
    }

    /// Looks once at everything.
    ///
    /// # Errors
    /// The store's.
    pub async fn once(&mut self) -> Result<Vec<Report>, ApiError> {
        let mut reports = self.addresses().await?;
        reports.extend(self.ports().await?);
        Ok(reports)
    }

    /// Until shutdown; what was found is told in events.
    pub async fn run(mut self, client: kube::Client, found: Vec<Report>, shutdown: CancellationToken) {
        publish(&client, &found).await;
        for round in 1u32.. {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(ADDRESSES_EVERY) => {}
            }
            let looked = match round % ROUNDS_PER_PORTS {
                0 => self.once().await,
                _ => self.addresses().await,
            };
            match looked {
                Ok(reports) => publish(&client, &reports).await,
                Err(error) => tracing::warn!(%error, "services' addresses and ports could not be checked"),
            }
        }
    }

    async fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, ApiError> {
        let Some(store) = self.allocators.registry.store(prefix) else { return Ok(Vec::new()) };
        store.fresh().await?;
        let snapshot = store.cache.snapshot();
        Ok(snapshot.iter(store.prefix()).filter_map(|e| serde_json::from_slice(&e.json).ok()).collect())
    }

    async fn addresses(&self) -> Result<Vec<Report>, ApiError> {
        // The objects first: an address made for a service that is written in between is young.
        let objects: Vec<IPAddress> = self.all("ipaddresses").await?;
        let services: Vec<Service> = self.all("services/specs").await?;
        let ranges = self.allocators.addresses.ranges();
        let now = jiff::Timestamp::now().as_second();
        let Plan { steps, reports } = repair_plan::addresses(&services, &objects, &ranges, now);
        for step in steps {
            self.step(step).await?;
        }
        Ok(reports)
    }

    async fn step(&self, step: Step) -> Result<(), ApiError> {
        let addresses = &self.allocators.addresses;
        match step {
            Step::Create { owner, address } => {
                // The service may be gone by now, and its address somebody else's.
                if self.still_has(&owner, &address.to_string()).await? {
                    addresses.take(&owner, address).await?;
                }
            }
            Step::Recreate { owner, address } => {
                if self.still_has(&owner, &address.to_string()).await? {
                    self.remove(&address.to_string()).await?;
                    addresses.take(&owner, address).await?;
                }
            }
            Step::Remove { name } => self.remove(&name).await?,
        }
        Ok(())
    }

    async fn still_has(&self, owner: &Owner, address: &str) -> Result<bool, ApiError> {
        let Some(store) = self.allocators.registry.store("services/specs") else { return Ok(false) };
        let Some(entry) = store.read(&owner.namespace, &owner.name).await? else { return Ok(false) };
        let service: Service = serde_json::from_slice(&entry.json).map_err(ApiError::internal)?;
        Ok(super::service::claims(&service).addresses.iter().any(|a| a.to_string() == address))
    }

    async fn remove(&self, name: &str) -> Result<(), ApiError> {
        let store = &self.allocators.addresses.store;
        if let Some(entry) = store.read("", name).await? {
            // A lost race: the next look decides anew.
            let _ = store.remove(&entry).await?;
        }
        Ok(())
    }

    async fn ports(&mut self) -> Result<Vec<Report>, ApiError> {
        let ports = &self.allocators.ports;
        // What is stored is read before the services: a port taken in between looks leaked, for one look.
        let stored = ports.stored().await?;
        let services: Vec<Service> = self.all("services/specs").await?;
        let mut leaks = self.leaks.clone();
        let (wanted, reports) = repair_plan::ports(&services, &stored, ports.range, &mut leaks);
        let swap = |used: &mut super::bitmap::Used| {
            if *used != stored {
                return Ok(false);
            }
            used.clone_from(&wanted);
            Ok(true)
        };
        if ports.change(false, swap).await? {
            self.leaks = leaks;
        }
        Ok(reports)
    }
}

async fn publish(client: &kube::Client, reports: &[Report]) {
    for report in reports {
        let event = event(report, &jiff::Timestamp::now().to_string());
        let namespace = event["metadata"]["namespace"].as_str().unwrap_or("default");
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        match crate::bootstrap::send(client, "POST", &path, event.to_string().into_bytes()).await {
            Ok(_) => {}
            // Told already, and the event has not expired.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => tracing::warn!(%error, note = report.note, "an event could not be written"),
        }
    }
}

/// Named after what it says, so that a condition that lasts is told once.
fn event(report: &Report, time: &str) -> Value {
    let port = report.reason.starts_with("Port");
    let controller = if port { "portallocator-repair-controller" } else { "ipallocator-repair-controller" };
    let (regarding, name, action) = match &report.about {
        About::Service(Owner { namespace, name }) => {
            let regarding = json!({"apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": name});
            (regarding, name, if port { "PortAllocation" } else { "ClusterIPAllocation" })
        }
        About::IpAddress(name) => {
            let regarding = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "name": name});
            (regarding, name, "IPAddressAllocation")
        }
    };
    let namespace = regarding["namespace"].as_str().unwrap_or("default").to_owned();
    let mut hash = std::hash::DefaultHasher::new();
    report.note.hash(&mut hash);
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{}.{:016x}", name.replace(':', "-"), hash.finish())},
        "eventTime": micros(time), "type": "Warning", "reason": report.reason, "action": action, "note": report.note,
        "regarding": regarding, "reportingController": controller, "reportingInstance": controller,
    })
}

/// With six digits after the point, as the API's MicroTime has it.
fn micros(time: &str) -> String {
    let (seconds, fraction) = time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
    format!("{seconds}.{digits}Z")
}
