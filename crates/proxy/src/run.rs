//! The executor: watches services, slices and the node, plans what changed, and has it carried out.
//!
//! A change costs what the changed service costs. Changes that come close together are carried out together.
use crate::{
    config::{self, DetectLocalMode, Settings},
    conntrack::{self, UdpPort},
    dataplane::{self, Dataplane},
    flags::Flags,
    health::{Health, ServiceHealth},
    http, kernel,
    metrics::Metrics,
    model::{self, Family, PROXY_NAME_LABEL, SERVICE_NAME_LABEL},
    plan::{self, Facts, LocalDetector},
    table::Options,
};
use ::http::StatusCode;
use client::{Cache, Connection, Key, cache::Selection, throttle::Throttle};
use foldhash::{HashMap, HashSet};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kube::Api;
use nft::Nft;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

/// All rules are written anew so often, whatever we believe. Upstream's `FullSyncPeriod`.
const FULL_SYNC_PERIOD: Duration = Duration::from_secs(3600);
/// After a failure; grows to the sync period.
const MIN_RETRY: Duration = Duration::from_secs(1);
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const AUTOSCALER_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// The index of slices by their service's key.
const BY_SERVICE: &str = "service";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Connection(#[from] client::Error),
    #[error(transparent)]
    Configuration(#[from] config::Error),
    #[error(transparent)]
    Nft(#[from] nft::Error),
    #[error("failed to listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
}

/// Removes what a proxy with this table name left in the kernel.
///
/// # Errors
/// The name is not one of a table, or the kernel refuses.
pub async fn cleanup(table: &str) -> Result<(), Error> {
    config::check_table_name(table)?;
    Ok(dataplane::remove(&Nft::default(), table).await?)
}

/// Runs the proxy until `shutdown`. What it set up stays, so that services work while it restarts; see [`cleanup`].
///
/// # Errors
/// A setting is wrong, there is no way to the API server, or nftables does not work here.
pub async fn run(flags: Flags, connection: Option<Connection>, shutdown: CancellationToken) -> Result<(), Error> {
    if flags.cleanup {
        return cleanup(&flags.table).await;
    }
    let settings = Settings::new(&flags)?;
    let connection = match (connection, &settings.kubeconfig) {
        (Some(connection), _) => connection,
        (None, Some(path)) => Connection::Kubeconfig(path.clone()),
        (None, None) => Connection::InCluster,
    };
    let mut client = connection.client().await?;
    if let Some(throttle) = settings.limit.and_then(|(qps, burst)| Throttle::new(qps, burst)) {
        client = throttle.wrap(&client);
    }
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(settings.sync_period * 2));
    serve(&settings, &health, &metrics, &shutdown).await?;
    kernel::forwarding();
    kernel::conntrack(&settings.conntrack);

    let families: Vec<Family> = if kernel::ipv6() { Family::ALL.to_vec() } else { vec![Family::V4] };
    let options = |family| Options {
        family,
        name: settings.table.clone(),
        masquerade_mark: settings.masquerade_mark,
        node_port_networks: settings.node_port_networks.clone(),
    };
    let mut executor = Executor {
        dataplane: Dataplane::new(Nft::default(), families.iter().copied().map(options).collect()),
        sources: Sources::start(client, &settings.node_name, &shutdown),
        facts: Facts {
            node_name: settings.node_name.clone(),
            masquerade_all: settings.masquerade_all,
            ..Facts::default()
        },
        filtered_bridges: kernel::bridge_netfilter(),
        settings,
        dirty: HashSet::default(),
        slice_owner: HashMap::default(),
        udp: HashMap::default(),
        health_checks: BTreeMap::new(),
        service_health: ServiceHealth::new(health.clone(), shutdown.clone()),
        health,
        metrics,
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = executor.run() => {}
    }
    Ok(())
}

async fn serve(
    settings: &Settings,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let registry = metrics.registry.clone();
    let own = health.clone();
    let about: http::Handler = Arc::new(move |path| match path {
        "/metrics" => http::text(StatusCode::OK, registry.encode()),
        "/proxyMode" => http::text(StatusCode::OK, "nftables"),
        "/healthz" if own.is_healthy() => http::text(StatusCode::OK, "ok"),
        "/healthz" => http::text(StatusCode::SERVICE_UNAVAILABLE, "rules are not up to date\n"),
        _ => http::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    });
    for (address, handler) in [(&settings.healthz_address, health.handler()), (&settings.metrics_address, about)] {
        let Some(address) = address else { continue };
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tokio::spawn(http::serve(listener, handler, shutdown.clone()));
            }
            Err(source) if settings.hard_fail => return Err(Error::Listen { address: address.clone(), source }),
            Err(error) => tracing::warn!(address, %error, "this address is not served"),
        }
    }
    Ok(())
}

/// What is watched.
struct Sources {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    node: Cache<Node>,
}

