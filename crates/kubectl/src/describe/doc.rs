//! The text that `describe` makes: indented lines of `Name:<tab>value`, laid out in columns at the end.
use crate::printers::tabwriter::TabWriter;
use serde_json::{Map, Value};

/// Longer annotations are put below their key, and cut.
const MAX_ANNOTATION: usize = 140;

/// The text so far.
#[derive(Debug, Default)]
pub struct Doc {
    text: String,
}

impl Doc {
    /// A line, `level` steps in. Tabs separate columns.
    pub fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.text.extend(std::iter::repeat_n("  ", level));
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    /// `title:<tab>value`, whether or not there is a value.
    pub fn field(&mut self, level: usize, title: &str, value: impl std::fmt::Display) {
        self.line(level, format!("{title}:\t{value}"));
    }

    /// As [`Doc::field`], left out when the value is empty.
    pub fn given(&mut self, level: usize, title: &str, value: &Value) {
        if !is_empty(value) {
            self.field(level, title, text(value));
        }
    }

    /// `Labels:` and the like: one `key=value` a line. `indent` stands before the title.
    pub fn labels(&mut self, indent: &str, title: &str, map: &Value) {
        let lines = pairs(map).map(|(key, value)| format!("{key}={}", text(value))).collect();
        self.listed(indent, title, lines);
    }

    /// A title with one value a line.
    pub fn listed(&mut self, indent: &str, title: &str, lines: Vec<String>) {
        if lines.is_empty() {
            return self.line(0, format!("{indent}{title}:\t<none>"));
        }
        for (i, line) in lines.iter().enumerate() {
            match i {
                0 => self.line(0, format!("{indent}{title}:\t{line}")),
                _ => self.line(0, format!("\t{line}")),
            }
        }
    }

    /// Annotations, without what `apply` remembers there.
    pub fn annotations(&mut self, title: &str, map: &Value) {
        let mut first = true;
        for (key, value) in pairs(map).filter(|(key, _)| key.as_str() != crate::write::LAST_APPLIED) {
            let start = if first { format!("{title}:\t") } else { "\t".to_owned() };
            first = false;
            let value = text(value);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 > MAX_ANNOTATION || value.contains('\n') {
                self.line(0, format!("{start}{key}:"));
                for part in value.split('\n') {
                    self.line(0, format!("\t  {}", shorten(part, MAX_ANNOTATION - 2)));
                }
            } else {
                self.line(0, format!("{start}{key}: {value}"));
            }
        }
        if first {
            self.line(0, format!("{title}:\t<none>"));
        }
    }

    /// The text with its tabs.
    pub fn raw(self) -> String {
        self.text
    }

    /// The columns laid out.
    pub fn finish(self) -> String {
        let mut writer = TabWriter::describing();
        for line in self.text.lines() {
            writer.line(line);
        }
        writer.take()
    }
}

fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max { text.to_owned() } else { format!("{}...", text.chars().take(max).collect::<String>()) }
}

/// A map's entries in the order of their keys.
pub fn pairs(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let mut entries: Vec<_> = map.as_object().into_iter().flat_map(Map::iter).collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter()
}

/// A list's items.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A value as Go's `%v` shows it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            format!("map[{}]", map.iter().map(|(k, v)| format!("{k}:{}", text(v))).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// A list's items, joined.
pub fn joined(value: &Value, by: &str) -> String {
    items(value).map(text).collect::<Vec<_>>().join(by)
}

pub fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".into() } else { text }
}

pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A number, 0 when there is none.
pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// `Mon, 02 Jan 2006 15:04:05 -0700` in the local time zone.
pub fn date(value: &Value) -> String {
    match value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) {
        Some(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        None => "Mon, 01 Jan 0001 00:00:00 +0000".into(),
    }
}

/// How long ago, as `get` shows ages.
pub fn since(value: &Value) -> String {
    match value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) {
        Some(time) => apimachinery::duration::human(jiff::Timestamp::now().as_second() - time.as_second()),
        None => "<unknown>".into(),
    }
}

/// `ReplicaSet/web-1`: the owner that controls the object.
pub fn controller(object: &Value) -> Option<String> {
    let owner = items(&object["metadata"]["ownerReferences"]).find(|o| o["controller"] == true)?;
    Some(format!("{}/{}", text(&owner["kind"]), text(&owner["name"])))
}

/// A label selector as one line.
pub fn selector(value: &Value) -> String {
    let typed = serde_json::from_value(value.clone()).ok();
    let parsed = typed.and_then(|typed| apimachinery::labels::from_label_selector(&typed).ok());
    or_none(parsed.map(|s| s.to_string()).unwrap_or_default())
}

/// `a=b,c=d`, or `<none>`.
pub fn equalities(map: &Value) -> String {
    or_none(pairs(map).map(|(k, v)| format!("{k}={}", text(v))).collect::<Vec<_>>().join(","))
}

/// `RWO,RWX`.
pub fn access_modes(value: &Value) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]
        .iter()
        .filter(|mode| items(value).any(|m| m == *mode))
        .map(|mode| short(&Value::from(*mode)))
        .collect::<Vec<_>>()
        .join(",")
}
