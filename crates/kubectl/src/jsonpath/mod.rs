//! kubectl's JSONPath: templates of text, `{paths}`, `{range}`…`{end}`, filters, slices and unions.
//!
//! Source: "JSONPath support" (kubernetes.io). It is not RFC 9535: a template prints, it does not select.
pub(crate) mod eval;
mod parse;

use crate::Result;
use serde_json::Value;

/// Nesting that no template needs.
const MAX_DEPTH: usize = 64;

/// A parsed template.
#[derive(Debug)]
pub struct JsonPath {
    nodes: Vec<Node>,
    /// Fields that are not there are an error.
    strict: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    /// `{.a.b[0]}`
    Path(Path),
    /// `{range .items[*]}…{end}`
    Range(Path, Vec<Node>),
    /// What is found wrong only when it is printed.
    Wrong(String),
}

/// Steps from the root (`$`), or from the current value (`@` and everything else).
#[derive(Clone, Debug, Default, PartialEq)]
struct Path {
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// `.*`, `[*]`
    Every,
    /// `..name`, applied at every depth.
    Descend,
    /// `[2]`, `[-1]`
    Index(i64),
    /// `[1:3]`, `[::2]`
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// `['a','b']`, `[0,2]`
    Union(Vec<Step>),
    /// `[?(@.a == "b")]`
    Filter(Box<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// Absent: the path has to exist.
    right: Option<(Operator, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Refused when there is something to compare.
    Unknown,
}

impl JsonPath {
    /// # Errors
    /// The template is malformed; the message is the official one's where clients see it.
    pub fn parse(template: &str) -> Result<JsonPath> {
        Ok(JsonPath { nodes: parse::template(template)?, strict: false })
    }

    /// A single path, as `--sort-by` and `wait --for` take it: `{.a}`, `.a` and `a` alike.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse_relaxed(text: &str) -> Result<JsonPath> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let dotted = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
        Self::parse(&format!("{{{dotted}}}"))
    }

    /// From now on, fields that are not there are an error.
    #[must_use]
    pub fn strict(self) -> JsonPath {
        JsonPath { strict: true, ..self }
    }

    /// The text that the template prints.
    ///
    /// # Errors
    /// A filter or an index does not fit the value.
    pub fn render(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        eval::Scope { root: value, strict: self.strict }.render(&self.nodes, value, &mut out)?;
        Ok(out)
    }

    /// The values of all paths of the template.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn values(&self, value: &Value) -> Result<Vec<Value>> {
        let mut out = Vec::new();
        for node in &self.nodes {
            if let Node::Path(path) = node {
                let scope = eval::Scope { root: value, strict: self.strict };
                out.extend(scope.select(path, value)?.into_iter().cloned());
            }
        }
        Ok(out)
    }

    /// As [`Self::values`]; what is not there, or does not fit, is no error.
    ///
    /// # Errors
    /// Never for now; kept for filters that cannot be compared.
    pub fn values_or_none(&self, value: &Value) -> Result<Vec<Value>> {
        Ok(self.values(value).unwrap_or_default())
    }
}

/// A value as a template prints it: strings bare, everything else as JSON.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> Value {
        json!({"kind": "List", "items": [
            {"kind": "None", "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "127.0.0.1"}},
             "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]}},
            {"kind": "None", "metadata": {"name": "127.0.0.2", "labels": {"kubernetes.io/hostname": "127.0.0.2"}},
             "status": {"capacity": {"cpu": "8"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.2"}, {"type": "another", "address": "127.0.0.3"}]}}],
            "users": [{"name": "myself", "user": {}}, {"name": "e2e", "user": {"username": "admin", "password": "secret"}}],
            "n": [1, 2, 3, 4]})
    }

    #[test]
    fn the_documented_examples() {
        let cases = [
            ("kind is {.kind}", "kind is List"),
            ("{['kind']}", "List"),
            ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
            ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
            ("{.users[0].name}", "myself"),
            ("{.users[-1].name}", "e2e"),
            ("{.items[*]['metadata.name', 'status.capacity']}", "127.0.0.1 127.0.0.2 {\"cpu\":\"4\"} {\"cpu\":\"8\"}"),
            (r#"{.users[?(@.name=="e2e")].user.password}"#, "secret"),
            (r#"{.users[?(@.user.password)].name}"#, "e2e"),
            (r#"{range .items[*]}[{.metadata.name}, {.status.capacity.cpu}] {end}"#, "[127.0.0.1, 4] [127.0.0.2, 8] "),
            (r#"{range .items[*]}{.metadata.name}{'\t'}{end}"#, "127.0.0.1\t127.0.0.2\t"),
            (r#"{range .items[*]}{.metadata.name}{"\n"}{end}"#, "127.0.0.1\n127.0.0.2\n"),
            (r#"{.items[0].metadata.labels.kubernetes\.io/hostname}"#, "127.0.0.1"),
            ("{.n[1:3]} {.n[::2]} {.n[-2:]}", "2 3 1 3 3 4"),
            ("{.n[0,2]}", "1 3"),
            ("{.n[?(@ > 2)]}", "3 4"),
            ("{.missing.field}", ""),
            ("{.items[1].status.addresses[?(@.type!='another')].address}", "127.0.0.2"),
            ("{range .items[*]}{range .status.addresses[*]}{.address};{end}{end}", "127.0.0.1;127.0.0.2;127.0.0.3;"),
            ("{$.kind}", "List"),
            ("{range.items[*]}{.metadata.name},{end}", "127.0.0.1,127.0.0.2,"),
            ("{range.items[*]}{.metadata.name},", "127.0.0.1,127.0.0.2,"),
            ("{range.items[*]}", ""),
        ];
        for (template, want) in cases {
            let path = JsonPath::parse(template).unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(path.render(&pods()).unwrap_or_else(|e| panic!("{template}: {e}")), want, "{template}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for template in ["{.a", "{.a[}", "{.a[?(@.b)}", "{.a[x]}", "{.a[\"b\"]}", "{.n[?(@ ~ 2)]}"] {
            assert!(JsonPath::parse(template).is_err(), "{template}");
        }
        for template in ["{kind}", "{end}", "{.n[?(@=2)]}"] {
            assert!(JsonPath::parse(template).expect(template).render(&pods()).is_err(), "{template}");
        }
        let strict = JsonPath::parse("{.missing}").expect("valid").strict();
        assert!(strict.render(&pods()).is_err(), "a field that is not there");
        assert!(JsonPath::parse("{.n[9]}").expect("valid").render(&pods()).is_err(), "out of bounds");
    }
}
