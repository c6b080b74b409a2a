//! Whether a pod may run on a node by its selector, affinity and tolerations: what the daemonset
//! controller has to know before the scheduler does.
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

/// Whether the pod's node selector and required affinity admit the node.
pub fn selects(spec: &PodSpec, node: &Node) -> bool {
    let labels = crate::pods::labels(&node.metadata);
    let by_selector = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    by_selector && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)))
}

fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = crate::pods::labels(&node.metadata);
    let name = node.metadata.name.as_ref();
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // An empty term matches nothing.
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, labels.get(&requirement.key)))
        && fields.iter().all(|requirement| requirement.key == "metadata.name" && holds(requirement, name))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let compared = |order: std::cmp::Ordering| {
        let pair = (value.and_then(number), values.first().and_then(number));
        matches!(pair, (Some(is), Some(wanted)) if is.cmp(&wanted) == order)
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(std::cmp::Ordering::Greater),
        "Lt" => compared(std::cmp::Ordering::Less),
        _ => false,
    }
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

/// The node's first taint of one of these effects that nothing tolerates.
pub fn untolerated<'a>(tolerations: &[Toleration], node: &'a Node, effects: &[&str]) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let matters = |taint: &&Taint| effects.contains(&taint.effect.as_str());
    taints.iter().filter(matters).find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;
    use std::sync::Arc;

    #[test]
    fn selectors_and_affinity_must_both_admit() {
        let node: Arc<Node> = object("metadata: {name: n, labels: {disk: ssd, cores: '8'}}");
        let admits = |spec: &str| selects(&object::<Arc<PodSpec>>(&format!("{{containers: [], {spec}}}")), &node);
        let affinity = |term: &str| {
            admits(&format!(
                "affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{term}]}}}}}}"
            ))
        };
        assert!(admits("nodeSelector: {disk: ssd}") && !admits("nodeSelector: {disk: hdd}"));
        assert!(affinity("{matchExpressions: [{key: cores, operator: Gt, values: ['4']}]}"));
        assert!(!affinity("{matchExpressions: [{key: cores, operator: Lt, values: ['4']}]}"));
        assert!(affinity("{matchFields: [{key: metadata.name, operator: In, values: [n]}]}"));
        assert!(!affinity("{}"), "an empty term matches nothing");
        assert!(affinity("{}, {matchExpressions: [{key: gone, operator: DoesNotExist}]}"), "one term is enough");
    }
}
