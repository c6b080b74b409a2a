//! YAML as kubectl prints it: keys in natural order, lists not indented, lines folded at 80 columns, strings quoted
//! where YAML 1.1 would read something else. Source: the output of Go's YAML library, which these rules reproduce.
use serde_json::{Map, Value};
use std::{cmp::Ordering, fmt::Write as _};

const WIDTH: usize = 80;

/// A document, ending in a newline.
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

fn object(out: &mut String, map: &Map<String, Value>, level: usize) {
    for (i, (key, value)) in sorted(map.iter().collect()).into_iter().enumerate() {
        if i > 0 {
            indent(out, level);
        }
        text(out, key, level, true);
        out.push(':');
        member(out, value, level);
    }
}

type Member<'a> = (&'a String, &'a Value);

/// A merge sort of our own: the order is not transitive for every odd set of keys (`08`, `0b1`, `1`), and the
/// standard sort may panic on such.
fn sorted(mut members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    if members.len() < 2 {
        return members;
    }
    let right = sorted(members.split_off(members.len() / 2));
    let left = sorted(members);
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let right_first = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => natural(b, a) == Ordering::Less,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => return out,
        };
        out.extend(if right_first { right.next() } else { left.next() });
    }
}

/// Numbers within names compare by value, letters come after other characters.
fn natural(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() && !a.bytes().chain(b.bytes()).any(|c| c.is_ascii_digit()) {
        let key = |c: u8| (c.is_ascii_alphabetic(), c);
        return a.bytes().map(key).cmp(b.bytes().map(key));
    }
    let (left, right): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    match left.iter().zip(&right).enumerate().find(|(_, (x, y))| x != y) {
        None => left.len().cmp(&right.len()),
        Some((i, (x, y))) => match (x.is_alphabetic(), y.is_alphabetic()) {
            (false, false) => numbers(&left, &right, i).then(x.cmp(y)),
            (true, true) => x.cmp(y),
            (x, y) => x.cmp(&y),
        },
    }
}

/// Compares the numbers that start at `at`, then their lengths.
fn numbers(left: &[char], right: &[char], at: usize) -> Ordering {
    let zero = left.get(at) == Some(&'0') || right.get(at) == Some(&'0');
    let before = left.get(..at).unwrap_or_default();
    let significant = zero && before.iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let read = |text: &[char]| {
        let digits = text.get(at..).unwrap_or_default().iter().map_while(|c| c.to_digit(10));
        let start = (i64::from(significant), 0usize);
        digits.fold(start, |(n, len), d| (n.saturating_mul(10).saturating_add(i64::from(d)), len + 1))
    };
    read(left).cmp(&read(right))
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
        Value::Number(n) => out.push_str(&number(n)),
        Value::String(s) => text(out, s, level, false),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// As Go prints numbers: `1e+21`, `1e-07`.
fn number(n: &serde_json::Number) -> String {
    let Some(f) = n.as_f64().filter(|_| n.is_f64()) else { return n.to_string() };
    let text = format!("{f:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    // The `%g` rule, with the precision of six that goes with the shortest form.
    if exponent.parse::<i32>().is_ok_and(|e| !(-4..6).contains(&e)) {
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    f.to_string()
}

fn text(out: &mut String, s: &str, level: usize, key: bool) {
    if !key && s.contains('\n') && block_allowed(s) {
        block(out, s, level);
    } else if s.chars().any(|c| !printable(c)) || breaks_badly(s) || ambiguous(s) {
        folded(out, &double_quoted(s), level, key, true);
    } else if plain_allowed(s) {
        folded(out, s, level, key, false);
    } else {
        folded(out, &format!("'{}'", s.replace('\'', "''")), level, key, false);
    }
}

/// Writes text, breaking the line at single spaces past the width; within double quotes a space that would begin
/// the next line is escaped.
fn folded(out: &mut String, s: &str, level: usize, key: bool, escapes: bool) {
    let mut column = out.rsplit('\n').next().unwrap_or_default().chars().count();
    let mut previous = None;
    let mut chars = s.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        let inside = at > 1 && chars.clone().nth(1).is_some();
        let quoted = escapes || s.starts_with('\'');
        let breakable = c == ' ' && previous != Some(' ') && next != Some(' ') && (inside || !quoted);
        if breakable && !key && column > WIDTH {
            out.push('\n');
            indent(out, level + 1);
            column = (level + 1) * 2;
        } else {
            out.push(c);
            column += 1;
        }
        previous = Some(c);
    }
}

/// A space before a line break is lost in any other form than double quotes.
fn breaks_badly(s: &str) -> bool {
    s.contains('\n')
}

/// A literal block keeps the text as it is.
fn block_allowed(s: &str) -> bool {
    let spaced = s.contains(" \n") || s.ends_with(' ');
    !spaced && s.chars().all(|c| c == '\n' || printable(c))
}

fn block(out: &mut String, s: &str, level: usize) {
    out.push('|');
    if s.starts_with([' ', '\n']) {
        out.push('2');
    }
    let body = s.trim_end_matches('\n');
    out.push_str(match s.len() - body.len() {
        0 => "-",
        1 if !body.is_empty() => "",
        _ => "+",
    });
    for line in s.strip_suffix('\n').unwrap_or(s).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, level + 1);
            out.push_str(line);
        }
    }
}

