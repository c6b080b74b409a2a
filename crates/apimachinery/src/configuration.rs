//! Files of component configuration against all that upstream's type knows.
//!
//! What is known is a value of the same shape as a file, with upstream's default in each place: an object with fields
//! has these fields and no others, `{}` is a map with any keys, a list with one element has elements of its shape, and
//! `null` is a field without a default. So one text says which fields exist and what they are when nobody sets them.
use serde_json::{Map, Value};

/// The fields of `file` that nobody knows, as upstream names them: `leaderElection.foo`, `profiles[0].bar`.
pub fn unknown_fields(file: &Value, known: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(file, known, "", &mut found);
    found
}

fn collect(file: &Value, known: &Value, path: &str, found: &mut Vec<String>) {
    match (file, known) {
        (Value::Object(fields), Value::Object(shapes)) if !shapes.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match shapes.get(name) {
                    Some(shape) => collect(value, shape, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(elements), Value::Array(shapes)) => {
            let Some(shape) = shapes.first() else { return };
            for (i, element) in elements.iter().enumerate() {
                collect(element, shape, &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}

/// Upstream's text for [`unknown_fields`]; `None` when there are none.
pub fn strict_error(file: &Value, known: &Value) -> Option<String> {
    let unknown = unknown_fields(file, known);
    let shown: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    (!shown.is_empty()).then(|| format!("strict decoding error: {}", shown.join(", ")))
}

/// The file without its nulls, at any depth: they are as good as nothing.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let set = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Whether a value is what a Go field holds that nobody set; files that programs write are full of them.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => matches!(text.as_str(), "" | "0s"),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(is_zero),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(value) => !value,
    }
}

/// The file with upstream's defaults where it says nothing. A `0` or a `false` that is written down stays, as a field
/// may be a pointer in Go, unless its name is among `zero_is_unset`.
pub fn with_defaults(file: &Value, known: &Value, zero_is_unset: &[&str]) -> Value {
    let (Value::Object(fields), Value::Object(shapes)) = (file, known) else {
        return if matches!(file, Value::Null) { known.clone() } else { file.clone() };
    };
    let mut out = Map::new();
    for (name, shape) in shapes {
        let is_map = shape.as_object().is_some_and(Map::is_empty);
        let value = match fields.get(name) {
            Some(value @ Value::Object(_)) if !is_map => with_defaults(value, shape, zero_is_unset),
            Some(value @ (Value::Bool(_) | Value::Number(_)))
                if !is_zero(value) || !zero_is_unset.contains(&name.as_str()) =>
            {
                value.clone()
            }
            Some(value) if !is_zero(value) => value.clone(),
            _ if is_map => Value::Null,
            // A list's default is not that of its elements.
            _ if shape.get(0).is_some_and(|element| element.is_object() || element.is_null()) => Value::Null,
            _ => shape.clone(),
        };
        if !value.is_null() {
            out.insert(name.clone(), value);
        }
    }
    Value::Object(out)
}

/// The top-level fields among `names` that the file sets to something else than their default.
pub fn changed<'a>(file: &Value, known: &Value, names: &[&'a str]) -> Vec<&'a str> {
    let whole = with_defaults(file, known, &[]);
    let default = with_defaults(&Value::Object(Map::new()), known, &[]);
    let differs = |name: &&str| file.get(*name).is_some_and(|v| !is_zero(v)) && whole.get(*name) != default.get(*name);
    let cleared = |name: &&str| {
        matches!((file.get(*name), known.get(*name)), (Some(Value::Bool(false)), Some(Value::Bool(true))))
    };
    names.iter().copied().filter(|name| differs(name) || cleared(name)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn known() -> Value {
        json!({"port": 10250, "period": "20s", "on": true, "gates": {}, "auth": {"webhook": {"ttl": "2m0s"}},
            "items": [{"name": null, "weight": null}], "words": ["pods"], "none": null})
    }

    #[test]
    fn unknown_fields_by_path() {
        let file = json!({"port": 1, "prot": 2, "auth": {"webhook": {"tt": 1}}, "gates": {"Any": true},
            "items": [{"name": "a"}, {"nam": "b"}], "none": {"any": 1}});
        assert_eq!(
            strict_error(&file, &known()).unwrap(),
            "strict decoding error: unknown field \"auth.webhook.tt\", unknown field \"items[1].nam\", unknown field \"prot\""
        );
        assert_eq!(strict_error(&json!({}), &known()), None);
    }

    #[test]
    fn defaults_where_nothing_is_said() {
        let file = json!({"period": "0s", "on": false, "auth": {"webhook": {}}, "port": 0, "none": "", "words": []});
        let want = json!({"port": 10250, "period": "20s", "on": false, "auth": {"webhook": {"ttl": "2m0s"}},
            "words": ["pods"]});
        assert_eq!(with_defaults(&file, &known(), &["port"]), want);
        assert_eq!(with_defaults(&file, &known(), &[])["port"], 0);
    }

    #[test]
    fn what_differs_from_its_default() {
        let file = json!({"period": "20s", "on": false, "port": 1, "auth": {"webhook": {"ttl": "0s"}}, "words": null});
        assert_eq!(changed(&file, &known(), &["period", "on", "port", "auth", "words", "none"]), ["on", "port"]);
    }
}
