//! Roles.
use crate::{cells, kind::Kind, meta, rbac::rules, resource::Info};
use apimachinery::{
    field::ErrorList,
    table::{Column, Row},
};
use k8s_openapi::api::rbac::v1::Role;

impl Kind for Role {
    const COLUMNS: &'static [Column] = &[cells::NAME, cells::CREATED_AT];
    const NAME: meta::NameRule = meta::PATH_SEGMENT;

    fn info() -> Info {
        Info::new("rbac.authorization.k8s.io", "v1", "Role", "roles").created_on_update()
    }

    fn set_defaults(&mut self) {
        self.rules.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        rules::validate(self.rules.as_deref().unwrap_or_default(), true, errors);
    }

    fn row(&self, _now: i64) -> Row {
        cells::default_row(&self.metadata)
    }
}
