//! Validation of what a flow schema matches.
//!
//! Source: `pkg/apis/flowcontrol/validation` (behaviour and texts).
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::flowcontrol::v1::{
    NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, ServiceAccountSubject, Subject,
};

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(super) fn validate(rule: &PolicyRulesWithSubjects, path: &Path, errors: &mut ErrorList) {
    if rule.subjects.is_empty() {
        errors.push(Error::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (i, one) in rule.subjects.iter().enumerate() {
        subject(one, &path.child("subjects").index(i), errors);
    }
    let resources = rule.resource_rules.as_deref().unwrap_or_default();
    let paths = rule.non_resource_rules.as_deref().unwrap_or_default();
    if resources.is_empty() && paths.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(Error::required(path, detail));
    }
    for (i, one) in resources.iter().enumerate() {
        resource_rule(one, &path.child("resourceRules").index(i), errors);
    }
    for (i, one) in paths.iter().enumerate() {
        path_rule(one, &path.child("nonResourceRules").index(i), errors);
    }
}

fn subject(subject: &Subject, path: &Path, errors: &mut ErrorList) {
    // Field, the kind it belongs to, whether it is there.
    let members = [
        ("serviceAccount", "ServiceAccount", subject.service_account.is_some()),
        ("user", "User", subject.user.is_some()),
        ("group", "Group", subject.group.is_some()),
    ];
    if !members.iter().any(|(_, kind, _)| *kind == subject.kind) {
        let known = ["Group", "ServiceAccount", "User"];
        errors.push(Error::not_supported(&path.child("kind"), &subject.kind, &known));
        return;
    }
    for (field, kind, given) in members {
        let own = kind == subject.kind;
        if own && !given {
            let detail = format!("{field} is required when subject kind is '{kind}'");
            errors.push(Error::required(&path.child(field), detail));
        } else if !own && given {
            let detail = format!("{field} is forbidden when subject kind is not '{kind}'");
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    }
    match (subject.kind.as_str(), &subject.service_account, &subject.user, &subject.group) {
        ("ServiceAccount", Some(account), ..) => service_account(account, &path.child("serviceAccount"), errors),
        ("User", _, Some(user), _) if user.name.is_empty() => {
            errors.push(Error::required(&path.child("user").child("name"), ""));
        }
        ("Group", .., Some(group)) if group.name.is_empty() => {
            errors.push(Error::required(&path.child("group").child("name"), ""));
        }
        _ => {}
    }
}

fn service_account(account: &ServiceAccountSubject, path: &Path, errors: &mut ErrorList) {
    if account.name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else if account.name != "*" {
        for violation in validation::is_dns1123_subdomain(&account.name) {
            errors.push(Error::invalid(&path.child("name"), &account.name, violation));
        }
    }
    if account.namespace.is_empty() {
        errors.push(Error::required(&path.child("namespace"), "must specify namespace for service account"));
    } else {
        for violation in validation::is_dns1123_label(&account.namespace) {
            errors.push(Error::invalid(&path.child("namespace"), &account.namespace, violation));
        }
    }
}

fn has_wildcard(values: &[String]) -> bool {
    values.iter().any(|v| v == "*")
}

/// A wildcard stands alone; `what` is said of the others.
fn lonely_wildcard(values: &[String], path: &Path, what: &str, errors: &mut ErrorList) {
    if values.len() > 1 && has_wildcard(values) {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(path, values, detail));
    }
}

fn verbs(verbs: &[String], path: &Path, errors: &mut ErrorList) {
    if verbs.is_empty() {
        errors.push(Error::required(path, "verbs must contain at least one value"));
    } else if has_wildcard(verbs) {
        lonely_wildcard(verbs, path, "verbs", errors);
    } else if verbs.iter().any(|v| !VERBS.contains(&v.as_str())) {
        errors.push(Error::not_supported(path, verbs, VERBS));
    }
}

fn resource_rule(rule: &ResourcePolicyRule, path: &Path, errors: &mut ErrorList) {
    verbs(&rule.verbs, &path.child("verbs"), errors);
    for (field, values, one, others) in [
        ("apiGroups", &rule.api_groups, "api group", "api groups"),
        ("resources", &rule.resources, "resource", "resources"),
    ] {
        let at = path.child(field);
        if values.is_empty() {
            errors.push(Error::required(&at, format!("resource rules must supply at least one {one}")));
        }
        lonely_wildcard(values, &at, others, errors);
    }
    let at = path.child("namespaces");
    let namespaces = rule.namespaces.as_deref().unwrap_or_default();
    if namespaces.is_empty() && rule.cluster_scope != Some(true) {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(Error::required(&at, detail));
    }
    if has_wildcard(namespaces) {
        lonely_wildcard(namespaces, &at, "namespaces", errors);
        return;
    }
    for (i, namespace) in namespaces.iter().enumerate() {
        for violation in validation::is_dns1123_label(namespace) {
            let detail = format!("each member of this list must be '*' or a DNS-1123 label; {violation}");
            errors.push(Error::invalid(&at.index(i), namespace, detail));
        }
    }
}

fn path_rule(rule: &NonResourcePolicyRule, path: &Path, errors: &mut ErrorList) {
    verbs(&rule.verbs, &path.child("verbs"), errors);
    let at = path.child("nonResourceURLs");
    let urls = &rule.non_resource_urls;
    if urls.is_empty() {
        errors.push(Error::required(&at, "nonResourceURLs must contain at least one value"));
    } else if has_wildcard(urls) {
        lonely_wildcard(urls, &at, "non-resource URLs", errors);
    } else {
        for (i, url) in urls.iter().enumerate() {
            if let Some(detail) = wrong_url(url) {
                errors.push(Error::invalid(&at.index(i), url, detail));
            }
        }
    }
}

/// What is wrong with a path, which may end in `/*`.
fn wrong_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    if url.is_empty() {
        Some("must not be empty")
    } else if !url.starts_with('/') {
        Some("must start with slash")
    } else if url.contains(' ') {
        Some("must not contain white-space")
    } else if url.contains("//") {
        Some("must not contain double slash")
    } else if stars > 1 || stars == 1 && !url.ends_with("/*") {
        Some("wildcard can only do suffix matching")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in ["/", "/foo", "/apis/", "/healthz/*"] {
            assert_eq!(wrong_url(good), None, "{good}");
        }
        for bad in ["", "foo", "//", "/////", "/healthz/*/foo", "/healthz/foo bar", "/health*", "/health*/foo", "/*/*"]
        {
            assert!(wrong_url(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_rule_in_upstreams_words() {
        let rule: PolicyRulesWithSubjects = serde_json::from_value(serde_json::json!({
            "subjects": [{"kind": "User", "group": {"name": "g"}}, {"kind": "Robot"}],
            "resourceRules": [{"verbs": ["feed"], "apiGroups": ["*", "apps"], "resources": ["pods"]}],
        }))
        .unwrap_or_default();
        let mut errors = ErrorList::default();
        validate(&rule, &Path::new("r"), &mut errors);
        let said: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.body())).collect();
        assert_eq!(
            said,
            [
                "r.subjects[0].user: Required value: user is required when subject kind is 'User'",
                "r.subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "r.subjects[1].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                "r.resourceRules[0].verbs: Unsupported value: [\"feed\"]: supported values: \"create\", \"delete\", \
                 \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
                "r.resourceRules[0].apiGroups: Invalid value: [\"*\",\"apps\"]: if '*' is present, must not specify other api groups",
                "r.resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at \
                 least one namespace",
            ]
        );
    }
}
