//! The strategic merge patch that brings the API's pod status to ours. Pure.
//!
//! Only what differs is sent, so that conditions of other writers stay; the uid is sent along so that a pod of
//! the same name made since is not touched.
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// The patch, or `None` when nothing differs.
pub fn patch(uid: &str, old: Option<&PodStatus>, new: &PodStatus) -> Option<Value> {
    let object = |status: Option<&PodStatus>| match status.map(serde_json::to_value) {
        Some(Ok(Value::Object(map))) => map,
        _ => Map::new(),
    };
    let (old, new) = (object(old), object(Some(new)));
    let mut changes = Map::new();
    for (field, value) in &new {
        let before = old.get(field);
        if before == Some(value) {
            continue;
        }
        match field.as_str() {
            "conditions" => conditions(before, value, &mut changes),
            "podIPs" | "hostIPs" => {
                let mut list = vec![json!({"$patch": "replace"})];
                list.extend(value.as_array().cloned().unwrap_or_default());
                changes.insert(field.clone(), Value::Array(if before.is_some() { list } else { list.split_off(1) }));
            }
            _ => {
                changes.insert(field.clone(), value.clone());
            }
        }
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        changes.insert(field.clone(), Value::Null);
    }
    (!changes.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changes}))
}

fn conditions(before: Option<&Value>, after: &Value, changes: &mut Map<String, Value>) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let old = before.map(list).unwrap_or_default();
    let new = list(after);
    let same = |a: &Value, b: &Value| a.get("type") == b.get("type");
    let mut changed: Vec<Value> = Vec::new();
    for condition in &new {
        match old.iter().find(|o| same(o, condition)) {
            Some(found) if found == condition => {}
            found => {
                let mut condition = condition.clone();
                // A field that went away has to be named to go away.
                if let (Some(Value::Object(found)), Value::Object(map)) = (found, &mut condition) {
                    for field in found.keys() {
                        map.entry(field.clone()).or_insert(Value::Null);
                    }
                }
                changed.push(condition);
            }
        }
    }
    // One that no longer holds has to be named to go.
    let gone = old.iter().filter(|o| !new.iter().any(|n| same(n, o)));
    changed.extend(gone.filter_map(|o| Some(json!({"$patch": "delete", "type": o.get("type")?}))));
    if !changed.is_empty() {
        let order: Vec<Value> = new.iter().filter_map(|c| Some(json!({"type": c.get("type")?}))).collect();
        changes.insert("$setElementOrder/conditions".into(), Value::Array(order));
        changes.insert("conditions".into(), Value::Array(changed));
    }
}
