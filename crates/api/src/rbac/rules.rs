//! Rules for the rules: what a role's entry must say.
use apimachinery::field::{Error, ErrorList, Path};
use k8s_openapi::api::rbac::v1::PolicyRule;

fn is_set(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_some_and(|l| !l.is_empty())
}

pub fn validate(rules: &[PolicyRule], namespaced: bool, errors: &mut ErrorList) {
    for (i, rule) in rules.iter().enumerate() {
        let path = || Path::new("rules").index(i);
        if rule.verbs.is_empty() {
            errors.push(Error::required(&path().child("verbs"), "verbs must contain at least one value"));
        }
        if is_set(&rule.non_resource_urls) {
            let at = path().child("nonResourceURLs");
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(Error::invalid(&at, &rule.non_resource_urls, detail));
            }
            if is_set(&rule.api_groups) || is_set(&rule.resources) || is_set(&rule.resource_names) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(Error::invalid(&at, &rule.non_resource_urls, detail));
            }
            continue;
        }
        if !is_set(&rule.api_groups) {
            let detail = "resource rules must supply at least one api group";
            errors.push(Error::required(&path().child("apiGroups"), detail));
        }
        if !is_set(&rule.resources) {
            let detail = "resource rules must supply at least one resource";
            errors.push(Error::required(&path().child("resources"), detail));
        }
    }
}
