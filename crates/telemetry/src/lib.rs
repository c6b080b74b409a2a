//! Logs and metrics: the same for every component.
//!
//! Nothing here is global except the log subscriber, so that several components share a process.
pub mod logs;
pub mod metrics;

pub use logs::{Format, init, init_as};
