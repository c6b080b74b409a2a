//! Rules for `metadata`: names, labels, annotations, owners, finalizers, and what never changes.
//!
//! Source: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation as rules,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// The violations of a name, or of a `generateName` when the flag is set.
pub type NameRule = fn(&str, bool) -> Vec<String>;

pub const SUBDOMAIN: NameRule = |name, prefix| masked(name, prefix, rules::is_dns1123_subdomain);
pub const LABEL: NameRule = |name, prefix| masked(name, prefix, rules::is_dns1123_label);
pub const LABEL_1035: NameRule = |name, prefix| masked(name, prefix, rules::is_dns1035_label);
pub const PATH_SEGMENT: NameRule = |name, prefix| {
    if prefix { rules::is_valid_path_segment_prefix(name) } else { rules::is_valid_path_segment_name(name) }
};

pub const FIELD_IMMUTABLE: &str = "field is immutable";

fn masked(name: &str, prefix: bool, rule: fn(&str) -> Vec<String>) -> Vec<String> {
    if prefix { rule(&rules::mask_trailing_dash(name)) } else { rule(name) }
}

fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|t| !t.is_empty())
}

/// What `metadata` must be on creation.
pub fn validate(meta: &ObjectMeta, namespaced: bool, name_rule: NameRule, path: &Path, errors: &mut ErrorList) {
    if let Some(prefix) = set(&meta.generate_name) {
        for violation in name_rule(prefix, true) {
            errors.push(Error::invalid(&path.child("generateName"), prefix, violation));
        }
    }
    match set(&meta.name) {
        None => errors.push(Error::required(&path.child("name"), "name or generateName is required")),
        Some(name) => {
            for violation in name_rule(name, false) {
                errors.push(Error::invalid(&path.child("name"), name, violation));
            }
        }
    }
    match (namespaced, set(&meta.namespace)) {
        (true, None) => errors.push(Error::required(&path.child("namespace"), "")),
        (true, Some(namespace)) => {
            for violation in rules::is_dns1123_label(namespace) {
                errors.push(Error::invalid(&path.child("namespace"), namespace, violation));
            }
        }
        (false, Some(_)) => {
            errors.push(Error::forbidden(&path.child("namespace"), "not allowed on this type"));
        }
        (false, None) => {}
    }
    validate_common(meta, path, errors);
    validate_finalizers(meta.finalizers.as_deref().unwrap_or_default(), &path.child("finalizers"), errors);
}

/// What holds on creation and on update alike.
fn validate_common(meta: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    if let Some(generation) = meta.generation.filter(|g| *g < 0) {
        let path = path.child("generation");
        errors.push(Error::invalid(&path, generation, "must be greater than or equal to 0"));
    }
    if let Some(labels) = &meta.labels {
        validate_labels(labels, &path.child("labels"), errors);
    }
    if let Some(annotations) = &meta.annotations {
        validate_annotations(annotations, &path.child("annotations"), errors);
    }
    if let Some(owners) = &meta.owner_references {
        validate_owners(owners, &path.child("ownerReferences"), errors);
    }
}

pub fn validate_labels(labels: &BTreeMap<String, String>, path: &Path, errors: &mut ErrorList) {
    for (key, value) in labels {
        validate_label_name(key, path, errors);
        for violation in rules::is_valid_label_value(value) {
            errors.push(Error::invalid(path, value, violation));
        }
    }
}

pub fn validate_label_name(name: &str, path: &Path, errors: &mut ErrorList) {
    for violation in rules::is_qualified_name(name) {
        errors.push(Error::invalid(path, name, violation));
    }
}

pub fn validate_annotations(annotations: &BTreeMap<String, String>, path: &Path, errors: &mut ErrorList) {
    let mut size = 0usize;
    for (key, value) in annotations {
        for violation in rules::is_qualified_name(&key.to_ascii_lowercase()) {
            errors.push(Error::invalid(path, key, violation));
        }
        size = size.saturating_add(key.len()).saturating_add(value.len());
    }
    if size > rules::TOTAL_ANNOTATION_SIZE_MAX {
        errors.push(Error::too_long(path, rules::TOTAL_ANNOTATION_SIZE_MAX));
    }
}

