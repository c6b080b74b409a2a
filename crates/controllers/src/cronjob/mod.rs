//! CronJobs: Jobs at the times a schedule names.
//!
//! Watches CronJobs and the Jobs they control.
mod plan;
mod schedule;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup, owners};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use plan::View;
use std::sync::Arc;

struct CronJobs {
    cron_jobs: Cache<CronJob>,
    jobs: Cache<Job>,
}

/// Start the CronJob controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let cron_jobs = setup.watch::<CronJob>();
    let jobs = setup.watch_controlled::<Job, CronJob>();
    Ok(Arc::new(CronJobs { cron_jobs, jobs }))
}

#[async_trait]
impl Controller for CronJobs {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(cron_job) = self.cron_jobs.at(key) else { return Ok(Plan::nothing()) };
        let jobs = owners::controlled(&self.jobs, cron_job.metadata.uid.as_deref().unwrap_or_default());
        Ok(plan::plan(&View { cron_job, jobs }, now))
    }
}
