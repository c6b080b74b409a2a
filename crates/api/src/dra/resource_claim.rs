//! ResourceClaims.
use super::{GROUP, request};
use crate::{
    cells,
    kind::Kind,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::resource::v1::ResourceClaim;

fn state(claim: &ResourceClaim) -> String {
    let status = claim.status.as_ref();
    let mut states = Vec::new();
    if claim.metadata.deletion_timestamp.is_some() {
        states.push("deleted");
    }
    if status.is_none_or(|s| s.allocation.is_none()) {
        if claim.metadata.deletion_timestamp.is_none() {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        let reserved = status.is_some_and(|s| s.reserved_for.as_ref().is_some_and(|r| !r.is_empty()));
        if reserved {
            states.push("reserved");
        }
    }
    states.join(",")
}

impl Kind for ResourceClaim {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
        cells::AGE,
    ];

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn keep_status(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn clear_status(&mut self) {
        self.status = Some(Default::default());
    }

    fn info() -> Info {
        Info::new(GROUP, "v1", "ResourceClaim", "resourceclaims").status()
    }

    fn set_defaults(&mut self) {
        request::default_spec(&mut self.spec);
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        request::validate_spec(&self.spec, &Path::new("spec"), errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        if target == Target::Main && self.spec != old.spec {
            errors.push(Error::invalid(&Path::new("spec"), &self.spec, "field is immutable"));
        }
    }

    fn row(&self, now: i64) -> Row {
        vec![cells::name(&self.metadata), state(self).into(), cells::age(&self.metadata, now)]
    }
}
