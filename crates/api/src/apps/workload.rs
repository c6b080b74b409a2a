//! What all workloads share: selectors that must match their template, counts, percentages, their columns.
use crate::{cells, core::pod, meta, resource::ScaleView};
use apimachinery::{
    field::{Error, ErrorList, Path},
    labels,
    table::{Cell, Column, Row},
    validation,
};
use k8s_openapi::{
    api::core::v1::PodTemplateSpec,
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

pub const CONTAINERS: Column = cells::wide("Containers", cells::CONTAINERS_DESCRIPTION);
pub const IMAGES: Column = cells::wide("Images", cells::IMAGES_DESCRIPTION);

/// `0` or more, in upstream's words.
pub fn non_negative(value: impl Into<i64>, path: &Path, errors: &mut ErrorList) {
    let value = value.into();
    if value < 0 {
        errors.push(Error::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// As [`non_negative`], when there is a value.
pub fn optional_non_negative(value: Option<impl Into<i64>>, path: &Path, errors: &mut ErrorList) {
    if let Some(value) = value {
        non_negative(value, path, errors);
    }
}

/// How a workload's selector and template are checked.
pub struct Checked<'a> {
    pub selector: &'a LabelSelector,
    pub template: &'a PodTemplateSpec,
    /// Restart policies its pods may have.
    pub restart_policies: &'a [&'a str],
    /// `deployment`, as the message about an empty selector names it.
    pub noun: &'a str,
}

pub fn validate(checked: &Checked<'_>, path: &Path, errors: &mut ErrorList) {
    let selector_path = path.child("selector");
    meta::validate_label_selector(checked.selector, &selector_path, errors);
    let template_path = path.child("template");
    let labels = checked.template.metadata.as_ref().and_then(|m| m.labels.as_ref());
    let mismatch = || {
        let detail = "`selector` does not match template `labels`";
        Error::invalid(&template_path.child("metadata").child("labels"), labels, detail)
    };
    if *checked.selector == LabelSelector::default() {
        // Not given, and that selects nothing.
        if checked.noun != "daemonset" {
            errors.push(Error::required(&selector_path, ""));
        }
        errors.push(mismatch());
        validate_template(checked.template, checked.restart_policies, &template_path, errors);
        return;
    }
    if meta::selector_is_empty(checked.selector) {
        let detail = format!("empty selector is invalid for {}", checked.noun);
        errors.push(Error::invalid(&selector_path, checked.selector, detail));
    }
    let Ok(selector) = labels::from_label_selector(checked.selector) else {
        errors.push(Error::invalid(&selector_path, checked.selector, "invalid label selector"));
        return;
    };
    let matches = labels.is_some_and(|l| selector.matches(l));
    if !selector.is_everything() && !matches {
        errors.push(mismatch());
    }
    validate_template(checked.template, checked.restart_policies, &template_path, errors);
}

pub fn validate_template(template: &PodTemplateSpec, policies: &[&str], path: &Path, errors: &mut ErrorList) {
    pod::validate::template(template, path, errors);
    let Some(spec) = &template.spec else { return };
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    if !policies.contains(&policy) && !policy.is_empty() {
        errors.push(Error::not_supported(&path.child("spec").child("restartPolicy"), policy, policies));
    }
    if spec.active_deadline_seconds.is_some() && policies == ["Always"] {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(Error::forbidden(&path.child("spec").child("activeDeadlineSeconds"), detail));
    }
}

/// The percentage, when it is one.
pub fn percent(value: Option<&IntOrString>) -> Option<i64> {
    match value? {
        IntOrString::String(text) => text.strip_suffix('%')?.parse().ok(),
        IntOrString::Int(_) => None,
    }
}

/// The number, or the percentage's.
pub fn int_or_percent(value: Option<&IntOrString>) -> i64 {
    match value {
        Some(IntOrString::Int(n)) => i64::from(*n),
        other => percent(other).unwrap_or_default(),
    }
}

/// A count of pods or a percentage of them, never negative.
pub fn validate_int_or_percent(value: Option<&IntOrString>, path: &Path, errors: &mut ErrorList) {
    match value {
        Some(IntOrString::Int(n)) => non_negative(*n, path, errors),
        Some(IntOrString::String(text)) => {
            for violation in validation::is_valid_percent(text) {
                errors.push(Error::invalid(path, text, violation));
            }
        }
        None => {}
    }
}

pub fn not_more_than_hundred_percent(value: Option<&IntOrString>, path: &Path, errors: &mut ErrorList) {
    if percent(value).is_some_and(|p| p > 100) {
        errors.push(Error::invalid(path, value, "must not be greater than 100%"));
    }
}

/// Containers, images and selector of a template: the wide columns.
pub fn wide_cells(template: Option<&PodTemplateSpec>, selector: Option<String>) -> Row {
    let containers = template.and_then(|t| t.spec.as_ref()).map(|s| s.containers.as_slice()).unwrap_or_default();
    let (names, images) = cells::containers(containers);
    let mut row: Row = vec![names.into(), images.into()];
    row.extend(selector.map(Cell::Text));
    row
}

pub fn scale_view(spec: Option<i32>, status: Option<i32>, selector: &LabelSelector) -> ScaleView {
    ScaleView {
        spec_replicas: spec.unwrap_or_default(),
        status_replicas: status.unwrap_or_default(),
        selector: labels::from_label_selector(selector).map(|s| s.to_string()).unwrap_or_default(),
    }
}

/// The selector of a workload never changes.
pub fn validate_same_selector(new: &LabelSelector, old: &LabelSelector, errors: &mut ErrorList) {
    meta::immutable(&Path::new("spec").child("selector"), new, old, errors);
}
