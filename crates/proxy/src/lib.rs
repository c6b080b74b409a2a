//! kube-proxy: makes services' addresses lead to their endpoints, with nftables.
//!
//! Bird's eye view: [`model`] takes services and slices apart, [`categorize`] says where traffic may go, [`plan`]
//! turns that into rules (all pure), [`table`] remembers what the kernel has and writes the difference as one
//! transaction, [`nft`] carries it out, and [`run`] brings it all together. Nothing but `nft`, the `conntrack` tool
//! and a few kernel settings is touched, and only tables of our own name.
pub mod base;
pub mod categorize;
pub mod config;
pub mod conntrack;
pub mod dataplane;
pub mod flags;
pub mod health;
mod http;
mod kernel;
mod metrics;
pub mod model;
pub mod plan;
pub mod ruleset;
mod run;
pub mod table;

pub use flags::{Flags, UNSUPPORTED_FLAGS};
pub use run::{Error, cleanup, run};