impl Sources {
    fn start(client: kube::Client, node_name: &str, shutdown: &CancellationToken) -> Self {
        let headless = "service.kubernetes.io/headless";
        let ours = Selection { labels: Some(format!("!{headless},!{PROXY_NAME_LABEL}")), ..Selection::default() };
        let slices: Cache<EndpointSlice> = Cache::start(Api::all(client.clone()), &ours, shutdown);
        slices.add_index(BY_SERVICE, |slice| owner(slice).map(|key| key.to_string()).into_iter().collect());
        Sources {
            services: Cache::start(Api::all(client.clone()), &ours, shutdown),
            slices,
            node: Cache::start(Api::all(client), &Selection::field("metadata.name", node_name), shutdown),
        }
    }

    async fn synced(&self) {
        tokio::join!(self.services.synced(), self.slices.synced(), self.node.synced());
    }
}

/// The service a slice belongs to.
fn owner(slice: &EndpointSlice) -> Option<Key> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(Key::new(slice.metadata.namespace.as_deref()?, service))
}

struct Executor {
    settings: Settings,
    dataplane: Dataplane,
    sources: Sources,
    facts: Facts,
    filtered_bridges: bool,
    /// Services that may need other rules.
    dirty: HashSet<Key>,
    /// Slices' services when last seen: a slice that is gone cannot be asked.
    slice_owner: HashMap<Key, Key>,
    udp: HashMap<(Key, Family), Vec<UdpPort>>,
    health_checks: BTreeMap<Key, (u16, usize)>,
    service_health: ServiceHealth,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// The key of what belongs to no service: the addresses for node ports. No service has an empty name.
fn node_key() -> Key {
    Key::new("", "")
}

impl Executor {
    async fn run(&mut self) {
        self.sources.synced().await;
        self.look_at_node();
        let mut services = self.sources.services.subscribe();
        let mut slices = self.sources.slices.subscribe();
        let mut nodes = self.sources.node.subscribe();
        // A subscription begins with everything there is.
        while let Some(key) = services.try_recv() {
            self.dirty.insert(key);
        }
        while let Some(key) = slices.try_recv() {
            self.slice_changed(key);
        }
        self.dirty.insert(node_key());
        let mut next_check = Instant::now() + self.settings.sync_period;
        let mut next_full = Instant::now() + FULL_SYNC_PERIOD;
        let mut not_before = Instant::now();
        let mut retry = MIN_RETRY;
        loop {
            if !self.dirty.is_empty() && Instant::now() >= not_before {
                if self.sync().await {
                    retry = MIN_RETRY;
                    not_before = Instant::now() + self.settings.min_sync_period;
                } else {
                    not_before = Instant::now() + retry;
                    retry = (retry * 2).min(self.settings.sync_period.max(MIN_RETRY));
                }
            }
            let pending = (!self.dirty.is_empty()).then_some(not_before);
            let wake = [pending, self.dataplane.next_deadline(), Some(next_check)].into_iter().flatten().min();
            tokio::select! {
                Some(key) = services.recv() => self.changed(key),
                Some(key) = slices.recv() => self.slice_changed(key),
                Some(_) = nodes.recv() => self.node_changed(),
                () = tokio::time::sleep_until(wake.unwrap_or(next_check)) => {}
            }
            while let Some(key) = services.try_recv() {
                self.changed(key);
            }
            while let Some(key) = slices.try_recv() {
                self.slice_changed(key);
            }
            let now = Instant::now();
            if now >= next_check {
                next_check = now + self.settings.sync_period;
                if now >= next_full {
                    next_full = now + FULL_SYNC_PERIOD;
                    self.dataplane.invalidate();
                    self.changed(node_key());
                } else if self.dataplane.check().await {
                    self.changed(node_key());
                }
                self.service_health.sync(&self.health_checks).await;
            }
            if self.dirty.is_empty() && self.dataplane.next_deadline().is_some_and(|deadline| now >= deadline) {
                self.apply(Vec::new()).await;
            }
        }
    }

    fn changed(&mut self, key: Key) {
        self.dirty.insert(key);
        self.health.queued();
    }

    fn slice_changed(&mut self, key: Key) {
        let now = self.sources.slices.at(&key).and_then(|slice| owner(&slice));
        let before = match &now {
            Some(service) => self.slice_owner.insert(key, service.clone()),
            None => self.slice_owner.remove(&key),
        };
        for service in [now, before].into_iter().flatten() {
            self.changed(service);
        }
    }

    fn node_changed(&mut self) {
        if !self.look_at_node() {
            return;
        }
        for key in self.sources.services.keys() {
            self.changed(key);
        }
        self.changed(node_key());
    }

