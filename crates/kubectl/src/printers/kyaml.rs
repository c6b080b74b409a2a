//! `-o kyaml`: YAML in flow style, every string quoted, a comma behind every member. Source: KEP-5295.
use super::go_order::Known;
use serde_json::Value;
use std::fmt::Write as _;

/// The document, led in by `---` and with a final newline.
///
/// `typed`: members stand in the order of Go's structures instead of the alphabet.
pub fn to_string(value: &Value, typed: bool) -> String {
    let mut out = String::from("---\n");
    render(&mut out, value, 0, typed.then(|| Known::of(value)));
    out.push('\n');
    out
}

/// `order`: what is known of the value's type, when its members stand in Go's order.
fn render(out: &mut String, value: &Value, level: usize, order: Option<Known>) {
    let order = order.map(|known| known.seen_in(value));
    match value {
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Array(list) if list.is_empty() => out.push_str("[]"),
        Value::Object(map) => {
            out.push_str("{\n");
            let mut members: Vec<_> = map.iter().collect();
            if let Some(known) = order {
                known.sort(&mut members);
            }
            for (key, value) in members {
                indent(out, level + 1);
                if is_plain(key) {
                    out.push_str(key)
                } else {
                    quoted(out, key)
                }
                out.push_str(": ");
                render(out, value, level + 1, order.map(|known| known.member(key)));
                out.push_str(",\n");
            }
            indent(out, level);
            out.push('}');
        }
        Value::Array(list) => array(out, list, level, order.map(Known::item)),
        Value::String(text) if text.contains('\n') => lines(out, text, level),
        Value::String(text) => quoted(out, text),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Items that are all maps, or all lists, share the lines of the brackets.
fn array(out: &mut String, list: &[Value], level: usize, order: Option<Known>) {
    let full = |item: &Value| match item {
        Value::Object(map) => (!map.is_empty()).then_some('{'),
        Value::Array(list) => (!list.is_empty()).then_some('['),
        _ => None,
    };
    let first = list.first().and_then(full);
    if first.is_some() && list.iter().all(|item| full(item) == first) {
        out.push('[');
        for (i, item) in list.iter().enumerate() {
            out.push_str(if i > 0 { ", " } else { "" });
            render(out, item, level, order);
        }
        out.push(']');
        return;
    }
    out.push_str("[\n");
    for item in list {
        indent(out, level + 1);
        render(out, item, level + 1, order);
        out.push_str(",\n");
    }
    indent(out, level);
    out.push(']');
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// A text of several lines: one line each, continued by a backslash.
fn lines(out: &mut String, text: &str, level: usize) {
    out.push_str("\"\\\n");
    let ended = text.ends_with('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    let count = body.split('\n').count();
    for (i, line) in body.split('\n').enumerate() {
        indent(out, level + 1);
        // A blank that begins a line would be lost.
        out.push(if line.starts_with([' ', '\t']) { '\\' } else { ' ' });
        escaped(out, line);
        out.push_str(if i + 1 < count || ended { "\\n\\\n" } else { "\\\n" });
    }
    indent(out, level + 1);
    out.push('"');
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    escaped(out, text);
    out.push('"');
}

fn escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            '\t' => out.push(c),
            c if u32::from(c) > 0xffff => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// Whether a key needs no quotes: no parser takes it for anything but a string. Source: `sigs.k8s.io/yaml/kyaml`.
fn is_plain(key: &str) -> bool {
    const WORDS: [&str; 11] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "t", "f"];
    let last = key.chars().count().saturating_sub(1);
    let allowed = |(i, c): (usize, char)| c.is_alphanumeric() || c == '_' || (i > 0 && i < last && "-./".contains(c));
    !key.is_empty()
        && key.chars().enumerate().all(allowed)
        && !WORDS.contains(&key.to_lowercase().as_str())
        && !is_number(&key.replace('_', ""))
}

fn is_number(text: &str) -> bool {
    let lower = text.to_lowercase();
    let with_base = [("0x", 16), ("0b", 2), ("0o", 8)]
        .iter()
        .any(|(lead, base)| lower.strip_prefix(lead).is_some_and(|digits| i64::from_str_radix(digits, *base).is_ok()));
    with_base || lower.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flow_style_with_trailing_commas() {
        let value = json!({
            "e": {}, "l": [], "no": "yes", "1": null,
            "s": [1, true, "a"], "m": [{"a": "b"}, {"c": [{"d": 1.5}]}], "mix": ["a", {"b": "c"}], "ll": [[1], [2]],
        });
        let want = "---\n{\n  \"1\": null,\n  e: {},\n  l: [],\n  ll: [[\n    1,\n  ], [\n    2,\n  ]],\n  m: [{\n    a: \"b\",\n  }, {\n    \
                    c: [{\n      d: 1.5,\n    }],\n  }],\n  mix: [\n    \"a\",\n    {\n      b: \"c\",\n    },\n  ],\n  \"no\": \"yes\",\n  s: [\n    1,\n    \
                    true,\n    \"a\",\n  ],\n}\n";
        assert_eq!(to_string(&value, false), want);
    }

    #[test]
    fn keys_that_could_be_something_else_are_quoted() {
        for plain in ["a", "_", "ca.crt", "a.b/c-d", "tt", "x1"] {
            assert!(is_plain(plain), "{plain}");
        }
        for quoted in ["", "t", "F", "No", "1", "0x1f", "1e3", "inf", "a-", "-a", "a b"] {
            assert!(!is_plain(quoted), "{quoted}");
        }
    }

    #[test]
    fn texts_of_several_lines() {
        let value = json!({"one": "l1\nl2\n", "two": "  lead\nx"});
        let want = "---\n{\n  one: \"\\\n     l1\\n\\\n     l2\\n\\\n    \",\n  two: \"\\\n    \\  lead\\n\\\n     x\\\n    \",\n}\n";
        assert_eq!(to_string(&value, false), want);
    }
}
