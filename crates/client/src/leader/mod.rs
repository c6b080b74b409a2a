//! Leader election over a `coordination.k8s.io/v1` Lease, interchangeable with client-go's.
//!
//! At most one elected process leads as long as clocks run at the same speed; their readings may
//! differ: a lease counts as expired when *we* have seen it unchanged for its whole duration.
//! Losing the lease ends leading at once; shutting down releases it, so that the next starts at once.
mod plan;

use crate::events::{EventType, Recorder};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ObjectReference};
use kube::{Api, api::PostParams};
use plan::{Observed, Step};
use std::{future::Future, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Names, and times as upstream's `--leader-elect-*` flags.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespace of the lease; upstream's default is `kube-system`.
    pub namespace: String,
    /// Name of the lease, such as `kube-scheduler`.
    pub name: String,
    /// Who we are: see [`identity`].
    pub identity: String,
    /// How long others wait before they take over an unchanged lease.
    pub lease_duration: Duration,
    /// How long we try to renew before we give up.
    pub renew_deadline: Duration,
    /// Pause between tries.
    pub retry_period: Duration,
}

impl Config {
    /// Upstream's defaults (15 s, 10 s, 2 s) for the component `name`.
    pub fn new(name: &str, identity: String) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// `<host name>_<random UUID>`, as upstream's components call themselves.
pub fn identity(host: &str) -> String {
    let [a, b]: [u64; 2] = rand::random();
    let variant = (b & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    let version = (a & 0xffff_ffff_ffff_0fff) | 0x4000;
    let uuid = format!("{version:016x}{variant:016x}");
    format!("{host}_{}-{}-{}-{}-{}", &uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..])
}

/// The lease could not be renewed in time, or somebody else holds it: leading has ended.
#[derive(Debug, thiserror::Error)]
#[error("leaderelection lost")]
pub struct Lost;

/// Takes part in the election for one lease.
pub struct Elector {
    config: Config,
    leases: Api<Lease>,
    recorder: Option<Recorder>,
    observed: Observed,
    lease: Option<Lease>,
}

impl Elector {
    /// An elector that has not tried yet. `recorder` tells of leadership as events on the lease.
    pub fn new(client: kube::Client, config: Config, recorder: Option<Recorder>) -> Self {
        let leases = Api::namespaced(client, &config.namespace);
        Self { config, leases, recorder, observed: Observed::default(), lease: None }
    }

    /// Wait to be elected, then run `lead` until it ends, leadership is lost or `shutdown` is cancelled.
    ///
    /// The token given to `lead` is cancelled in the latter two cases; `lead` is then awaited before
    /// the lease is released, so that a successor never works beside it.
    ///
    /// # Errors
    /// [`Lost`] when leadership was lost; upstream's components end then, to be started again.
    pub async fn run<F, Fut>(mut self, shutdown: CancellationToken, lead: F) -> Result<(), Lost>
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()>,
    {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = self.acquire() => {}
        }
        tracing::info!(lease = self.config.name, identity = self.config.identity, "became leader");
        self.tell("became leader");
        let stop = shutdown.child_token();
        let leading = lead(stop.clone());
        tokio::pin!(leading);
        let lost = tokio::select! {
            () = &mut leading => false,
            () = shutdown.cancelled() => { leading.await; false }
            () = self.renew() => { stop.cancel(); leading.await; true }
        };
        if lost {
            tracing::error!(lease = self.config.name, "leaderelection lost");
            self.tell("stopped leading");
            return Err(Lost);
        }
        self.release().await;
        Ok(())
    }

    async fn acquire(&mut self) {
        while !self.attempt().await {
            // Spread, so that candidates do not try in step (client-go's jitter factor 1.2).
            tokio::time::sleep(self.config.retry_period.mul_f64(1.0 + 1.2 * rand::random::<f64>())).await;
        }
    }

    /// Returns when the lease was not renewed for the renew deadline.
    async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.config.retry_period).await;
            let deadline = renewed + self.config.renew_deadline;
            if let Ok(true) = tokio::time::timeout_at(deadline, self.attempt()).await {
                renewed = Instant::now();
            } else if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// One try to get or keep the lease; whether we hold it now.
    async fn attempt(&mut self) -> bool {
        match self.step().await {
            Ok(held) => held,
            Err(error) => {
                // The version we know may be stale: read it anew next time.
                self.lease = None;
                tracing::debug!(
                    error = crate::told(&error),
                    lease = self.config.name,
                    "leader election attempt failed"
                );
                false
            }
        }
    }

    async fn step(&mut self) -> Result<bool, kube::Error> {
        let holding = plan::held_by(self.lease.as_ref(), &self.config.identity);
        if !holding {
            // While leading our own copy is the newest, and saves a read each period.
            self.lease = self.leases.get_opt(&self.config.name).await?;
        }
        self.observed.see(self.lease.as_ref(), Instant::now());
        let params = PostParams::default();
        let written =
            match plan::step(self.lease.as_ref(), &self.config, &self.observed, Instant::now(), Timestamp::now()) {
                Step::Wait => return Ok(false),
                Step::Create(lease) => self.leases.create(&params, &lease).await?,
                Step::Update(lease) => self.leases.replace(&self.config.name, &params, &lease).await?,
            };
        self.observed.see(Some(&written), Instant::now());
        self.lease = Some(written);
        Ok(true)
    }

    async fn release(&mut self) {
        let Some(lease) = self.lease.take().filter(|l| plan::held_by(Some(l), &self.config.identity)) else { return };
        self.tell("stopped leading");
        let released = plan::released(lease, Timestamp::now());
        let params = PostParams::default();
        let writing = self.leases.replace(&self.config.name, &params, &released);
        if let Ok(Err(error)) = tokio::time::timeout(self.config.retry_period, writing).await {
            tracing::debug!(error = crate::told(&error), "lease not released");
        }
    }

    fn tell(&self, what: &str) {
        let Some(recorder) = &self.recorder else { return };
        let lease = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            namespace: Some(self.config.namespace.clone()),
            name: Some(self.config.name.clone()),
            uid: self.lease.as_ref().and_then(|l| l.metadata.uid.clone()),
            resource_version: self.lease.as_ref().and_then(|l| l.metadata.resource_version.clone()),
            ..Default::default()
        };
        let message = format!("{} {what}", self.config.identity);
        recorder.event(&lease, EventType::Normal, "LeaderElection", &message);
    }
}
