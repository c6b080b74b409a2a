//! What both sorts of policy bindings share.
use super::matching;
use crate::cells;
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::{
    api::admissionregistration::v1::{MatchResources, ParamRef},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

pub const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::text("PolicyName", "policyName references the policy this binding is for"),
    cells::text("ParamRef", "paramRef specifies the parameter resource used to configure the admission control policy"),
    cells::AGE,
];

pub fn default_match(resources: &mut Option<MatchResources>) {
    if let Some(resources) = resources {
        matching::default_match(resources);
    }
}

pub fn validate(name: &str, parameters: Option<&ParamRef>, resources: Option<&MatchResources>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if name.is_empty() {
        errors.push(Error::required(&path.child("policyName"), ""));
    }
    if let Some(parameters) = parameters {
        let path = path.child("paramRef");
        let named = parameters.name.as_ref().is_some_and(|n| !n.is_empty());
        match (named, parameters.selector.is_some()) {
            (true, true) => {
                let detail = "name and selector are mutually exclusive";
                errors.push(Error::forbidden(&path.child("name"), detail));
            }
            (false, false) => errors.push(Error::required(&path, "one of name or selector must be specified")),
            _ => {}
        }
        let action = parameters.parameter_not_found_action.as_deref();
        if action.is_none_or(str::is_empty) {
            errors.push(Error::required(&path.child("parameterNotFoundAction"), ""));
        } else {
            matching::one_of(action, &["Allow", "Deny"], &path, "parameterNotFoundAction", errors);
        }
    }
    if let Some(resources) = resources {
        matching::validate_match(resources, &path.child("matchResources"), errors);
    }
}

pub fn row(meta: &ObjectMeta, policy: &str, parameters: Option<&ParamRef>, now: i64) -> Row {
    let parameters = parameters.map(|p| {
        let namespace = p.namespace.as_deref().filter(|n| !n.is_empty());
        match (p.name.as_deref().filter(|n| !n.is_empty()), namespace) {
            (Some(name), Some(namespace)) => format!("{namespace}/{name}"),
            (Some(name), None) => format!("*/{name}"),
            (None, _) => cells::selector(p.selector.as_ref()),
        }
    });
    vec![
        cells::name(meta),
        policy.into(),
        parameters.unwrap_or_else(|| cells::UNSET.into()).into(),
        cells::age(meta, now),
    ]
}
