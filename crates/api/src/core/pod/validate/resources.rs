//! Rules for what containers and pods ask for.
use super::super::resources::containers_requests;
use crate::amounts::{self, ResourceList};
use apimachinery::{
    field::{Error, ErrorList, Path},
    quantity::Quantity,
    validation,
};
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

const HUGE_PAGES: &str = "hugepages-";

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES)
}

/// More of it may be promised than there is.
fn may_overcommit(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
        || (name.split_once('/').is_some_and(|(domain, _)| domain.ends_with("kubernetes.io")))
}

fn is_whole(name: &str) -> bool {
    !is_standard(name) && name.contains('/') && !may_overcommit(name)
}

fn check_name(name: &str, path: &Path, errors: &mut ErrorList) {
    for violation in validation::is_qualified_name(name) {
        errors.push(Error::invalid(path, name, violation));
    }
    if !name.contains('/') && !is_standard(name) {
        errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
    }
}

fn check_list(list: &ResourceList, path: &Path, errors: &mut ErrorList) {
    for (name, amount) in list {
        // Names known to be good and amounts that parse need no path.
        let parsed = Quantity::parse(&amount.0);
        let fine = is_standard(name) && parsed.as_ref().is_ok_and(|a| !a.is_negative());
        if fine {
            continue;
        }
        let at = path.key(name);
        check_name(name, &at, errors);
        let parsed = amounts::validate_non_negative(amount, &at, errors);
        if is_whole(name) && parsed.is_some_and(|a| a.milli_value() % 1000 != 0) {
            errors.push(Error::invalid(&at, &amount.0, "must be an integer"));
        }
    }
}

/// `resources` of a container at `path`.
pub fn requirements(resources: &ResourceRequirements, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let empty = ResourceList::new();
    let limits = resources.limits.as_ref().unwrap_or(&empty);
    let requests = resources.requests.as_ref().unwrap_or(&empty);
    let claims = resources.claims.as_deref().unwrap_or_default();
    if limits.is_empty() && requests.is_empty() && claims.is_empty() {
        return;
    }
    let path = path.child("resources");
    check_list(limits, &path.child("limits"), errors);
    check_list(requests, &path.child("requests"), errors);
    within_limits(limits, requests, &path, errors);
    for (i, claim) in claims.iter().enumerate() {
        let at = path.child("claims").index(i);
        if claim.name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else if !spec.resource_claims.iter().flatten().any(|c| c.name == claim.name) {
            errors.push(Error::not_found(&at, &claim.name));
        }
    }
}

fn within_limits(limits: &ResourceList, requests: &ResourceList, path: &Path, errors: &mut ErrorList) {
    for (name, amount) in requests {
        let (Ok(request), limit) = (Quantity::parse(&amount.0), amounts::get(Some(limits), name)) else { continue };
        let at = || path.child("requests");
        match limit {
            Some(limit) if request != limit && !may_overcommit(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&at(), request.to_string(), detail));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&at(), request.to_string(), detail));
            }
            None if !may_overcommit(name) => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(Error::required(&path.child("limits"), detail));
            }
            _ => {}
        }
    }
}

pub fn pod_level(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(resources) = &spec.resources else { return };
    let path = path.child("resources");
    let empty = ResourceList::new();
    let limits = resources.limits.as_ref().unwrap_or(&empty);
    let requests = resources.requests.as_ref().unwrap_or(&empty);
    for (list, field) in [(limits, "limits"), (requests, "requests")] {
        check_list(list, &path.child(field), errors);
        for name in list.keys().filter(|n| !matches!(n.as_str(), "cpu" | "memory") && !n.starts_with(HUGE_PAGES)) {
            let at = path.child(field).key(name);
            errors.push(Error::not_supported(&at, name, &["cpu", "hugepages-", "memory"]));
        }
    }
    within_limits(limits, requests, &path, errors);
    let together = containers_requests(spec);
    for (name, amount) in amounts::parsed(Some(requests)) {
        if let Some(sum) = together.get(name).filter(|sum| **sum > amount) {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(Error::invalid(&path.child("requests").key(name), amount.to_string(), detail));
        }
    }
}

pub fn overhead(overhead: &ResourceList, path: &Path, errors: &mut ErrorList) {
    let path = path.child("overhead");
    for (name, amount) in overhead {
        let at = path.key(name);
        check_name(name, &at, errors);
        amounts::validate_non_negative(amount, &at, errors);
    }
}
