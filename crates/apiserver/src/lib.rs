//! kube-apiserver: the only component that touches the store, and where all the others meet.
//!
//! A request goes through [`chain`] (panic capture, request info, authentication, impersonation, limits,
//! authorization) to one generic set of [`handlers`] that see kinds only as `dyn api::Resource` and
//! objects only as cached bytes. What always holds: nothing is served without authorization; an
//! acknowledged write is on disk; every bound is in [`limits`]; a feature that is missing answers 501 or 415.
mod allocators;
mod app;
mod body;
mod bootstrap;
mod chain;
mod codec;
mod discovery;
mod flag_values;
mod flags;
mod flow_control;
mod handlers;
mod health;
mod in_process;
mod limits;
mod metrics;
mod negotiation;
mod openapi;
mod options;
mod pretty;
mod proxy;
mod query;
mod quota;
mod registry;
mod render;
mod request_info;
mod reviews;
mod running;
mod server;
mod serving_certificate;
mod store;
mod subresources;
pub mod version;

pub use app::App;
pub use flag_values::{GoDuration, GoawayChance, PortRange};
pub use flags::{Flags, UNSUPPORTED_FLAGS};
pub use running::{Running, start};

/// Why the API server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--{flag}: {why}")]
    Flag { flag: &'static str, why: String },
    #[error("{path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("the store: {0}")]
    Store(String),
    #[error(transparent)]
    Pki(#[from] pki::Error),
    #[error(transparent)]
    Auth(#[from] auth::Error),
    #[error(transparent)]
    Admission(#[from] admission::Error),
    #[error("bootstrap: {0}")]
    Bootstrap(String),
    #[error("the server task ended unexpectedly: {0}")]
    Task(String),
}
