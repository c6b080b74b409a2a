//! `batch/v1`: work that ends.
pub mod cron_job;
pub mod job;
mod schedule;
