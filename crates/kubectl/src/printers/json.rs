//! JSON as Go prints it: four spaces, sorted keys, `<`, `>` and `&` escaped.
use serde::Serialize;

/// The text, with a final newline.
pub fn to_string<T: Serialize>(value: &T) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // JSON values always serialise into memory; the keys of a `Map` are sorted.
    if value.serialize(&mut serializer).is_err() {
        return String::new();
    }
    escaped(&String::from_utf8(out).unwrap_or_default()) + "\n"
}

/// An event of a watch, on one line.
pub fn event(kind: &str, object: &serde_json::Value) -> String {
    escaped(&format!("{{\"type\":{},\"object\":{object}}}", serde_json::Value::from(kind))) + "\n"
}

/// Go escapes for HTML.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 1);
    // These characters stand only inside strings.
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_prints_it() {
        let value = serde_json::json!({"b": "<&>", "a": [1, {}], "c": []});
        assert_eq!(
            to_string(&value),
            "{\n    \"a\": [\n        1,\n        {}\n    ],\n    \"b\": \"\\u003c\\u0026\\u003e\",\n    \"c\": []\n}\n"
        );
    }

    #[test]
    fn events_are_lines() {
        let object = serde_json::json!({"kind": "Pod", "a": "<"});
        assert_eq!(event("ADDED", &object), "{\"type\":\"ADDED\",\"object\":{\"a\":\"\\u003c\",\"kind\":\"Pod\"}}\n");
    }
}
