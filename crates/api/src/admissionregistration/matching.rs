//! What webhooks and policies share: which requests they are asked about.
use crate::core::pod::defaults::text;
use apimachinery::field::{Error, ErrorList, Path};
use k8s_openapi::api::admissionregistration::v1::{MatchCondition, MatchResources, NamedRuleWithOperations};

pub const GROUP: &str = "admissionregistration.k8s.io";
pub const CATEGORY: &str = "api-extensions";
pub const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
pub const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// The parts of a rule, whatever it is a rule of.
pub struct Rule<'a> {
    pub operations: &'a [String],
    pub groups: &'a [String],
    pub versions: &'a [String],
    pub resources: &'a [String],
    pub scope: Option<&'a str>,
}

pub fn one_of(value: Option<&str>, known: &[&str], path: &Path, field: &str, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|v| !known.contains(v)) {
        errors.push(Error::not_supported(&path.child(field), value, known));
    }
}

pub fn validate_rule(rule: &Rule<'_>, path: &Path, errors: &mut ErrorList) {
    for (list, field) in [
        (rule.operations, "operations"),
        (rule.groups, "apiGroups"),
        (rule.versions, "apiVersions"),
        (rule.resources, "resources"),
    ] {
        let at = || path.child(field);
        if list.is_empty() {
            errors.push(Error::required(&at(), ""));
        }
        if field != "resources" && list.len() > 1 && list.iter().any(|v| v == "*") {
            let detail = "if '*' is present, must not specify other values";
            let shown =
                if field == "apiGroups" { "if '*' is present, must not specify other API groups" } else { detail };
            errors.push(Error::invalid(&at(), list, shown));
        }
        if !matches!(field, "apiGroups") {
            for (i, _) in list.iter().enumerate().filter(|(_, v)| v.is_empty()) {
                errors.push(Error::required(&at().index(i), ""));
            }
        }
    }
    for (i, operation) in rule.operations.iter().enumerate().filter(|(_, o)| !OPERATIONS.contains(&o.as_str())) {
        errors.push(Error::not_supported(&path.child("operations").index(i), operation, OPERATIONS));
    }
    one_of(rule.scope, SCOPES, path, "scope", errors);
}

pub fn validate_conditions(conditions: &[MatchCondition], path: &Path, errors: &mut ErrorList) {
    let path = path.child("matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        errors.push(Error::too_many(&path, conditions.len(), CONDITIONS_MAX));
    }
    for (i, condition) in conditions.iter().enumerate() {
        let at = path.index(i);
        if condition.expression.trim().is_empty() {
            errors.push(Error::required(&at.child("expression"), ""));
        }
        if condition.name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else if conditions.iter().take(i).any(|c| c.name == condition.name) {
            errors.push(Error::duplicate(&at.child("name"), &condition.name));
        }
    }
}

fn default_rules(rules: &mut Option<Vec<NamedRuleWithOperations>>) {
    for rule in rules.iter_mut().flatten() {
        text(&mut rule.scope, "*");
    }
}

pub fn default_match(resources: &mut MatchResources) {
    text(&mut resources.match_policy, "Equivalent");
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    default_rules(&mut resources.resource_rules);
    default_rules(&mut resources.exclude_resource_rules);
}

pub fn validate_match(resources: &MatchResources, path: &Path, errors: &mut ErrorList) {
    one_of(resources.match_policy.as_deref(), MATCH_POLICIES, path, "matchPolicy", errors);
    for (rules, field) in
        [(&resources.resource_rules, "resourceRules"), (&resources.exclude_resource_rules, "excludeResourceRules")]
    {
        for (i, rule) in rules.iter().flatten().enumerate() {
            let rule = Rule {
                operations: rule.operations.as_deref().unwrap_or_default(),
                groups: rule.api_groups.as_deref().unwrap_or_default(),
                versions: rule.api_versions.as_deref().unwrap_or_default(),
                resources: rule.resources.as_deref().unwrap_or_default(),
                scope: rule.scope.as_deref(),
            };
            validate_rule(&rule, &path.child(field).index(i), errors);
        }
    }
}
