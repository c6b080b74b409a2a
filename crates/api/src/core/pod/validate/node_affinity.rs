//! Rules for which nodes are asked for: by pods and by PersistentVolumes.
use crate::meta;
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

pub fn validate(affinity: &NodeAffinity, path: &Path, errors: &mut ErrorList) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        validate_selector(required, &path.child("requiredDuringSchedulingIgnoredDuringExecution"), errors);
    }
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_deref().unwrap_or_default();
    for (i, term) in preferred.iter().enumerate() {
        let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(i);
        weight(term.weight, &path, errors);
        validate_term(&term.preference, &path.child("preference"), errors);
    }
}

pub fn weight(weight: i32, path: &Path, errors: &mut ErrorList) {
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

pub fn validate_selector(selector: &NodeSelector, path: &Path, errors: &mut ErrorList) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (i, term) in selector.node_selector_terms.iter().enumerate() {
        validate_term(term, &path.index(i), errors);
    }
}

fn validate_term(term: &NodeSelectorTerm, path: &Path, errors: &mut ErrorList) {
    for (i, requirement) in term.match_expressions.iter().flatten().enumerate() {
        expression(requirement, &path.child("matchExpressions").index(i), errors);
    }
    for (i, requirement) in term.match_fields.iter().flatten().enumerate() {
        field(requirement, &path.child("matchFields").index(i), errors);
    }
}

fn expression(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut ErrorList) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if values.is_empty() {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), detail));
            }
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(Error::required(&path.child("values"), detail));
            }
        }
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    meta::validate_label_name(&requirement.key, &path.child("key"), errors);
}

fn field(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut ErrorList) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if values.len() != 1 {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(Error::required(&path.child("values"), detail));
            }
        }
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    if requirement.key == "metadata.name" {
        for (i, value) in values.iter().enumerate() {
            for violation in validation::is_dns1123_subdomain(value) {
                errors.push(Error::invalid(&path.child("values").index(i), value, violation));
            }
        }
    } else {
        errors.push(Error::invalid(&path.child("key"), &requirement.key, "not a valid field selector key"));
    }
}
