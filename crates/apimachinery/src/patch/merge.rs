//! JSON merge patch (RFC 7386), and the three-way difference kubectl sends for kinds without a patch schema.
use serde_json::{Map, Value};

/// Merges `patch` into `document`: null removes, objects merge, everything else replaces.
pub fn merge_patch(document: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *document = patch;
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Value::Object(target) = document else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else if value.is_object() {
            merge_patch(target.entry(key).or_insert(Value::Null), value);
        } else {
            target.insert(key, value);
        }
    }
}

/// The merge patch that turns `original` into `modified`.
pub fn merge_diff(original: &Value, modified: &Value) -> Value {
    diff(original, modified).unwrap_or_else(|| Value::Object(Map::new()))
}

/// `None` when nothing differs.
fn diff(original: &Value, modified: &Value) -> Option<Value> {
    if original == modified {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (original, modified) else { return Some(modified.clone()) };
    let mut patch = Map::new();
    for (key, value) in to {
        let change = match from.get(key) {
            Some(old) => diff(old, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    for key in from.keys().filter(|k| !to.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The merge patch for `current`: what `modified` adds or changes against it, and what it dropped since `original`
/// (the configuration last applied).
pub fn three_way_merge(original: &Value, modified: &Value, current: &Value) -> Value {
    let changes = keep(merge_diff(current, modified), false);
    let deletions = keep(merge_diff(original, modified), true);
    let mut patch = deletions.unwrap_or_else(|| Value::Object(Map::new()));
    if let Some(changes) = changes {
        merge_patches(&mut patch, changes);
    }
    patch
}

/// Only the nulls of a patch, or all but its nulls; `None` when nothing is left.
fn keep(patch: Value, nulls: bool) -> Option<Value> {
    match patch {
        Value::Null => nulls.then_some(Value::Null),
        Value::Object(map) => {
            let was_empty = map.is_empty();
            let kept: Map<String, Value> =
                map.into_iter().filter_map(|(key, value)| Some((key, keep(value, nulls)?))).collect();
            // An empty object is a change of its own, unless it became empty here.
            (!kept.is_empty() || (was_empty && !nulls)).then_some(Value::Object(kept))
        }
        other => (!nulls).then_some(other),
    }
}

/// As [`merge_patch`], with nulls kept: they are part of the patch.
fn merge_patches(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                match target.get_mut(&key) {
                    Some(place) => merge_patches(place, value),
                    None => {
                        target.insert(key, value);
                    }
                }
            }
        }
        (target, patch) => *target = patch,
    }
}
