//! What claims ask for: defaults and rules that claims and their templates share.
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::resource::v1::{DeviceRequest, ResourceClaimSpec};

const REQUESTS_MAX: usize = 32;

pub fn default_spec(spec: &mut ResourceClaimSpec) {
    let requests = spec.devices.iter_mut().flat_map(|d| d.requests.iter_mut().flatten());
    for request in requests {
        if let Some(exactly) = &mut request.exactly {
            let mode = exactly.allocation_mode.get_or_insert_with(|| "ExactCount".into());
            if mode == "ExactCount" {
                exactly.count.get_or_insert(1);
            }
        }
        for alternative in request.first_available.iter_mut().flatten() {
            let mode = alternative.allocation_mode.get_or_insert_with(|| "ExactCount".into());
            if mode == "ExactCount" {
                alternative.count.get_or_insert(1);
            }
        }
    }
}

pub fn validate_spec(spec: &ResourceClaimSpec, path: &Path, errors: &mut ErrorList) {
    let path = path.child("devices").child("requests");
    let requests = spec.devices.as_ref().and_then(|d| d.requests.as_deref()).unwrap_or_default();
    if requests.len() > REQUESTS_MAX {
        errors.push(Error::too_many(&path, requests.len(), REQUESTS_MAX));
    }
    for (i, request) in requests.iter().enumerate() {
        let at = path.index(i);
        validate_request(request, &at, errors);
        if requests.iter().take(i).any(|r| r.name == request.name) {
            errors.push(Error::duplicate(&at, &request.name));
        }
    }
}

fn validate_request(request: &DeviceRequest, path: &Path, errors: &mut ErrorList) {
    for violation in validation::is_dns1123_label(&request.name) {
        errors.push(Error::invalid(&path.child("name"), &request.name, violation));
    }
    let alternatives = request.first_available.as_deref().unwrap_or_default();
    match (&request.exactly, alternatives.is_empty()) {
        (None, true) => {
            errors.push(Error::required(path, "exactly one of `exactly` or `firstAvailable` is required"));
        }
        (Some(_), false) => {
            errors.push(Error::invalid(
                path,
                &request.name,
                "exactly one of `exactly` or `firstAvailable` is required",
            ));
        }
        (Some(exactly), true) => {
            let path = path.child("exactly");
            device(&exactly.device_class_name, exactly.allocation_mode.as_deref(), exactly.count, &path, errors);
        }
        (None, false) => {
            for (i, one) in alternatives.iter().enumerate() {
                let path = path.child("firstAvailable").index(i);
                for violation in validation::is_dns1123_label(&one.name) {
                    errors.push(Error::invalid(&path.child("name"), &one.name, violation));
                }
                device(&one.device_class_name, one.allocation_mode.as_deref(), one.count, &path, errors);
            }
        }
    }
}

fn device(class: &str, mode: Option<&str>, count: Option<i64>, path: &Path, errors: &mut ErrorList) {
    let at = path.child("deviceClassName");
    if class.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        for violation in validation::is_dns1123_subdomain(class) {
            errors.push(Error::invalid(&at, class, violation));
        }
    }
    match mode {
        Some("All") => {
            if count.is_some_and(|c| c != 0) {
                let detail = "must not be specified when allocationMode is 'All'";
                errors.push(Error::invalid(&path.child("count"), count, detail));
            }
        }
        Some("ExactCount") => {
            if count.is_none_or(|c| c <= 0) {
                errors.push(Error::invalid(&path.child("count"), count, "must be greater than zero"));
            }
        }
        other => {
            let known = ["All", "ExactCount"];
            errors.push(Error::not_supported(&path.child("allocationMode"), other.unwrap_or_default(), &known));
        }
    }
}
