//! What every controller is made of: watches that fill its queue, a plan for a key, and workers.
//!
//! A controller knows its kind's rules and nothing else: the runtime alone owns queues, back-off,
//! workers, writing, waiting for its own writes to come back, and metrics.
pub mod execute;
mod identity;
pub mod metrics;
pub mod owners;
pub mod plan;
mod setup;
mod work;

pub use execute::Failure;
pub use identity::Identities;
pub use plan::{Plan, Target, Write};
pub use setup::Setup;
pub use work::run;

use crate::Concurrency;
use async_trait::async_trait;
use client::Key;
use jiff::Timestamp;
use std::sync::Arc;

/// A controller, ready to work.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// What is to be done about `key`: read the caches into a view and hand it to a pure plan.
    ///
    /// # Errors
    /// Only controllers that must ask the server (discovery, say) can fail here; the key is retried.
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure>;

    /// What else is to be done, at once, when carrying a plan out has failed; the key is retried anyway.
    fn failed(&self, _key: &Key, _failure: &Failure, _now: Timestamp) -> Plan {
        Plan::nothing()
    }
}

/// An entry of the registry.
pub struct Registration {
    /// Upstream's name, for `--controllers`.
    pub name: &'static str,
    /// The name it had before Kubernetes 1.28, accepted as well.
    pub alias: &'static str,
    /// Its service account in `kube-system`, for which the bootstrap policy has a role
    /// `system:controller:…` of the same name; empty for those that act as the component itself.
    pub service_account: &'static str,
    /// What its events say they come from.
    pub source: &'static str,
    /// Whether `*` includes it.
    pub on_by_default: bool,
    /// How many keys are handled at a time.
    pub workers: fn(&Concurrency) -> usize,
    /// Name its watches and make the controller; `Err` says which flag it lacks.
    pub start: fn(&mut Setup) -> Result<Arc<dyn Controller>, String>,
}
