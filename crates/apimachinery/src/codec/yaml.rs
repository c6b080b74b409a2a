//! YAML bodies and files, as YAML 1.1 reads them, several documents to a file; and YAML output as kubectl prints it.
use super::Error;
use serde_json::Value;
use std::fmt::Write as _;

/// A request body or a manifest of this size is the largest that is taken.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const DEPTH_MAX: usize = 100;

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            max_depth: DEPTH_MAX,
            max_documents: 100_000,
            max_total_scalar_bytes: BYTES_MAX,
        },
        // As Go's YAML library reads `defaultMode: 0644`.
        legacy_octal_numbers: true,
        emit_comments: false,
    }
}

/// All documents of a stream; empty ones are left out.
///
/// # Errors
/// In the parser's words, with line and column.
pub fn parse_all(text: &str) -> Result<Vec<Value>, Error> {
    if text.len() > BYTES_MAX {
        return Err(Error::Yaml(format!("the document is larger than {BYTES_MAX} bytes")));
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|e| Error::Yaml(message(&e)))?;
    Ok(documents.into_iter().filter(|d| !d.is_null()).collect())
}

/// The only or first document.
///
/// # Errors
/// As [`parse_all`].
pub fn parse(text: &str) -> Result<Value, Error> {
    Ok(parse_all(text)?.into_iter().next().unwrap_or(Value::Null))
}

/// The error without its excerpt of the source.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// YAML as kubectl prints it: keys sorted, lists not indented, strings quoted where they could be mistaken.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => array(&mut out, list, 0),
        other => {
            scalar(&mut out, other, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

fn object(out: &mut String, map: &serde_json::Map<String, Value>, level: usize) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort_unstable();
    for (i, key) in keys.into_iter().enumerate() {
        if i > 0 {
            indent(out, level);
        }
        text(out, key, level, true);
        out.push(':');
        if let Some(value) = map.get(key) {
            member(out, value, level);
        }
    }
}

fn member(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            indent(out, level + 1);
            object(out, map, level + 1);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            indent(out, level);
            array(out, list, level);
        }
        other => {
            out.push(' ');
            scalar(out, other, level);
            out.push('\n');
        }
    }
}

fn array(out: &mut String, list: &[Value], level: usize) {
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            indent(out, level);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => object(out, map, level + 1),
            Value::Array(list) if !list.is_empty() => array(out, list, level + 1),
            other => {
                scalar(out, other, level);
                out.push('\n');
            }
        }
    }
}

fn scalar(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => {
            let _ = write!(out, "{n}");
        }
        Value::String(s) => text(out, s, level, false),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

fn text(out: &mut String, s: &str, level: usize, key: bool) {
    if !key && s.contains('\n') && block_allowed(s) {
        return block(out, s, level);
    }
    if needs_double_quotes(s) {
        return double_quoted(out, s);
    }
    if ambiguous(s) {
        // Go's library quotes what would be read as another type.
        return double_quoted(out, s);
    }
    if plain_allowed(s) {
        out.push_str(s);
    } else {
        out.push('\'');
        out.push_str(&s.replace('\'', "''"));
        out.push('\'');
    }
}

/// A literal block keeps the text as it is.
fn block_allowed(s: &str) -> bool {
    let spaced = s.starts_with([' ', '\n', '\t']) || s.lines().any(|l| l.ends_with([' ', '\t']));
    !spaced && s.chars().all(|c| c == '\n' || c == '\t' || printable(c))
}

fn block(out: &mut String, s: &str, level: usize) {
    let body = s.trim_end_matches('\n');
    let trailing = s.len() - body.len();
    out.push_str(match trailing {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in s.strip_suffix('\n').unwrap_or(s).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, level + 1);
            out.push_str(line);
        }
    }
}

fn printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')
}

fn needs_double_quotes(s: &str) -> bool {
    s.chars().any(|c| !printable(c))
}

fn double_quoted(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
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
            c if printable(c) => out.push(c),
            c if u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02X}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
        }
    }
    out.push('"');
}

/// Whether a plain scalar of this text would be read as something else than a string.
fn ambiguous(s: &str) -> bool {
    let words = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y", "yes", "Yes",
        "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF", "<<", "=", ".nan", ".NaN", ".NAN",
        ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
    ];
    words.contains(&s) || number_like(s) || date_like(s) || base60(s)
}

fn number_like(s: &str) -> bool {
    let unsigned = s.strip_prefix(['+', '-']).unwrap_or(s);
    let digits = unsigned.replace('_', "");
    if digits.is_empty() || !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix));
        }
    }
    digits.chars().all(|c| c.is_ascii_digit()) || (digits.parse::<f64>().is_ok() && !digits.contains(['i', 'n', 'N']))
}

