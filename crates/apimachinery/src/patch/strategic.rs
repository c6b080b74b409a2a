//! Applying a strategic merge patch: lists merge by key where the schema says so, and directives steer the merge.
//!
//! The same merge also joins two patches into one ([`Mode::Patches`]): then directives and nulls are kept.
use super::{
    DELETE_FROM_PRIMITIVE_LIST, DIRECTIVE, Error, Node, RETAIN_KEYS, Rules, SET_ELEMENT_ORDER,
    order::{self, Identity},
};
use crate::schema::Schema;
use serde_json::{Map, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A patch goes into an object.
    Apply,
    /// A patch goes into another patch.
    Patches,
}

/// Applies `patch` to `original`, an object of the kind that `schema` describes.
///
/// # Errors
/// When the patch is no object, or its directives or list items are malformed.
pub fn strategic_merge_patch(original: Value, patch: Value, schema: Schema) -> Result<Value, Error> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            merge_maps(original, patch, Node::of(schema), Mode::Apply).map(Value::Object)
        }
        _ => Err(Error::Decode("invalid JSON document".to_owned())),
    }
}

pub fn merge_maps(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    node: Node,
    mode: Mode,
) -> Result<Map<String, Value>, Error> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(bad_type(directive, "map")),
        };
    }
    retain_keys(&mut original, &mut patch, mode)?;
    ordered_lists(&mut original, &mut patch, node, mode)?;
    for (key, value) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            Some(_) if mode == Mode::Patches => {
                original.insert(key, value);
                continue;
            }
            Some(list) => (list.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            if mode == Mode::Apply {
                original.remove(&key);
            } else {
                original.insert(key, value);
            }
            continue;
        }
        let Some(place) = original.get_mut(&key) else {
            if !deletes {
                original.extend(settled(value, mode).map(|value| (key, value)));
            }
            continue;
        };
        let rules = node.rules(&key);
        let merged = match (place.take(), value) {
            (Value::Object(old), Value::Object(new)) => {
                Value::Object(if rules.has("replace") { new } else { merge_maps(old, new, rules.node, mode)? })
            }
            (Value::Array(old), Value::Array(new)) => Value::Array(merge_lists(old, new, rules, deletes, mode)?),
            (old, _) if deletes => old,
            (_, new) => settled(new, mode).unwrap_or(Value::Null),
        };
        *place = merged;
    }
    Ok(original)
}

fn bad_type(directive: &Value, place: &str) -> Error {
    let shown = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    Error::BadPatchType(format!("{shown} in {place}"))
}

/// A value of the patch as it is put where nothing was: without directives and nulls.
/// `None` when the value itself asks to be deleted.
fn settled(value: Value, mode: Mode) -> Option<Value> {
    if mode == Mode::Patches {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            if map.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let directive = |key: &str| {
                key == DIRECTIVE
                    || key == RETAIN_KEYS
                    || key.starts_with(SET_ELEMENT_ORDER)
                    || key.starts_with(DELETE_FROM_PRIMITIVE_LIST)
            };
            let kept = map.into_iter().filter(|(key, value)| !directive(key) && !value.is_null());
            Some(Value::Object(kept.filter_map(|(key, value)| Some((key, settled(value, mode)?))).collect()))
        }
        // A `$patch: replace` item stands for the whole list and is no item.
        Value::Array(list) => {
            let marker = |item: &Value| item.get(DIRECTIVE).is_some() && item.as_object().is_some_and(|m| m.len() == 1);
            let items = list.into_iter().filter(|item| !marker(item));
            Some(Value::Array(items.filter_map(|item| settled(item, mode)).collect()))
        }
        other => Some(other),
    }
}

fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>, mode: Mode) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if mode == Mode::Patches {
        return match original.get(RETAIN_KEYS) {
            Some(other) if *other != keys => Err(Error::BadRetainKeys),
            _ => {
                original.insert(RETAIN_KEYS.to_owned(), keys);
                Ok(())
            }
        };
    }
    let Value::Array(keys) = keys else { return Err(Error::BadRetainKeys) };
    let retained = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let parallel = |key: &str| key.starts_with(SET_ELEMENT_ORDER) || key.starts_with(DELETE_FROM_PRIMITIVE_LIST);
    if patch.iter().any(|(key, value)| !value.is_null() && !parallel(key) && !retained(key)) {
        return Err(Error::BadRetainKeys);
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Handles `$setElementOrder/x` together with `x` and `$deleteFromPrimitiveList/x`, and takes them out of the patch.
fn ordered_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    node: Node,
    mode: Mode,
) -> Result<(), Error> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(wanted_order)) = patch.remove(&directive) else {
            return Err(Error::BadSetElementOrder);
        };
        if mode == Mode::Patches {
            match original.get(&directive) {
                Some(Value::Array(other)) if *other != wanted_order => return Err(Error::BadSetElementOrder),
                _ => {
                    original.insert(directive.clone(), Value::Array(wanted_order.clone()));
                }
            }
        }
        let key = directive.strip_prefix(SET_ELEMENT_ORDER).unwrap_or_default().to_owned();
        let rules = node.rules(&key);
        let identity = rules.merge_key().map_or(Identity::Scalar, Identity::Key);
        let patched = take_list(patch, &key)?;
        let delete_key = format!("{DELETE_FROM_PRIMITIVE_LIST}{key}");
        let deletions = if mode == Mode::Apply { take_list(patch, &delete_key)? } else { None };
        if let Some(patched) = &patched {
            check_order(patched, &wanted_order, identity)?;
        }
        let live = match original.remove(&key) {
            Some(Value::Array(list)) => Some(list),
            Some(Value::Null) | None => None,
            Some(_) => return Err(Error::MixedList),
        };
        let mut server_order = live.clone().unwrap_or_default();
        let merged = match (live, patched, deletions) {
            (None, None, _) => continue,
            (None, Some(patched), _) => match settled(Value::Array(patched), mode) {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            },
            (Some(live), patched, deletions) => {
                let mut merged = live;
                if let Some(deletions) = deletions {
                    merged = merge_lists(merged, deletions, rules, true, mode)?;
                }
                if let Some(patched) = patched {
                    let added = patched.clone();
                    merged = merge_lists(merged, patched, rules, false, mode)?;
                    if let Identity::Key(_) = identity {
                        fill_gaps(&mut server_order, &merged, added, identity);
                    }
                }
                merged
            }
        };
        original.insert(key, Value::Array(order::normalize(merged, &wanted_order, &server_order, identity)));
    }
    Ok(())
}

/// Where items were deleted, upstream takes the first added ones for the server's next, which decides what stands
/// before them.
fn fill_gaps(server_order: &mut Vec<Value>, merged: &[Value], added: Vec<Value>, identity: Identity<'_>) {
    let before = server_order.clone();
    server_order.retain(|item| identity.position(merged, item).is_some());
    let gaps = before.len() - server_order.len();
    let new = added.into_iter().filter(|i| i.get(DIRECTIVE).is_none() && identity.position(&before, i).is_none());
    server_order.extend(new.take(gaps));
}

fn take_list(patch: &mut Map<String, Value>, key: &str) -> Result<Option<Vec<Value>>, Error> {
    match patch.remove(key) {
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(Error::MixedList),
    }
}

/// The items of a patch list must stand in the order that it asks for.
fn check_order(patched: &[Value], wanted: &[Value], identity: Identity<'_>) -> Result<(), Error> {
    let mut next = 0;
    for item in patched.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        identity.require(item)?;
        let rest = wanted.get(next..).unwrap_or_default();
        match identity.position(rest, item) {
            Some(at) => next += at + 1,
            None => return Err(Error::BadSetElementOrder),
        }
    }
    Ok(())
}

fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    rules: Rules,
    deletes: bool,
    mode: Mode,
) -> Result<Vec<Value>, Error> {
    if !rules.has("merge") && !deletes {
        // Atomic lists are replaced as they are.
        return Ok(patch);
    }
    let maps = original.iter().chain(&patch).filter(|item| item.is_object()).count();
    if maps == 0 {
        if deletes {
            return Ok(original.into_iter().filter(|item| !patch.contains(item)).collect());
        }
        let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
        for item in original.iter().chain(&patch) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(order::normalize(merged, &patch, &original, Identity::Scalar));
    }
    if maps != original.len() + patch.len() {
        return Err(Error::MixedList);
    }
    let Some(merge_key) = rules.merge_key() else { return Ok(patch) };
    merge_lists_of_maps(original, patch, merge_key, rules.node, mode)
}

fn merge_lists_of_maps(
    original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
    node: Node,
    mode: Mode,
) -> Result<Vec<Value>, Error> {
    let identity = Identity::Key(merge_key);
    let server_order = original.clone();
    let mut merged = original;
    let (mut items, mut replaces) = (Vec::with_capacity(patch.len()), false);
    for item in patch {
        match item.get(DIRECTIVE) {
            None => items.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let identity_value = identity.require(&item)?;
                    merged.retain(|other| identity.of(other) != Some(identity_value));
                }
                Some("replace") => replaces = true,
                Some("merge") => return Err(Error::ListMergeDirective),
                _ => return Err(bad_type(directive, "list")),
            },
        }
    }
    if replaces {
        return Ok(items.into_iter().filter_map(|item| settled(item, mode)).collect());
    }
    let patch_order = items.clone();
    for item in items {
        identity.require(&item)?;
        match identity.position(&merged, &item).and_then(|at| merged.get_mut(at)) {
            Some(place) => {
                if let (Value::Object(old), Value::Object(new)) = (place.take(), item) {
                    *place = Value::Object(merge_maps(old, new, node, mode)?);
                }
            }
            None => merged.extend(settled(item, mode)),
        }
    }
    Ok(order::normalize(merged, &patch_order, &server_order, identity))
}
