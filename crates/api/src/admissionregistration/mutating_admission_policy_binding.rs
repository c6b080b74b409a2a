//! MutatingAdmissionPolicyBindings.
use super::{
    binding,
    matching::{CATEGORY, GROUP},
};
use crate::{
    kind::{Kind, spec_only},
    resource::Info,
};
use apimachinery::{
    field::ErrorList,
    table::{Column, Row},
};
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;

impl Kind for MutatingAdmissionPolicyBinding {
    const COLUMNS: &'static [Column] = binding::COLUMNS;
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new(GROUP, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
            .cluster()
            .category(CATEGORY)
            .needs_resource_version()
    }

    fn set_defaults(&mut self) {
        binding::default_match(&mut self.spec.get_or_insert_default().match_resources);
    }

    fn validate(&self, errors: &mut ErrorList) {
        let Some(spec) = &self.spec else { return };
        let policy = spec.policy_name.as_deref().unwrap_or_default();
        binding::validate(policy, spec.param_ref.as_ref(), spec.match_resources.as_ref(), errors);
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let policy = spec.and_then(|s| s.policy_name.as_deref()).unwrap_or_default();
        binding::row(&self.metadata, policy, spec.and_then(|s| s.param_ref.as_ref()), now)
    }
}
