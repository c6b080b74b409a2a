//! Node selector terms: which nodes a pod's node affinity or a volume's topology allows.
//!
//! Compiled once per pod template. A term without conditions matches no node, and so does a condition that
//! cannot be understood; terms are alternatives, conditions of one term all hold.
use crate::objects::StringMap;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

/// The only field that terms may speak of.
const NAME_FIELD: &str = "metadata.name";

/// A node selector: any of its terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms(Vec<Term>);

/// Conditions that hold together.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    labels: Vec<Requirement>,
    name: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Greater(i64),
    Less(i64),
    /// Not an operator we know, or a bound that is no number.
    Never,
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    fn new(source: &NodeSelectorRequirement) -> Self {
        let values = source.values.clone().unwrap_or_default();
        let bound = || values.first().and_then(|v| v.parse().ok());
        let operator = match source.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => bound().map_or(Operator::Never, Operator::Greater),
            "Lt" => bound().map_or(Operator::Never, Operator::Less),
            _ => Operator::Never,
        };
        Requirement { key: source.key.clone(), operator, values }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let number = value.and_then(|v| v.parse::<i64>().ok());
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Greater(bound) => number.is_some_and(|n| n > bound),
            Operator::Less(bound) => number.is_some_and(|n| n < bound),
            Operator::Never => false,
        }
    }
}

impl Term {
    pub fn new(source: &NodeSelectorTerm) -> Self {
        let compile = |list: &Option<Vec<NodeSelectorRequirement>>| {
            list.iter().flatten().map(Requirement::new).collect::<Vec<_>>()
        };
        Term { labels: compile(&source.match_expressions), name: compile(&source.match_fields) }
    }

    pub fn matches(&self, name: &str, labels: &StringMap) -> bool {
        !(self.labels.is_empty() && self.name.is_empty())
            && self.labels.iter().all(|r| r.matches(labels.get(&r.key).map(String::as_str)))
            && self.name.iter().all(|r| r.key == NAME_FIELD && r.matches(Some(name)))
    }

    /// The node names this term is bound to, if it names them.
    fn names(&self) -> Option<Vec<&str>> {
        let mut named = self.name.iter().filter(|r| r.key == NAME_FIELD && r.operator == Operator::In);
        let first: Vec<&str> = named.next()?.values.iter().map(String::as_str).collect();
        let rest: Vec<_> = named.collect();
        Some(first.into_iter().filter(|n| rest.iter().all(|r| r.values.iter().any(|v| v == n))).collect())
    }
}

impl Terms {
    pub fn new(source: &NodeSelector) -> Self {
        Terms(source.node_selector_terms.iter().map(Term::new).collect())
    }

    pub fn matches(&self, name: &str, labels: &StringMap) -> bool {
        self.0.iter().any(|term| term.matches(name, labels))
    }

    /// The only nodes that can match, when every term names its nodes (as the daemon set controller's pods do).
    pub fn names(&self) -> Option<Vec<&str>> {
        let mut all = Vec::new();
        for term in &self.0 {
            all.extend(term.names()?);
        }
        all.sort_unstable();
        all.dedup();
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn term(yaml: &str) -> Term {
        Term::new(&serde_saphyr::from_str(yaml).unwrap())
    }

    #[test]
    fn terms_match_labels_and_names() {
        let labels: StringMap = [("zone".into(), "a".into()), ("cores".into(), "8".into())].into();
        let table = [
            ("{}", false),
            ("matchExpressions: [{key: zone, operator: In, values: [a, b]}]", true),
            ("matchExpressions: [{key: zone, operator: NotIn, values: [a]}]", false),
            ("matchExpressions: [{key: gpu, operator: NotIn, values: [a]}]", true),
            ("matchExpressions: [{key: gpu, operator: DoesNotExist}]", true),
            ("matchExpressions: [{key: cores, operator: Gt, values: ['7']}]", true),
            ("matchExpressions: [{key: cores, operator: Lt, values: ['8']}]", false),
            ("matchExpressions: [{key: zone, operator: Gt, values: ['1']}]", false),
            ("matchFields: [{key: metadata.name, operator: In, values: [n1]}]", true),
            ("matchFields: [{key: metadata.name, operator: NotIn, values: [n1]}]", false),
            ("matchFields: [{key: spec.x, operator: In, values: [n1]}]", false),
        ];
        for (yaml, expected) in table {
            assert_eq!(term(yaml).matches("n1", &labels), expected, "{yaml}");
        }
    }
}