fn validate_owners(owners: &[OwnerReference], path: &Path, errors: &mut ErrorList) {
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        if version.is_empty() {
            errors.push(Error::invalid(&path.child("apiVersion"), &owner.api_version, "version must not be empty"));
        }
        if owner.kind.is_empty() {
            errors.push(Error::invalid(&path.child("kind"), &owner.kind, "must not be empty"));
        }
        if owner.name.is_empty() {
            errors.push(Error::invalid(&path.child("name"), &owner.name, "must not be empty"));
        }
        if owner.uid.is_empty() {
            errors.push(Error::invalid(&path.child("uid"), &owner.uid, "must not be empty"));
        }
        if (group, owner.kind.as_str()) == ("", "Event") {
            let detail = format!("/{version}, Kind=Event is disallowed from being an owner");
            errors.push(Error::invalid(path, owner, detail));
        }
        if owner.controller == Some(true) {
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    first.kind, first.name, owner.kind, owner.name
                );
                errors.push(Error::invalid(path, owners, detail));
            } else {
                controller = Some(owner);
            }
        }
    }
}

fn validate_finalizers(finalizers: &[String], path: &Path, errors: &mut ErrorList) {
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    for finalizer in finalizers {
        validate_finalizer(finalizer, path, errors);
    }
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(Error::invalid(path, finalizers, detail));
    }
}

pub fn validate_finalizer(finalizer: &str, path: &Path, errors: &mut ErrorList) {
    for violation in rules::is_qualified_name(finalizer) {
        errors.push(Error::invalid(path, finalizer, violation));
    }
}

/// What `metadata` must be on update. The server has filled in what clients may leave out.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    let finalizers = new.finalizers.as_deref().unwrap_or_default();
    validate_finalizers(finalizers, &path.child("finalizers"), errors);
    if old.deletion_timestamp.is_some() {
        let before = old.finalizers.as_deref().unwrap_or_default();
        let mut added: Vec<&str> = finalizers.iter().filter(|f| !before.contains(f)).map(String::as_str).collect();
        if !added.is_empty() {
            added.sort_unstable();
            let quoted: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            errors.push(Error::forbidden(&path.child("finalizers"), detail));
        }
    }
    immutable(&path.child("name"), set(&new.name), set(&old.name), errors);
    immutable(&path.child("namespace"), set(&new.namespace), set(&old.namespace), errors);
    immutable(&path.child("uid"), set(&new.uid), set(&old.uid), errors);
    immutable(&path.child("creationTimestamp"), &new.creation_timestamp, &old.creation_timestamp, errors);
    if new.deletion_timestamp != old.deletion_timestamp {
        immutable(&path.child("deletionTimestamp"), &new.deletion_timestamp, &old.deletion_timestamp, errors);
    }
    let (grace, grace_before) = (new.deletion_grace_period_seconds, old.deletion_grace_period_seconds);
    immutable(&path.child("deletionGracePeriodSeconds"), grace, grace_before, errors);
    if new.generation.unwrap_or_default() < old.generation.unwrap_or_default() {
        errors.push(Error::invalid(&path.child("generation"), new.generation, "must not be decremented"));
    }
    validate_common(new, path, errors);
}

/// `new` must equal `old`.
pub fn immutable<T: PartialEq + serde::Serialize>(path: &Path, new: T, old: T, errors: &mut ErrorList) {
    if new != old {
        errors.push(Error::invalid(path, new, FIELD_IMMUTABLE));
    }
}

/// Rules for a label selector (`spec.selector`).
pub fn validate_label_selector(selector: &LabelSelector, path: &Path, errors: &mut ErrorList) {
    if let Some(labels) = &selector.match_labels {
        validate_labels(labels, &path.child("matchLabels"), errors);
    }
    for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(Error::forbidden(&path.child("values"), detail));
                }
            }
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        validate_label_name(&expression.key, &path.child("key"), errors);
        for (j, value) in values.iter().enumerate() {
            for violation in rules::is_valid_label_value(value) {
                errors.push(Error::invalid(&path.child("values").index(j), value, violation));
            }
        }
    }
}

pub fn selector_is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}