    /// Takes over what the node's object says. True: something that rules depend on is different.
    fn look_at_node(&mut self) -> bool {
        let node = self.sources.node.get("", &self.settings.node_name);
        let node = node.as_deref();
        let spec = node.and_then(|n| n.spec.as_ref());
        let removing = spec.is_some_and(|s| s.taints.iter().flatten().any(|t| t.key == AUTOSCALER_TAINT));
        let deleting = node.is_some_and(|n| n.metadata.deletion_timestamp.is_some());
        self.health.set_eligible(!removing && !deleting);
        let pod_networks = spec.map(pod_networks).unwrap_or_default();
        let status = node.and_then(|n| n.status.as_ref());
        let addresses = status.into_iter().flat_map(|s| s.addresses.iter().flatten());
        let internal: Vec<IpAddr> =
            addresses.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect();
        let labels = node.and_then(|n| n.metadata.labels.as_ref());
        let facts = Facts {
            node_name: self.facts.node_name.clone(),
            node_ips: internal,
            zone: labels.and_then(|l| l.get(ZONE_LABEL)).cloned(),
            local_detector: match &self.settings.detect_local {
                DetectLocalMode::ClusterCidr(networks) if networks.is_empty() => LocalDetector::None,
                DetectLocalMode::ClusterCidr(networks) => LocalDetector::Networks(networks.clone()),
                DetectLocalMode::NodeCidr => LocalDetector::Networks(pod_networks.clone()),
                DetectLocalMode::Bridge(name) => LocalDetector::Bridge(name.clone()),
                DetectLocalMode::InterfacePrefix(prefix) => LocalDetector::InterfacePrefix(prefix.clone()),
            },
            masquerade_all: self.facts.masquerade_all,
            unfiltered_networks: if self.filtered_bridges { Vec::new() } else { pod_networks },
        };
        let different = facts != self.facts;
        self.facts = facts;
        different
    }

    /// Plans what may have changed and carries it out; false if that failed.
    async fn sync(&mut self) -> bool {
        let start = Instant::now();
        let dirty = std::mem::take(&mut self.dirty);
        let mut stale = std::collections::BTreeSet::new();
        let mut changes = Vec::new();
        for family in self.dataplane.families() {
            let mut of_family = Vec::with_capacity(dirty.len());
            for key in &dirty {
                if *key == node_key() {
                    of_family.push((key.clone(), plan::node_port_addresses(&self.facts, family)));
                    continue;
                }
                let slices = self.sources.slices.by_index(BY_SERVICE, &key.to_string());
                let service = self.sources.services.at(key);
                let service = service.as_deref();
                let rules = service.map(|s| plan::plan(s, &slices, &self.facts, family)).unwrap_or_default();
                let udp = service.map(|s| conntrack::udp_ports(s, &slices, &self.facts, family)).unwrap_or_default();
                let before = if udp.is_empty() {
                    self.udp.remove(&(key.clone(), family))
                } else {
                    self.udp.insert((key.clone(), family), udp.clone())
                };
                stale.extend(conntrack::stale(&before.unwrap_or_default(), &udp));
                of_family.push((key.clone(), rules));
                if family == Family::V4 {
                    self.note_health_check(key, service, &slices);
                }
            }
            changes.push((family, of_family));
        }
        let done = self.apply(changes).await;
        self.metrics.sync_duration.observe(start.elapsed().as_secs_f64());
        if !done {
            // The rules are in our books already; making everything anew needs no more than a mark.
            self.dirty.insert(node_key());
            return false;
        }
        tracing::debug!(services = dirty.len(), elapsed = ?start.elapsed(), "synced rules");
        self.service_health.sync(&self.health_checks).await;
        if !stale.is_empty() {
            tokio::spawn(async move {
                if !conntrack::forget(stale).await {
                    tracing::warn!("no conntrack tool: UDP flows to endpoints that are gone last until they time out");
                }
            });
        }
        true
    }

    fn note_health_check(&mut self, key: &Key, service: Option<&Service>, slices: &[Arc<EndpointSlice>]) {
        let Some((service, port)) = service.and_then(|s| Some((s, model::health_check_port(s)?))) else {
            self.health_checks.remove(key);
            return;
        };
        let mut local: HashSet<IpAddr> = HashSet::default();
        for family in Family::ALL {
            for service_port in model::service_ports(service, family) {
                let all = model::endpoints(&service_port, slices, family, &self.facts.node_name);
                local.extend(all.iter().filter(|e| e.local && e.ready).map(|e| e.ip));
            }
        }
        self.health_checks.insert(key.clone(), (port, local.len()));
    }

    async fn apply(&mut self, changes: Vec<(Family, Vec<(Key, crate::ruleset::Rules)>)>) -> bool {
        match self.dataplane.update(changes).await {
            Ok(()) => {
                self.health.updated();
                self.metrics.last_sync.set(jiff::Timestamp::now().as_second());
                let services = self.dataplane.table(Family::V4).map_or(0, |table| table.keys().count());
                self.metrics.services.set(i64::try_from(services).unwrap_or(i64::MAX));
                true
            }
            Err(error) => {
                tracing::error!(%error, "rules could not be changed; all will be made anew");
                self.metrics.sync_failures.inc();
                false
            }
        }
    }
}

fn pod_networks(spec: &k8s_openapi::api::core::v1::NodeSpec) -> Vec<String> {
    match &spec.pod_cidrs {
        Some(networks) if !networks.is_empty() => networks.clone(),
        _ => spec.pod_cidr.clone().into_iter().collect(),
    }
}
