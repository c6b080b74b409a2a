//! Jobs: pods until enough of them have succeeded.
//!
//! Watches Jobs and the pods they control or may adopt. Pods carry a finalizer until they are counted
//! in the status, so that none is counted twice or forgotten (KEP-2307).
mod conditions;
mod count;
mod facts;
mod indexes;
mod manage;
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup, owners},
};
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

/// Pods that carry our finalizer, by the job that is or was theirs.
const TRACKED: &str = "tracked";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// The job a pod with our finalizer belongs to, or did before it lost its owner.
fn job_of(pod: &Pod) -> Option<Key> {
    if !count::has_finalizer(pod) {
        return None;
    }
    if owners::controller_of(&pod.metadata).is_some() {
        return owners::controller_key::<Job>(&pod.metadata);
    }
    let name = pods::labels(&pod.metadata).get(JOB_NAME)?;
    Some(Key::new(pod.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Start the Job controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let jobs = setup.watch::<Job>();
    let pods = setup.watch_claimed::<Pod, Job>(&jobs, selector);
    pods.add_index(TRACKED, |pod| job_of(pod).into_iter().map(|key| key.to_string()).collect());
    setup.follow(&pods, |_, new, add| new.and_then(job_of).into_iter().for_each(add));
    Ok(Arc::new(Jobs { jobs, pods }))
}

impl Jobs {
    /// Let go of the pods of a job that is gone, or of a former one of the same name: nobody will count them.
    fn abandon(&self, key: &Key, job: Option<&Job>) -> Plan {
        let uid = job.and_then(|job| job.metadata.uid.as_deref());
        let tracked = self.pods.by_index(TRACKED, &key.to_string());
        let abandoned = tracked.iter().filter(|pod| match owners::controller_of(&pod.metadata) {
            Some(owner) => Some(owner.uid.as_str()) != uid,
            // It may yet be adopted if there is a job.
            None => job.is_none(),
        });
        let mut plan = Plan::nothing();
        plan.batch(abandoned.map(|pod| count::release(pod)).collect());
        plan
    }
}

#[async_trait]
impl Controller for Jobs {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let job = self.jobs.at(key);
        let mut abandoned = self.abandon(key, job.as_deref());
        let Some(job) = job else { return Ok(abandoned) };
        let pods = owners::candidates(&self.pods, job.metadata.uid.as_deref().unwrap_or_default(), &key.namespace);
        let mut plan = plan::plan(&View { job, pods }, now);
        abandoned.steps.append(&mut plan.steps);
        plan.steps = abandoned.steps;
        Ok(plan)
    }
}
