//! ClusterRole aggregation: a role with an aggregation rule gets the rules of the roles it selects.
//!
//! Watches ClusterRoles; any change may matter to any aggregated role. Small enough that its plan is here.
use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup, Write},
};
use apimachinery::labels;
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;
use std::sync::Arc;

struct Aggregation {
    roles: Cache<ClusterRole>,
}

/// Start the ClusterRole aggregation controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let roles = setup.cache::<ClusterRole>();
    let all = roles.clone();
    setup.follow(&roles, move |old, new, add| {
        let same = |a: &ClusterRole, b: &ClusterRole| a.rules == b.rules && a.metadata.labels == b.metadata.labels;
        if let (Some(old), Some(new)) = (old, new)
            && same(old, new)
            && old.aggregation_rule == new.aggregation_rule
        {
            return;
        }
        for role in all.list().iter().map(|role| &**role).chain(new).filter(|role| role.aggregation_rule.is_some()) {
            add(Key::of(role));
        }
    });
    Ok(Arc::new(Aggregation { roles }))
}

fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Plan {
    let mut plan = Plan::nothing();
    let Some(aggregation) = &role.aggregation_rule else { return plan };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let Ok(selector) = labels::from_label_selector(selector) else { continue };
        // In the order of their names, so that equal roles give equal rules.
        for other in all.iter().filter(|other| other.metadata.name != role.metadata.name) {
            if selector.matches(pods::labels(&other.metadata)) {
                let fresh =
                    other.rules.iter().flatten().filter(|rule| !rules.contains(rule)).cloned().collect::<Vec<_>>();
                rules.extend(fresh);
            }
        }
    }
    if role.rules.clone().unwrap_or_default() != rules {
        plan.write(Write::merge::<ClusterRole>(Key::of(role), json!({ "rules": rules })).or_gone());
    }
    plan
}

#[async_trait]
impl Controller for Aggregation {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let Some(role) = self.roles.at(key) else { return Ok(Plan::nothing()) };
        Ok(plan(&role, &self.roles.list()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{object, objects};

    #[test]
    fn rules_are_gathered_once() {
        let role: Arc<ClusterRole> = object(
            "metadata: {name: view}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {to-view: 'true'}}]}",
        );
        let rule = "{apiGroups: [''], resources: [pods], verbs: [get]}";
        let others = objects(&format!(
            "metadata: {{name: a, labels: {{to-view: 'true'}}}}\nrules: [{rule}]\n---\n\
             metadata: {{name: b, labels: {{to-view: 'true'}}}}\nrules: [{rule}]\n---\n\
             metadata: {{name: c}}\nrules: [{{apiGroups: ['*'], resources: ['*'], verbs: ['*']}}]"
        ));
        let text = plan(&role, &others).to_string();
        let expected = r#"patch ClusterRole view {"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}"#;
        assert_eq!(text.trim(), expected);
    }
}
