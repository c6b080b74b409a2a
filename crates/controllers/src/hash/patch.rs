//! The data of a ControllerRevision: `{"spec":{"template":{"$patch":"replace",…}}}`, byte for byte as Go writes it.
//!
//! Upstream compares revisions by these bytes, so a difference in one of them would replace every pod.
use super::layout::{self, Layout, Omit};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value, json};

/// As in `print`.
const DEPTH_MAX: usize = 64;

/// The data for `template`.
pub fn of(template: &PodTemplateSpec) -> Value {
    let template = serde_json::to_value(template).unwrap_or_default();
    let mut template = value(Layout::get(), "v1.PodTemplateSpec", &template, 0);
    template["$patch"] = "replace".into();
    json!({ "spec": { "template": template } })
}

/// The text of `data` as Go writes it: keys sorted, and what could end an HTML element escaped.
pub fn text(data: &Value) -> String {
    let plain = sorted(data, 0).to_string();
    let mut text = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            _ => text.push(c),
        }
    }
    text
}

fn sorted(value: &Value, depth: usize) -> Value {
    match value {
        Value::Object(fields) if depth < DEPTH_MAX => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            names.into_iter().map(|name| (name.clone(), sorted(&fields[name], depth + 1))).collect()
        }
        Value::Array(items) if depth < DEPTH_MAX => items.iter().map(|item| sorted(item, depth + 1)).collect(),
        other => other.clone(),
    }
}

/// `given` with the zero values that Go writes and without those it leaves out.
fn value(layout: &Layout, type_: &str, given: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let target = type_.strip_prefix('*').unwrap_or(type_);
    if target != type_ && given.is_null() {
        return Value::Null;
    }
    if layout.fields(target).is_some() {
        let mut fields = Map::new();
        structure(layout, target, given, &mut fields, depth);
        return Value::Object(fields);
    }
    let underlying = layout.underlying(target);
    if let Some(item) = layout::item(underlying) {
        let items = given.as_array().filter(|items| !items.is_empty());
        return items.map_or(Value::Null, |all| all.iter().map(|one| value(layout, item, one, depth + 1)).collect());
    }
    if let Some((_, of)) = layout::entry(underlying) {
        let entries = given.as_object().filter(|entries| !entries.is_empty());
        let entries = entries.map(|all| all.iter().map(|(key, one)| (key.clone(), value(layout, of, one, depth + 1))));
        return entries.map_or(Value::Null, |entries| Value::Object(entries.collect()));
    }
    if !given.is_null() {
        return given.clone();
    }
    match underlying {
        "string" => "".into(),
        "bool" => false.into(),
        "int" | "int32" | "int64" | "intstr.IntOrString" => 0.into(),
        "resource.Quantity" => "0".into(),
        _ => Value::Null,
    }
}

fn structure(layout: &Layout, type_: &str, given: &Value, out: &mut Map<String, Value>, depth: usize) {
    for field in layout.fields(type_).unwrap_or_default() {
        let Some(json) = field.json else {
            structure(layout, field.type_, given, out, depth + 1);
            continue;
        };
        let inner = value(layout, field.type_, given.get(json).unwrap_or(&Value::Null), depth + 1);
        let is_pointer = field.type_.starts_with('*');
        let is_left_out = match field.omit {
            Omit::Never => false,
            Omit::Empty => inner.is_null() || (!is_pointer && is_zero(&inner)),
            Omit::Zero => inner.is_null() || is_zero(&inner) || inner.as_object().is_some_and(Map::is_empty),
        };
        if !is_left_out {
            out.insert(json.to_owned(), inner);
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}