fn date_like(s: &str) -> bool {
    let digits =
        |part: &str, lengths: &[usize]| lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let (date, rest) = s.split_at_checked(s.find(['T', 't', ' ']).unwrap_or(s.len())).unwrap_or((s, ""));
    let parts: Vec<&str> = date.split('-').collect();
    let is_date = matches!(parts.as_slice(), [y, m, d] if digits(y, &[4]) && digits(m, &[1, 2]) && digits(d, &[1, 2]));
    is_date && (rest.is_empty() || rest.contains(':'))
}

/// `12:30:45`: YAML 1.1 reads it as a number of base 60.
fn base60(s: &str) -> bool {
    let unsigned = s.strip_prefix(['+', '-']).unwrap_or(s);
    let mut parts = unsigned.split(':');
    let first = parts.next().is_some_and(|p| {
        p.starts_with(|c: char| c.is_ascii_digit()) && p.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    });
    let mut rest = parts.peekable();
    first
        && rest.peek().is_some()
        && rest.all(|p| {
            let whole = p.split('.').next().unwrap_or_default();
            (1..=2).contains(&whole.len())
                && whole.bytes().all(|b| b.is_ascii_digit())
                && whole.parse::<u8>().is_ok_and(|n| n < 60)
        })
}

fn plain_allowed(s: &str) -> bool {
    let indicator = s.starts_with(['[', ']', '{', '}', ',', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`']);
    let dash_like = s.starts_with(['-', '?', ':']) && s.get(1..2).is_none_or(|next| next == " ");
    let document = s.starts_with("---") || s.starts_with("...");
    let spaced = s.starts_with(' ') || s.ends_with(' ');
    !(indicator || dash_like || document || spaced || s.contains(": ") || s.contains(" #") || s.ends_with(':'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn reading() {
        let cases = [
            ("a: 1\nb: [x, 'y']\n", json!({"a": 1, "b": ["x", "y"]})),
            ("mode: 0644\n", json!({"mode": 420})),
            ("a: \"0644\"\nb: ~\nc: 1.5\nd: true", json!({"a": "0644", "b": null, "c": 1.5, "d": true})),
            ("a: yes\nb: off", json!({"a": true, "b": false})),
            ("a: |\n  x\n  y\n", json!({"a": "x\ny\n"})),
            ("base: &b {x: 1}\nc:\n  <<: *b\n  y: 2", json!({"base": {"x": 1}, "c": {"x": 1, "y": 2}})),
            ("{\"a\": 1}", json!({"a": 1})),
            ("", Value::Null),
            ("a: 1Gi\nb: 1.2.3\nc: 12h", json!({"a": "1Gi", "b": "1.2.3", "c": "12h"})),
            ("1: x", json!({"1": "x"})),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).map_err(|e| e.to_string()), Ok(want), "{text}");
        }
        assert_eq!(parse_all("---\na: 1\n---\n---\nb: 2\n").unwrap(), [json!({"a": 1}), json!({"b": 2})]);
        assert!(parse("a: [").is_err());
        assert!(parse(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn writing() {
        let value = json!({
            "apiVersion": "v1", "list": [{"a": 1, "b": [true, null]}, [], "x"], "empty": {},
            "text": "x\ny\n", "number": "1", "bool": "true", "port": "80:80", "time": "2024-01-01T00:00:00Z",
            "colon": "a: b", "dash": "- a", "star": "*", "quote": "it's", "tab": "a\tb", "exp": "1e3"
        });
        let want = "apiVersion: v1\nbool: \"true\"\ncolon: 'a: b'\ndash: '- a'\nempty: {}\nexp: \"1e3\"\nlist:\n- a: 1\n  b:\n  - true\n  - null\n- []\n- x\nnumber: \"1\"\nport: 80:80\nquote: it's\nstar: '*'\ntab: \"a\\tb\"\ntext: |\n  x\n  y\ntime: \"2024-01-01T00:00:00Z\"\n";
        assert_eq!(to_string(&value), want);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~\\n\\t]{0,12}", "\\PC{0,6}", "[0-9+.:eExT-]{1,8}", "(yes|no|null|on|~|<<)"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn writing_then_reading_changes_nothing(value in any_value()) {
            let wrapped = json!({ "value": value });
            let text = to_string(&wrapped);
            prop_assert_eq!(parse(&text).map_err(|e| format!("{e}\n{text}")), Ok(wrapped), "{}", text);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,60}") {
            let _ = parse_all(&text);
        }
    }
}
