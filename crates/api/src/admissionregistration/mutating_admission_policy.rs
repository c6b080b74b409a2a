//! MutatingAdmissionPolicies.
use super::{
    matching::{self, CATEGORY, FAILURE_POLICIES, GROUP},
    validating_admission_policy::param_kind,
};
use crate::{
    cells,
    core::pod::defaults::text,
    kind::{Kind, spec_only},
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;

impl Kind for MutatingAdmissionPolicy {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer("Mutations", "Mutations indicates the number of mutations rules defined in this configuration"),
        cells::text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new(GROUP, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .cluster()
            .category(CATEGORY)
            .needs_resource_version()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        text(&mut spec.failure_policy, "Fail");
        if let Some(resources) = &mut spec.match_constraints {
            matching::default_match(resources);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        matching::one_of(spec.failure_policy.as_deref(), FAILURE_POLICIES, &path, "failurePolicy", errors);
        match &spec.match_constraints {
            None => errors.push(Error::required(&path.child("matchConstraints"), "")),
            Some(resources) => matching::validate_match(resources, &path.child("matchConstraints"), errors),
        }
        matching::validate_conditions(spec.match_conditions.as_deref().unwrap_or_default(), &path, errors);
        if spec.mutations.as_ref().is_none_or(Vec::is_empty) {
            errors.push(Error::required(&path.child("mutations"), "mutations must contain at least one item"));
        }
        match spec.reinvocation_policy.as_deref() {
            None | Some("") => errors.push(Error::required(&path.child("reinvocationPolicy"), "")),
            policy => matching::one_of(policy, &["IfNeeded", "Never"], &path, "reinvocationPolicy", errors),
        }
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let count = spec.and_then(|s| s.mutations.as_ref()).map_or(0, Vec::len);
        vec![
            cells::name(&self.metadata),
            i64::try_from(count).unwrap_or_default().into(),
            param_kind(spec.and_then(|s| s.param_kind.as_ref())).into(),
            cells::age(&self.metadata, now),
        ]
    }
}
