//! ResourceClaimTemplates.
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
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;

impl Kind for ResourceClaimTemplate {
    const COLUMNS: &'static [Column] = &[cells::NAME, cells::AGE];

    fn info() -> Info {
        Info::new(GROUP, "v1", "ResourceClaimTemplate", "resourceclaimtemplates")
    }

    fn set_defaults(&mut self) {
        // Upstream's field is no pointer: it is always written.
        self.spec.metadata.get_or_insert_default();
        request::default_spec(&mut self.spec.spec);
    }

    fn validate(&self, errors: &mut ErrorList) {
        request::validate_spec(&self.spec.spec, &Path::new("spec").child("spec"), errors);
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        if self.spec != old.spec {
            errors.push(Error::invalid(&Path::new("spec"), &self.spec, "field is immutable"));
        }
    }

    fn row(&self, now: i64) -> Row {
        vec![cells::name(&self.metadata), cells::age(&self.metadata, now)]
    }
}
