//! What has to be done to roles and bindings so that they have what a file says.
//!
//! Source: `k8s.io/component-helpers/auth/rbac/{reconciliation,validation}`. Pure: two objects in, a plan out.
use serde_json::{Map, Value, json};

/// Objects with this annotation and `false` are left alone.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    None,
    Create,
    Update,
    /// What a binding refers to cannot be changed.
    Recreate,
}

/// What is to be done about one object.
#[derive(Debug)]
pub struct Plan {
    pub object: Value,
    pub operation: Operation,
    pub protected: bool,
    pub missing: Vec<Value>,
    pub extra: Vec<Value>,
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

pub fn create(expected: &Value, is_role: bool) -> Plan {
    let missing = list(&expected[if is_role { "rules" } else { "subjects" }]);
    Plan { object: expected.clone(), operation: Operation::Create, protected: false, missing, extra: Vec::new() }
}

/// A plan that changes nothing but labels and annotations; those that exist win.
fn merged(existing: &Value, expected: &Value) -> Plan {
    let mut object = existing.clone();
    let mut operation = Operation::None;
    for field in ["annotations", "labels"] {
        let Some(wanted) = expected["metadata"][field].as_object() else { continue };
        let mut all: Map<String, Value> = wanted.clone();
        all.extend(existing["metadata"][field].as_object().cloned().unwrap_or_default());
        let all = Value::Object(all);
        if all != existing["metadata"][field] {
            object["metadata"][field] = all;
            operation = Operation::Update;
        }
    }
    let protected = existing["metadata"]["annotations"][AUTO_UPDATE] == "false";
    Plan { object, operation, protected, missing: Vec::new(), extra: Vec::new() }
}

pub fn role(existing: &Value, expected: &Value, remove: bool) -> Plan {
    let mut plan = merged(existing, expected);
    let (has, wants) = (list(&existing["rules"]), list(&expected["rules"]));
    let (before, after) = (&existing["aggregationRule"], &expected["aggregationRule"]);
    if before.is_null() || after.is_null() {
        plan.extra = uncovered(&wants, &has);
    }
    plan.missing = uncovered(&has, &wants);
    join(&mut plan, "rules", has, wants, remove);
    let selectors = |rule: &Value| list(&rule["clusterRoleSelectors"]);
    let beyond = |one: &Value, other: &Value| -> Vec<Value> {
        let known = selectors(other);
        selectors(one).into_iter().filter(|selector| !known.contains(selector)).collect()
    };
    let (missing, extra) = (beyond(after, before), beyond(before, after));
    if after.is_null() && !before.is_null() {
        if let Some(map) = plan.object.as_object_mut() {
            map.remove("aggregationRule");
        }
    } else if !remove && !missing.is_empty() {
        let all: Vec<Value> = selectors(before).into_iter().chain(missing).collect();
        plan.object["aggregationRule"]["clusterRoleSelectors"] = json!(all);
    } else if remove && !(missing.is_empty() && extra.is_empty()) {
        plan.object["aggregationRule"] = after.clone();
    } else {
        return plan;
    }
    plan.operation = Operation::Update;
    plan
}

pub fn binding(existing: &Value, expected: &Value, remove: bool) -> Plan {
    let mut plan = merged(existing, expected);
    if existing["roleRef"] != expected["roleRef"] {
        plan.object = expected.clone();
        plan.operation = Operation::Recreate;
        return plan;
    }
    let (has, wants) = (list(&existing["subjects"]), list(&expected["subjects"]));
    let same = |one: &Value, other: &Value| {
        ["kind", "apiGroup", "name", "namespace"]
            .iter()
            .all(|f| one[*f].as_str().unwrap_or("") == other[*f].as_str().unwrap_or(""))
    };
    let beyond = |one: &[Value], other: &[Value]| {
        let mut found: Vec<Value> = Vec::new();
        for subject in one {
            if !other.iter().chain(&found).any(|known| same(known, subject)) {
                found.push(subject.clone());
            }
        }
        found
    };
    (plan.missing, plan.extra) = (beyond(&wants, &has), beyond(&has, &wants));
    join(&mut plan, "subjects", has, wants, remove);
    plan
}

/// What is missing is added; what is too much goes only when that is asked for.
fn join(plan: &mut Plan, field: &str, has: Vec<Value>, wants: Vec<Value>, remove: bool) {
    let missing = !plan.missing.is_empty();
    if remove && (missing || !plan.extra.is_empty()) {
        plan.object[field] = json!(wants);
    } else if !remove && missing {
        plan.object[field] = has.into_iter().chain(plan.missing.iter().cloned()).collect();
    } else {
        return;
    }
    plan.operation = Operation::Update;
}

pub fn strings<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The parts of `rules`, each of one verb on one thing, that no rule of `owner` allows.
fn uncovered(owner: &[Value], rules: &[Value]) -> Vec<Value> {
    let parts = rules.iter().flat_map(broken_down);
    parts.filter(|part| !owner.iter().any(|rule| covers(rule, part))).collect()
}

fn broken_down(rule: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    let (verbs, names) = (strings(rule, "verbs"), strings(rule, "resourceNames"));
    for group in strings(rule, "apiGroups") {
        for resource in strings(rule, "resources") {
            for verb in &verbs {
                let part = json!({"verbs": [verb], "apiGroups": [group], "resources": [resource]});
                if names.is_empty() {
                    parts.push(part);
                    continue;
                }
                parts.extend(names.iter().map(|name| {
                    let mut part = part.clone();
                    part["resourceNames"] = json!([name]);
                    part
                }));
            }
        }
    }
    for url in strings(rule, "nonResourceURLs") {
        parts.extend(verbs.iter().map(|verb| json!({"verbs": [verb], "nonResourceURLs": [url]})));
    }
    parts
}

/// Whether a rule allows a part of one verb on one thing.
fn covers(rule: &Value, part: &Value) -> bool {
    let all = |field: &str, of: &dyn Fn(&[&str], &str) -> bool| {
        let has = strings(rule, field);
        strings(part, field).iter().all(|one| of(&has, one))
    };
    let plain = |has: &[&str], one: &str| has.contains(&"*") || has.contains(&one);
    let resource = |has: &[&str], one: &str| {
        let any_with_subresource = one.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        plain(has, one) || any_with_subresource.is_some_and(|any| has.contains(&any.as_str()))
    };
    let url = |has: &[&str], one: &str| {
        has.iter().any(|url| *url == one || url.ends_with('*') && one.starts_with(url.trim_end_matches('*')))
    };
    let names = strings(rule, "resourceNames");
    let part_names = strings(part, "resourceNames");
    let named = names.is_empty() || !part_names.is_empty() && part_names.iter().all(|name| names.contains(name));
    all("verbs", &plain)
        && all("apiGroups", &plain)
        && all("resources", &resource)
        && all("nonResourceURLs", &url)
        && named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], resources: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": resources})
    }

    #[test]
    fn rules_are_joined_or_replaced() {
        let existing = json!({"metadata": {"labels": {"a": "1"}}, "rules": [rule(&["get"], &["pods", "*/log"])]});
        let expected =
            json!({"metadata": {"labels": {"a": "2"}}, "rules": [rule(&["get", "list"], &["pods", "pods/log"])]});
        let plan = role(&existing, &expected, false);
        assert_eq!(plan.operation, Operation::Update);
        assert_eq!(plan.missing, [rule(&["list"], &["pods"]), rule(&["list"], &["pods/log"])]);
        assert_eq!(plan.object["rules"].as_array().map(Vec::len), Some(3));
        assert_eq!(plan.object["metadata"]["labels"], json!({"a": "1"}));
        let replaced = role(&existing, &expected, true);
        assert_eq!(replaced.object["rules"], expected["rules"]);
        assert_eq!(replaced.extra, [rule(&["get"], &["*/log"])]);
        assert_eq!(role(&existing, &existing, true).operation, Operation::None);
    }

    #[test]
    fn what_rules_cover() {
        let cases = [
            (rule(&["*"], &["*"]), rule(&["get"], &["pods/log"]), true),
            (rule(&["get"], &["*/log"]), rule(&["get"], &["pods/log"]), true),
            (rule(&["get"], &["pods"]), rule(&["get"], &["pods/log"]), false),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/a/*"]}),
                json!({"verbs": ["get"], "nonResourceURLs": ["/a/b"]}),
                true,
            ),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/a"]}),
                json!({"verbs": ["get"], "nonResourceURLs": ["/a/b"]}),
                false,
            ),
        ];
        for (owner, part, want) in cases {
            assert_eq!(covers(&owner, &part), want, "{owner} {part}");
        }
        let mut named = rule(&["get"], &["pods"]);
        named["resourceNames"] = json!(["x"]);
        assert!(covers(&rule(&["get"], &["pods"]), &named) && !covers(&named, &rule(&["get"], &["pods"])));
    }

    #[test]
    fn bindings_keep_their_subjects_and_are_made_anew_for_another_role() {
        let bound = |role: &str, names: &[&str]| {
            let subjects: Vec<Value> = names.iter().map(|name| json!({"kind": "User", "name": name})).collect();
            json!({"metadata": {}, "roleRef": {"name": role}, "subjects": subjects})
        };
        let plan = binding(&bound("r", &["a", "b"]), &bound("r", &["b", "c"]), false);
        assert_eq!(plan.object["subjects"], bound("r", &["a", "b", "c"])["subjects"]);
        assert_eq!((plan.missing.len(), plan.extra.len()), (1, 1));
        assert_eq!(binding(&bound("r", &["a"]), &bound("q", &["a"]), false).operation, Operation::Recreate);
        let mut protected = bound("r", &["a"]);
        protected["metadata"]["annotations"] = json!({AUTO_UPDATE: "false"});
        assert!(binding(&protected, &bound("r", &["z"]), false).protected);
    }

    #[test]
    fn aggregation_is_joined_and_removed() {
        let of = |labels: &[&str]| {
            let selectors: Vec<Value> = labels.iter().map(|label| json!({"matchLabels": {"x": label}})).collect();
            json!({"metadata": {}, "aggregationRule": {"clusterRoleSelectors": selectors}})
        };
        assert_eq!(role(&of(&["a"]), &of(&["b"]), false).object["aggregationRule"], of(&["a", "b"])["aggregationRule"]);
        assert_eq!(role(&of(&["a"]), &of(&["b"]), true).object["aggregationRule"], of(&["b"])["aggregationRule"]);
        assert!(role(&of(&["a"]), &json!({"metadata": {}}), false).object["aggregationRule"].is_null());
    }
}
