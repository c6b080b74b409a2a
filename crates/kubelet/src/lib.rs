//! The kubelet: runs the pods bound to its node through a container runtime, and tells the API how they are.
//!
//! What runs is asked of the runtime, what is wanted of the API; between the two stands a pure plan
//! ([`plan::plan`]), carried out by one worker a pod. Nothing that matters is remembered: a kubelet killed at
//! any instant goes on where it was, and containers never notice.
#![allow(missing_docs)]
mod backoff;
mod bootstrap;
mod certificates;
mod cgroups;
mod config;
mod container_config;
mod counts;
mod disk_usage;
mod env;
mod eviction;
mod flags;
mod housekeeping;
mod image_gc;
mod images;
mod kubelet;
mod labels;
mod log_rotation;
mod logs;
mod network;
mod node;
mod objects;
mod observed;
mod plan;
mod pleg;
mod pod;
mod pods;
mod probes;
mod reserved;
mod resources;
mod run;
mod security;
mod server;
mod sources;
mod spec;
mod status;
pub mod streaming;
mod volumes;

pub use flags::{Flags, UNSUPPORTED_FLAGS, deprecated_flag};
pub use run::run;

/// Why a kubelet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("{path}: {why}")]
    File { path: std::path::PathBuf, why: String },
    /// A value that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The kubelet's own server.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// The container runtime's endpoint.
    #[error(transparent)]
    Runtime(#[from] cri::Error),
}

impl Error {
    fn config(path: &std::path::Path, why: impl std::fmt::Display) -> Error {
        Error::File { path: path.to_owned(), why: why.to_string() }
    }
}
