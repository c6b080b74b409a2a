//! What RoleBindings and ClusterRoleBindings share: subjects, the role, their columns.
use crate::{cells, meta};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::{
    api::rbac::v1::{RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

pub const GROUP: &str = "rbac.authorization.k8s.io";

pub const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::text(
        "Role",
        "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error. This field is immutable.",
    ),
    cells::AGE,
    cells::wide("Users", "Users in the roleBinding"),
    cells::wide("Groups", "Groups in the roleBinding"),
    cells::wide("ServiceAccounts", "ServiceAccounts in the roleBinding"),
];

pub fn default_role(role: &mut RoleRef) {
    if role.api_group.as_ref().is_none_or(String::is_empty) {
        role.api_group = Some(GROUP.into());
    }
}

pub fn default_subjects(subjects: &mut Option<Vec<Subject>>) {
    for subject in subjects.iter_mut().flatten() {
        if subject.api_group.as_ref().is_none_or(String::is_empty) && matches!(subject.kind.as_str(), "User" | "Group")
        {
            subject.api_group = Some(GROUP.into());
        }
    }
}

pub fn validate(role: &RoleRef, subjects: &[Subject], namespaced: bool, errors: &mut ErrorList) {
    let path = Path::new("roleRef");
    if role.api_group.as_deref() != Some(GROUP) {
        let group = role.api_group.as_deref().unwrap_or_default();
        errors.push(Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.kind.as_str()) {
        errors.push(Error::not_supported(&path.child("kind"), &role.kind, kinds));
    }
    if role.name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        for violation in validation::is_valid_path_segment_name(&role.name) {
            errors.push(Error::invalid(&path.child("name"), &role.name, violation));
        }
    }
    for (i, subject) in subjects.iter().enumerate() {
        validate_subject(subject, namespaced, &Path::new("subjects").index(i), errors);
    }
}

fn validate_subject(subject: &Subject, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    if subject.name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let group = subject.api_group.as_deref().unwrap_or_default();
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                for violation in meta::SUBDOMAIN(&subject.name, false) {
                    errors.push(Error::invalid(&path.child("name"), &subject.name, violation));
                }
            }
            if !group.is_empty() {
                errors.push(Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && subject.namespace.as_ref().is_none_or(String::is_empty) {
                errors.push(Error::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            let known = ["ServiceAccount", "User", "Group"];
            errors.push(Error::not_supported(&path.child("kind"), other, &known));
        }
    }
}

/// Another role means another binding.
pub fn validate_update(new: &RoleRef, old: &RoleRef, errors: &mut ErrorList) {
    if new != old {
        errors.push(Error::invalid(&Path::new("roleRef"), new, "cannot change roleRef"));
    }
}

pub fn row(meta: &ObjectMeta, role: &RoleRef, subjects: &[Subject], now: i64) -> Row {
    let of = |kind: &str| -> Vec<String> {
        let subjects = subjects.iter().filter(|s| s.kind == kind);
        subjects
            .map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", s.namespace.as_deref().unwrap_or_default(), s.name),
                _ => s.name.clone(),
            })
            .collect()
    };
    vec![
        cells::name(meta),
        format!("{}/{}", role.kind, role.name).into(),
        cells::age(meta, now),
        of("User").join(", ").into(),
        of("Group").join(", ").into(),
        of("ServiceAccount").join(", ").into(),
    ]
}
