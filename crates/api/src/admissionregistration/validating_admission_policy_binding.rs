//! ValidatingAdmissionPolicyBindings.
use super::{
    binding,
    matching::{CATEGORY, GROUP},
};
use crate::{
    kind::{Kind, spec_only},
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

impl Kind for ValidatingAdmissionPolicyBinding {
    const COLUMNS: &'static [Column] = binding::COLUMNS;
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new(GROUP, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
            .cluster()
            .category(CATEGORY)
            .needs_resource_version()
    }

    fn set_defaults(&mut self) {
        binding::default_match(&mut self.spec.match_resources);
    }

    fn validate(&self, errors: &mut ErrorList) {
        let spec = &self.spec;
        binding::validate(&spec.policy_name, spec.param_ref.as_ref(), spec.match_resources.as_ref(), errors);
        let path = Path::new("spec").child("validationActions");
        if spec.validation_actions.is_empty() {
            errors.push(Error::required(&path, "at least one validation action is required"));
        }
        for (i, action) in spec.validation_actions.iter().enumerate() {
            if !ACTIONS.contains(&action.as_str()) {
                errors.push(Error::not_supported(&path.index(i), action, ACTIONS));
            }
            if spec.validation_actions.iter().take(i).any(|a| a == action) {
                errors.push(Error::duplicate(&path.index(i), action));
            }
        }
        let has = |action: &str| spec.validation_actions.iter().any(|a| a == action);
        if has("Deny") && has("Warn") {
            let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.push(Error::invalid(&path, &spec.validation_actions, detail));
        }
    }

    fn row(&self, now: i64) -> Row {
        binding::row(&self.metadata, &self.spec.policy_name, self.spec.param_ref.as_ref(), now)
    }
}
