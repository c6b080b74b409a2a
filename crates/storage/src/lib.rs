//! The revisioned key-value contract, its embedded and etcd backends, and the watch cache.
//!
//! Only the API server uses this crate (ARCHITECTURE.md, invariant 1).
mod backend;
pub mod cache;
pub mod embedded;
pub mod etcd;
mod sinks;

pub use backend::*;
