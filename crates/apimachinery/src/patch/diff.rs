//! Making strategic merge patches: what kubectl sends for `apply`, `edit` and the like.
use super::{
    DELETE_FROM_PRIMITIVE_LIST, DIRECTIVE, Error, Node, RETAIN_KEYS, Rules, SET_ELEMENT_ORDER,
    order::{self, Identity},
    strategic::{Mode, merge_maps},
};
use crate::schema::Schema;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy)]
struct Options {
    changes: bool,
    deletions: bool,
    retain_keys: bool,
}

/// The patch that turns `original` into `modified`.
///
/// # Errors
/// When a list item lacks its merge key or the documents are no objects.
pub fn two_way_strategic(original: &Value, modified: &Value, schema: Schema) -> Result<Value, Error> {
    let options = Options { changes: true, deletions: true, retain_keys: false };
    diff_maps(object(original)?, object(modified)?, Node::of(schema), options).map(Value::Object)
}

/// The patch for `current`: what `modified` adds or changes against it, and what it dropped since `original` (the
/// configuration last applied).
///
/// # Errors
/// As [`two_way_strategic`].
pub fn three_way_strategic(
    original: &Value,
    modified: &Value,
    current: &Value,
    schema: Schema,
) -> Result<Value, Error> {
    let node = Node::of(schema);
    let additions = Options { changes: true, deletions: false, retain_keys: false };
    let removals = Options { changes: false, deletions: true, retain_keys: false };
    let changed = diff_maps(object(current)?, object(modified)?, node, additions)?;
    let deleted = diff_maps(object(original)?, object(modified)?, node, removals)?;
    merge_maps(deleted, changed, node, Mode::Patches).map(Value::Object)
}

fn object(value: &Value) -> Result<&Map<String, Value>, Error> {
    value.as_object().ok_or_else(|| Error::Decode("invalid JSON document".to_owned()))
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn diff_maps(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    node: Node,
    options: Options,
) -> Result<Map<String, Value>, Error> {
    let mut patch = Map::new();
    for (key, new) in modified {
        match original.get(key) {
            Some(old) if old == new => {}
            Some(old) if same_type(old, new) => diff_field(&mut patch, key, old, new, node.rules(key), options)?,
            _ if options.changes => {
                patch.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    let dropped = original.keys().filter(|key| !modified.contains_key(*key));
    let drops = dropped.clone().next().is_some();
    if options.deletions {
        patch.extend(dropped.map(|key| (key.clone(), Value::Null)));
    }
    if options.retain_keys && (!patch.is_empty() || drops) {
        let mut keys: Vec<&String> = modified.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k).collect();
        keys.sort_unstable();
        if !keys.is_empty() {
            patch.insert(RETAIN_KEYS.to_owned(), json!(keys));
        }
    }
    Ok(patch)
}

/// Both values are of the same type and differ.
fn diff_field(
    patch: &mut Map<String, Value>,
    key: &str,
    old: &Value,
    new: &Value,
    rules: Rules,
    options: Options,
) -> Result<(), Error> {
    let options = Options { retain_keys: rules.has("retainKeys"), ..options };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if !rules.has("replace") => {
            let changes = diff_maps(old, new, rules.node, options)?;
            if !changes.is_empty() {
                patch.insert(key.to_owned(), Value::Object(changes));
            }
        }
        (Value::Array(old), Value::Array(new)) if rules.has("merge") => {
            let lists = diff_lists(old, new, rules, options)?;
            let named = [
                (key.to_owned(), lists.items),
                (format!("{DELETE_FROM_PRIMITIVE_LIST}{key}"), lists.deletions),
                (format!("{SET_ELEMENT_ORDER}{key}"), lists.order),
            ];
            patch.extend(named.into_iter().filter(|(_, l)| !l.is_empty()).map(|(k, l)| (k, Value::Array(l))));
        }
        _ if options.changes => {
            patch.insert(key.to_owned(), new.clone());
        }
        _ => {}
    }
    Ok(())
}

#[derive(Default)]
struct Lists {
    items: Vec<Value>,
    deletions: Vec<Value>,
    order: Vec<Value>,
}

fn diff_lists(old: &[Value], new: &[Value], rules: Rules, options: Options) -> Result<Lists, Error> {
    if old.is_empty() {
        let items = if options.changes { new.to_vec() } else { Vec::new() };
        return Ok(Lists { items, ..Lists::default() });
    }
    let maps = old.iter().chain(new).filter(|item| item.is_object()).count();
    match rules.merge_key() {
        Some(key) if maps == old.len() + new.len() => diff_lists_of_maps(old, new, key, rules.node, options),
        _ if maps == 0 => Ok(diff_lists_of_scalars(old, new, options)),
        _ => Err(Error::MixedList),
    }
}

fn diff_lists_of_scalars(old: &[Value], new: &[Value], options: Options) -> Lists {
    let mut lists = Lists::default();
    let absent = |item: &&Value, from: &[Value]| !from.contains(item);
    if options.changes {
        lists.items = new.iter().filter(|item| absent(item, old)).cloned().collect();
    }
    if options.deletions {
        for item in old.iter().filter(|item| absent(item, new)) {
            if !lists.deletions.contains(item) {
                lists.deletions.push(item.clone());
            }
        }
        lists.deletions.sort_by_key(printed);
    }
    if options.changes || !lists.deletions.is_empty() {
        lists.order = new.to_vec();
    }
    lists
}

fn diff_lists_of_maps(old: &[Value], new: &[Value], key: &str, node: Node, options: Options) -> Result<Lists, Error> {
    let identity = Identity::Key(key);
    let mut lists = Lists::default();
    let mut deletions = Vec::new();
    for item in new {
        let value = identity.require(item)?;
        let before = identity.position(old, item).and_then(|at| old.get(at));
        match (before, item) {
            (Some(before), item) if before == item => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                let mut changes = diff_maps(before, after, node, options)?;
                if !changes.is_empty() {
                    changes.insert(key.to_owned(), value.clone());
                    lists.items.push(Value::Object(changes));
                }
            }
            (_, item) if options.changes => lists.items.push(item.clone()),
            _ => {}
        }
    }
    for item in old {
        let value = identity.require(item)?;
        if options.deletions && identity.position(new, item).is_none() {
            deletions.push(json!({ DIRECTIVE: "delete", key: value }));
        }
    }
    order::sort_by(&mut lists.items, new, identity);
    // As upstream, which walks the items sorted by their keys' text.
    deletions.sort_by_key(|item| identity.of(item).map(printed));
    lists.items.append(&mut deletions);
    let same_order =
        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| identity.of(old) == identity.of(new));
    if !lists.items.is_empty() || (options.changes && !same_order) {
        lists.order = new.iter().map(|item| json!({ key: identity.of(item) })).collect();
    }
    Ok(lists)
}

/// A merge key's value as Go prints it.
fn printed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
