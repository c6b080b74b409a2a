//! Leases: node heartbeats and leader election.
use crate::{cells, kind::Kind, resource::Info};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::coordination::v1::Lease;

impl Kind for Lease {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Holder",
            "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
        ),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("coordination.k8s.io", "v1", "Lease", "leases").needs_resource_version().created_on_update()
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        if let Some(seconds) = spec.lease_duration_seconds.filter(|s| *s <= 0) {
            errors.push(Error::invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
        }
        if let Some(count) = spec.lease_transitions.filter(|c| *c < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(&path.child("leaseTransitions"), count, detail));
        }
    }

    fn row(&self, now: i64) -> Row {
        let holder = self.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).unwrap_or_default();
        vec![cells::name(&self.metadata), holder.into(), cells::age(&self.metadata, now)]
    }
}
