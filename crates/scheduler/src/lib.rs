//! kube-scheduler: finds a node for every pod that has none.
//!
//! Bird's eye view: [`feed`] brings what the API server says, [`scheduler`] keeps the picture ([`cluster`]) and the
//! [`queue`] up to date and decides ([`cycle`], over the [`plugins`] of the pod's [`framework::profile`]), and
//! [`run`] carries decisions out. Decisions are made one at a time and are pure; binding runs beside them, many at
//! once, on the assumption that it succeeds.
pub mod api;
mod binding;
pub mod cluster;
pub mod config;
pub mod cycle;
mod events;
pub mod feed;
pub mod flags;
pub mod framework;
mod metrics;
mod node_selector;
pub mod objects;
pub mod plugins;
pub mod pod;
pub mod queue;
pub mod resources;
mod run;
pub mod scheduler;
pub mod testing;

pub use flags::{Flags, UNSUPPORTED_FLAGS};
pub use run::{Error, run};
