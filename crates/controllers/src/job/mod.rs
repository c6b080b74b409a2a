//! Jobs: pods until enough of them have succeeded.
//!
//! Watches Jobs and the pods they control or may adopt. Pods carry a finalizer until they are counted
//! in the status, so that none is counted twice or forgotten (KEP-2307).
mod count;
mod indexes;
mod plan;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup, owners};
use apimachinery::labels::{self, Selector};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use plan::View;
use std::sync::Arc;

struct Jobs {
    jobs: Cache<Job>,
    pods: Cache<Pod>,
}

fn selector(job: &Job) -> Option<Selector> {
    labels::from_label_selector(job.spec.as_ref()?.selector.as_ref()?).ok()
}

/// Start the Job controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let jobs = setup.watch::<Job>();
    let pods = setup.watch_claimed::<Pod, Job>(&jobs, selector);
    Ok(Arc::new(Jobs { jobs, pods }))
}

#[async_trait]
impl Controller for Jobs {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(job) = self.jobs.at(key) else { return Ok(Plan::nothing()) };
        let pods = owners::candidates(&self.pods, job.metadata.uid.as_deref().unwrap_or_default(), &key.namespace);
        Ok(plan::plan(&View { job, pods }, now))
    }
}
