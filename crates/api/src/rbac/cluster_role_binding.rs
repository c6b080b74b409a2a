//! ClusterRoleBindings.
use crate::{
    kind::Kind,
    meta,
    rbac::binding,
    resource::{Info, Target},
};
use apimachinery::{
    field::ErrorList,
    table::{Column, Row},
};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;

impl Kind for ClusterRoleBinding {
    const COLUMNS: &'static [Column] = binding::COLUMNS;
    const NAME: meta::NameRule = meta::PATH_SEGMENT;

    fn info() -> Info {
        Info::new(binding::GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings").cluster().created_on_update()
    }

    fn set_defaults(&mut self) {
        binding::default_role(&mut self.role_ref);
        binding::default_subjects(&mut self.subjects);
    }

    fn validate(&self, errors: &mut ErrorList) {
        binding::validate(&self.role_ref, self.subjects.as_deref().unwrap_or_default(), false, errors);
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        binding::validate_update(&self.role_ref, &old.role_ref, errors);
    }

    fn row(&self, now: i64) -> Row {
        binding::row(&self.metadata, &self.role_ref, self.subjects.as_deref().unwrap_or_default(), now)
    }
}
