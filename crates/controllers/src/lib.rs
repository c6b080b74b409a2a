//! kube-controller-manager: the controllers, one folder each, over one runtime.
//!
//! A controller names its watches ([`runtime::Setup`]) and decides for one key with a pure function
//! over a view and a clock reading (`plan.rs`); [`runtime`] alone owns queues, back-off, workers and
//! writing. [`registry::ALL`] lists them. All controllers of a process share the caches.
pub mod registry;
pub mod runtime;

mod bootstrap_tokens;
mod claim;
mod clusterrole_aggregation;
mod conditions;
mod cronjob;
mod csr;
mod daemonset;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod flags;
mod garbage_collector;
mod hash;
mod history;
mod horizontal_pod_autoscaler;
mod job;
mod namespace;
mod node_fit;
mod node_lifecycle;
mod nodeipam;
mod podgc;
mod pods;
mod protection;
mod replicaset;
mod resourcequota;
mod root_ca;
mod service_cidr;
mod service_pods;
mod serviceaccount;
mod serviceaccount_token;
mod statefulset;
mod taint_eviction;
mod ttl;
mod ttl_after_finished;
mod volume_binder;

#[cfg(test)]
mod fixtures;

pub use flags::{Concurrency, Flags, UNSUPPORTED_FLAGS};

use client::{
    Caches, Connection,
    events::Recorder,
    leader::{self, Elector},
};
use runtime::{Identities, Setup, metrics::Metrics};
use serving::{health::Health, secure_port};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const NAME: &str = "kube-controller-manager";

/// Why kube-controller-manager could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Controllers(String),
    #[error(transparent)]
    Connection(#[from] client::Error),
    #[error(transparent)]
    Serving(#[from] secure_port::Error),
    #[error(transparent)]
    Lost(#[from] leader::Lost),
}

/// Run the controllers until `shutdown`. `connection` overrides `--kubeconfig`.
///
/// # Errors
/// Flags that cannot be met, and a lost leadership.
pub async fn run(flags: Flags, connection: Option<Connection>, shutdown: CancellationToken) -> Result<(), Error> {
    let selected = registry::select(&flags.controllers).map_err(Error::Controllers)?;
    let connection = match (connection, &flags.kubeconfig) {
        (Some(connection), _) => connection,
        (None, Some(path)) => Connection::Kubeconfig(path.clone()),
        (None, None) => Connection::InCluster,
    };
    let base = connection.client().await?;
    let metrics = Arc::new(telemetry::metrics::Registry::default());
    let health = Health::default().with_metrics(metrics.clone());
    secure_port::start(NAME, flags.secure_port, &flags.serving, &base, health, &shutdown).await?;
    let flags = Arc::new(flags);
    let work = Arc::new(Metrics::new(&metrics));
    let recorder = Recorder::new(base.clone(), NAME, "", shutdown.clone());
    let lead = |stop: CancellationToken| {
        let (flags, connection, base, recorder) = (flags.clone(), connection.clone(), base.clone(), recorder.clone());
        controllers(selected, flags, connection, base, recorder, work, stop)
    };
    if !flags.leader_elect {
        lead(shutdown).await;
        return Ok(());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let config = leader::Config {
        namespace: flags.leader_elect_resource_namespace.clone(),
        name: flags.leader_elect_resource_name.clone(),
        identity: leader::identity(host.trim()),
        lease_duration: flags.leader_elect_lease_duration,
        renew_deadline: flags.leader_elect_renew_deadline,
        retry_period: flags.leader_elect_retry_period,
    };
    Ok(Elector::new(base.clone(), config, Some(recorder.clone())).run(shutdown, lead).await?)
}

/// Run the selected controllers until `stop`.
async fn controllers(
    selected: Vec<&'static runtime::Registration>,
    flags: Arc<Flags>,
    connection: Connection,
    base: kube::Client,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let caches = Caches::new(base.clone(), stop.clone());
    let identities = Identities::new(
        connection,
        base,
        flags.use_service_account_credentials,
        flags.kube_api_qps,
        flags.kube_api_burst,
    );
    let mut running = JoinSet::new();
    for registration in selected {
        let client = tokio::select! {
            () = stop.cancelled() => break,
            client = patient(&identities, registration.service_account) => client,
        };
        let recorder = recorder.named(registration.source);
        let setup = Setup::new(flags.clone(), caches.clone(), client, recorder, stop.clone());
        running.spawn(runtime::run(registration, setup, metrics.clone()));
    }
    while running.join_next().await.is_some() {}
    stop.cancelled().await;
}

/// A controller's client; the server may still be starting.
async fn patient(identities: &Identities, name: &str) -> kube::Client {
    loop {
        match identities.client(name).await {
            Ok(client) => return client,
            Err(error) => tracing::warn!(controller = name, %error, "no credentials yet"),
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
