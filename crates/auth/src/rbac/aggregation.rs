//! Aggregated ClusterRoles: their rules are those of the roles their selectors match.
//!
//! Pure; the bootstrap and the clusterrole-aggregation controller both use it, so that they never disagree.
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, PolicyRule},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

fn matches(selector: &LabelSelector, role: &ClusterRole) -> bool {
    let value = |key: &str| role.metadata.labels.as_ref().and_then(|l| l.get(key));
    let equal = selector.match_labels.iter().flatten().all(|(k, v)| value(k) == Some(v));
    let expressions = selector.match_expressions.iter().flatten().all(|e| {
        let listed = |v: &String| e.values.as_ref().is_some_and(|all| all.contains(v));
        match e.operator.as_str() {
            "In" => value(&e.key).is_some_and(listed),
            "NotIn" => !value(&e.key).is_some_and(listed),
            "Exists" => value(&e.key).is_some(),
            "DoesNotExist" => value(&e.key).is_none(),
            _ => false,
        }
    });
    equal && expressions
}

/// The rules `role` should have, given all ClusterRoles; `None` when it does not aggregate.
pub fn aggregated_rules(role: &ClusterRole, all: &[&ClusterRole]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let mut chosen: Vec<&ClusterRole> = all
            .iter()
            .copied()
            .filter(|other| other.metadata.name != role.metadata.name && matches(selector, other))
            .collect();
        chosen.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for rule in chosen.iter().flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}
