//! Admission: what the API server checks and fills in between authorization and storage.
//!
//! A plugin is one file under `plugins/` and one line in [`registry`]; the order of the list is the order they run in.
//! Plugins read through `storage::Lookup` and write nothing, so a refused request leaves no trace; the one exception is
//! quota, which charges usage through [`QuotaStore`] as its last act.
mod body;
mod chain;
mod lookup;
mod plugins;
mod pod_resources;
pub mod quota;
mod registry;
mod request;
#[cfg(test)]
mod testing;

pub use body::Body;
pub use chain::{Chain, Config, Plugin, QuotaStore};
pub use plugins::pod_security;
pub use request::{Operation, Request};

/// What is wrong with the settings given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Plugins(String),
}