/// The library prints no characters beyond the basic plane as they are.
fn printable(c: char) -> bool {
    let odd = matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}') || u32::from(c) > 0xffff;
    !c.is_control() && !odd
}

fn double_quoted(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
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
            c => {
                let _ = match u32::from(c) {
                    code @ 0..=0xff => write!(out, "\\x{code:02X}"),
                    code @ 0x100..=0xffff => write!(out, "\\u{code:04X}"),
                    code => write!(out, "\\U{code:08X}"),
                };
            }
        }
    }
    out.push('"');
    out
}

/// Whether a plain scalar of this text would be read as something else than a string.
fn ambiguous(s: &str) -> bool {
    let words = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y", "yes", "Yes",
        "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF", "<<", ".nan", ".NaN", ".NAN", ".inf",
        ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
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

/// A date, or a date and a time with `T` and a zone or with a space and none.
fn date_like(s: &str) -> bool {
    let digits =
        |part: &str, lengths: &[usize]| lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let (date, rest) = s.split_at_checked(s.find(['T', 't', ' ']).unwrap_or(s.len())).unwrap_or((s, ""));
    let parts: Vec<&str> = date.split('-').collect();
    let is_date = matches!(parts.as_slice(), [y, m, d] if digits(y, &[4]) && digits(m, &[1, 2]) && digits(d, &[1, 2]));
    let time_only = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'));
    is_date
        && match rest.strip_prefix(' ') {
            Some(time) => time.contains(':') && time_only(time),
            None => rest.is_empty() || rest.contains(':'),
        }
}

/// `12:30:45`: YAML 1.1 reads it as a number of base 60.
fn base60(s: &str) -> bool {
    let unsigned = s.strip_prefix(['+', '-']).unwrap_or(s);
    let mut parts = unsigned.split(':');
    let number =
        |p: &str| p.starts_with(|c: char| c.is_ascii_digit()) && p.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let first = parts.next().is_some_and(number);
    let mut rest = parts.peekable();
    let sixtieth = |p: &str| {
        let whole = p.split('.').next().unwrap_or_default();
        let short = (1..=2).contains(&whole.len()) && whole.bytes().all(|b| b.is_ascii_digit());
        short && whole.parse::<u8>().is_ok_and(|n| n < 60)
    };
    first && rest.peek().is_some() && rest.all(sixtieth)
}

fn plain_allowed(s: &str) -> bool {
    let indicator = s.starts_with(['[', ']', '{', '}', ',', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`']);
    let dash_like = s.starts_with(['-', '?', ':']) && s.get(1..2).is_none_or(|next| next == " ");
    let colons = s.starts_with(':') && s.ends_with(':');
    let document = s.starts_with("---") || s.starts_with("...");
    let spaced = s.starts_with(' ') || s.ends_with(' ');
    !(indicator
        || dash_like
        || colons
        || document
        || spaced
        || s.contains(": ")
        || s.contains(" #")
        || s.ends_with(':'))
}
