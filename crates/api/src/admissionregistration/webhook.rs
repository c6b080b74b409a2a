//! What mutating and validating webhooks share.
use super::matching::{self, FAILURE_POLICIES, MATCH_POLICIES, Rule, one_of};
use crate::{core::pod::defaults::text, meta};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::{
    api::admissionregistration::v1::{MatchCondition, RuleWithOperations, WebhookClientConfig},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

pub const TIMEOUT_SECONDS: i32 = 10;
const TIMEOUT_MAX_SECONDS: i32 = 30;

/// The fields both have.
pub struct Webhook<'a> {
    pub name: &'a str,
    pub client: &'a WebhookClientConfig,
    pub rules: &'a [RuleWithOperations],
    pub failure_policy: Option<&'a str>,
    pub match_policy: Option<&'a str>,
    pub side_effects: &'a str,
    pub timeout_seconds: Option<i32>,
    pub review_versions: &'a [String],
    pub conditions: &'a [MatchCondition],
    pub selectors: [(Option<&'a LabelSelector>, &'static str); 2],
}

pub fn default_client(client: &mut WebhookClientConfig) {
    if let Some(service) = &mut client.service {
        service.port.get_or_insert(443);
    }
}

pub fn default_rules(rules: &mut Option<Vec<RuleWithOperations>>) {
    for rule in rules.iter_mut().flatten() {
        text(&mut rule.scope, "*");
    }
}

pub fn validate(hooks: &[Webhook<'_>], errors: &mut ErrorList) {
    for (i, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(i);
        one(hook, &path, errors);
        if hooks.iter().take(i).any(|h| h.name == hook.name) {
            errors.push(Error::duplicate(&path.child("name"), hook.name));
        }
    }
}

fn one(hook: &Webhook<'_>, path: &Path, errors: &mut ErrorList) {
    let at = path.child("name");
    for violation in validation::is_dns1123_subdomain(hook.name) {
        errors.push(Error::invalid(&at, hook.name, violation));
    }
    if hook.name.split('.').count() < 3 {
        errors.push(Error::invalid(
            &at,
            hook.name,
            "should be a domain with at least three segments separated by dots",
        ));
    }
    for (i, rule) in hook.rules.iter().enumerate() {
        let rule = Rule {
            operations: rule.operations.as_deref().unwrap_or_default(),
            groups: rule.api_groups.as_deref().unwrap_or_default(),
            versions: rule.api_versions.as_deref().unwrap_or_default(),
            resources: rule.resources.as_deref().unwrap_or_default(),
            scope: rule.scope.as_deref(),
        };
        matching::validate_rule(&rule, &path.child("rules").index(i), errors);
    }
    one_of(hook.failure_policy, FAILURE_POLICIES, path, "failurePolicy", errors);
    one_of(hook.match_policy, MATCH_POLICIES, path, "matchPolicy", errors);
    if hook.side_effects.is_empty() {
        let detail = "must specify one of None, NoneOnDryRun";
        errors.push(Error::required(&path.child("sideEffects"), detail));
    } else {
        one_of(Some(hook.side_effects), &["None", "NoneOnDryRun"], path, "sideEffects", errors);
    }
    if let Some(seconds) = hook.timeout_seconds.filter(|s| !(1..=TIMEOUT_MAX_SECONDS).contains(s)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(Error::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    for (selector, field) in hook.selectors {
        if let Some(selector) = selector {
            meta::validate_label_selector(selector, &path.child(field), errors);
        }
    }
    client(hook.client, &path.child("clientConfig"), errors);
    matching::validate_conditions(hook.conditions, path, errors);
    let at = path.child("admissionReviewVersions");
    if hook.review_versions.is_empty() {
        errors.push(Error::required(&at, "must specify one of v1, v1beta1"));
    } else if !hook.review_versions.iter().any(|v| matches!(v.as_str(), "v1" | "v1beta1")) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(Error::invalid(&at, hook.review_versions, detail));
    }
}

fn client(client: &WebhookClientConfig, path: &Path, errors: &mut ErrorList) {
    match (&client.url, &client.service) {
        (None, None) | (Some(_), Some(_)) => {
            errors.push(Error::required(path, "exactly one of url or service is required"));
        }
        (Some(url), None) => {
            if !url.starts_with("https://") {
                let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                errors.push(Error::invalid(&path.child("url"), url, detail));
            }
        }
        (None, Some(service)) => {
            let path = path.child("service");
            if service.name.is_empty() {
                errors.push(Error::required(&path.child("name"), "service name is required"));
            }
            if service.namespace.is_empty() {
                errors.push(Error::required(&path.child("namespace"), "service namespace is required"));
            }
            if let Some(port) = service.port.filter(|p| !(1..=65_535).contains(p)) {
                let detail = "port is not valid: must be between 1 and 65535, inclusive";
                errors.push(Error::invalid(&path.child("port"), port, detail));
            }
            if let Some(url_path) = service.path.as_deref().filter(|p| !p.starts_with('/')) {
                errors.push(Error::invalid(&path.child("path"), url_path, "must start with a '/'"));
            }
        }
    }
}
