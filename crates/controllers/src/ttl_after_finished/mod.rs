//! TTL after finished: Jobs that are over go `ttlSecondsAfterFinished` later.
//!
//! Watches Jobs. Small enough that its plan is here.
use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use std::{sync::Arc, time::Duration};

struct TtlAfterFinished {
    jobs: Cache<Job>,
}

/// Start the TTL-after-finished controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    Ok(Arc::new(TtlAfterFinished { jobs: setup.watch::<Job>() }))
}

fn finished(job: &Job) -> Option<Timestamp> {
    let mut conditions = job.status.as_ref()?.conditions.as_ref()?.iter();
    let over = conditions.find(|c| c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed"))?;
    over.last_transition_time.as_ref().map(|time| time.0)
}

fn plan(job: &Job, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let ttl = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    let (Some(ttl), Some(at), None) = (ttl, finished(job), &job.metadata.deletion_timestamp) else { return plan };
    match Duration::try_from(SignedDuration::from_secs(ttl.into()) - now.duration_since(at)) {
        Ok(left) if !left.is_zero() => plan.again_in(left),
        _ => plan.write(Write::delete(job, Some("Foreground"))),
    }
    plan
}

#[async_trait]
impl Controller for TtlAfterFinished {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.jobs.at(key).map_or_else(Plan::nothing, |job| plan(&job, now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{now, object};

    #[test]
    fn jobs_go_when_their_time_is_over() {
        let planned = |at: &str| {
            let job: Arc<Job> = object(&format!(
                "metadata: {{name: j, namespace: a}}\nspec: {{ttlSecondsAfterFinished: 60, template: {{}}}}\n\
                 status: {{conditions: [{{type: Complete, status: 'True', lastTransitionTime: '{at}'}}]}}"
            ));
            plan(&job, now()).to_string()
        };
        assert_eq!(planned("2025-12-31T23:59:30Z"), "again in 30s\n");
        assert_eq!(planned("2025-12-31T23:58:00Z"), "delete Job a/j\n");
    }
}
