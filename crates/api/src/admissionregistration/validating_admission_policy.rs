//! ValidatingAdmissionPolicies.
use super::matching::{self, CATEGORY, FAILURE_POLICIES, GROUP};
use crate::{
    cells,
    core::pod::defaults::text,
    kind::{Kind, spec_and_status},
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::admissionregistration::v1::{ParamKind, ValidatingAdmissionPolicy};

/// `v1/ConfigMap`, `<unset>` when there is none.
pub fn param_kind(kind: Option<&ParamKind>) -> String {
    kind.map_or_else(
        || cells::UNSET.to_owned(),
        |k| format!("{}/{}", k.api_version.as_deref().unwrap_or_default(), k.kind.as_deref().unwrap_or_default()),
    )
}

impl Kind for ValidatingAdmissionPolicy {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer(
            "Validations",
            "Validations indicates the number of validation rules defined in this configuration",
        ),
        cells::text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new(GROUP, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .cluster()
            .category(CATEGORY)
            .status()
            .needs_resource_version()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        text(&mut spec.failure_policy, "Fail");
        if let Some(resources) = &mut spec.match_constraints {
            matching::default_match(resources);
        }
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        matching::one_of(spec.failure_policy.as_deref(), FAILURE_POLICIES, &path, "failurePolicy", errors);
        match &spec.match_constraints {
            None => errors.push(Error::required(&path.child("matchConstraints"), "")),
            Some(resources) => {
                let at = path.child("matchConstraints");
                if resources.resource_rules.as_ref().is_none_or(Vec::is_empty) {
                    errors.push(Error::required(&at.child("resourceRules"), ""));
                }
                matching::validate_match(resources, &at, errors);
            }
        }
        matching::validate_conditions(spec.match_conditions.as_deref().unwrap_or_default(), &path, errors);
        let validations = spec.validations.as_deref().unwrap_or_default();
        if validations.is_empty() && spec.audit_annotations.as_ref().is_none_or(Vec::is_empty) {
            let detail = "validations or auditAnnotations must contain at least one item";
            errors.push(Error::required(&path.child("validations"), detail));
        }
        for (i, validation) in validations.iter().enumerate() {
            if validation.expression.trim().is_empty() {
                let at = path.child("validations").index(i).child("expression");
                errors.push(Error::required(&at, "expression is not specified"));
            }
        }
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let count = spec.and_then(|s| s.validations.as_ref()).map_or(0, Vec::len);
        vec![
            cells::name(&self.metadata),
            i64::try_from(count).unwrap_or_default().into(),
            param_kind(spec.and_then(|s| s.param_kind.as_ref())).into(),
            cells::age(&self.metadata, now),
        ]
    }
}
