//! Deleting certificate requests nobody needs any more: an hour after they were decided, a day after
//! they were made if nobody decided.
use super::{has, is_issued};
use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::{sync::Arc, time::Duration};

const DECIDED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

struct Cleaning {
    requests: Cache<CertificateSigningRequest>,
}

/// Start the cleaner.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    Ok(Arc::new(Cleaning { requests: setup.watch() }))
}

fn plan(csr: &CertificateSigningRequest, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let conditions = csr.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let decided = conditions.filter_map(|condition| condition.last_update_time.as_ref().map(|time| time.0)).max();
    let over = is_issued(csr) || has(csr, "Denied") || has(csr, "Failed");
    let created = csr.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let (from, limit) = match decided.filter(|_| over) {
        Some(decided) => (decided, DECIDED),
        None => (created, PENDING),
    };
    match Duration::try_from(limit - now.duration_since(from)) {
        Ok(left) if !left.is_zero() => plan.again_in(left),
        _ => plan.write(Write::delete(csr, None)),
    }
    plan
}

#[async_trait]
impl Controller for Cleaning {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.requests.at(key).map_or_else(Plan::nothing, |csr| plan(&csr, now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{now, object};

    fn planned(created: &str, status: &str) -> String {
        let csr: Arc<CertificateSigningRequest> = object(&format!(
            "metadata: {{name: c, creationTimestamp: '{created}'}}\nspec: {{request: '', signerName: x}}\nstatus: {{{status}}}"
        ));
        plan(&csr, now()).to_string()
    }

    #[test]
    fn decided_requests_stay_an_hour_and_pending_ones_a_day() {
        let denied = |at: &str| format!("conditions: [{{type: Denied, status: 'True', lastUpdateTime: '{at}'}}]");
        assert_eq!(planned("2025-12-31T22:00:00Z", &denied("2025-12-31T23:30:00Z")), "again in 30m0s\n");
        assert_eq!(
            planned("2025-12-31T20:00:00Z", &denied("2025-12-31T22:30:00Z")),
            "delete CertificateSigningRequest c\n"
        );
        assert_eq!(planned("2025-12-31T00:00:00Z", ""), "delete CertificateSigningRequest c\n");
        assert_eq!(planned("2025-12-31T12:00:00Z", ""), "again in 12h0m0s\n");
    }
}
