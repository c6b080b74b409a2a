//! Field selectors: `metadata.name=web,status.phase!=Running`.
//!
//! Only equality and inequality exist; `\` escapes `,`, `=` and itself in values.
//! Source: `k8s.io/apimachinery/pkg/fields`.
use std::{
    fmt::{self, Display},
    str::FromStr,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equals,
    NotEquals,
}

/// Why a field selector was refused, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub field: String,
    pub operator: Operator,
    pub value: String,
}

impl Requirement {
    /// Whether it demands that `field` is `value`.
    pub fn is_exactly(&self, field: &str, value: &str) -> bool {
        self.operator == Operator::Equals && self.field == field && self.value == value
    }
}

/// A conjunction of requirements; the default one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// # Errors
    /// When a term has no operator or a value is not escaped properly.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let Some((field, operator, value)) = split_term(term) else {
                return Err(ParseError::Term { selector: text.to_owned(), term: term.to_owned() });
            };
            requirements.push(Requirement { field: field.to_owned(), operator, value: unescape(value)? });
        }
        Ok(Selector(requirements))
    }

    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects objects whose `field` is `value`.
    pub fn equals(field: &str, value: &str) -> Self {
        Selector(vec![Requirement { field: field.to_owned(), operator: Operator::Equals, value: value.to_owned() }])
    }

    /// `field` gives the value of a field by its name; an unknown field counts as empty, as upstream has it.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|r| {
            let equal = field(&r.field).unwrap_or_default() == r.value;
            equal == (r.operator == Operator::Equals)
        })
    }

    /// Without the requirements that something else is known to keep.
    pub fn without(&self, is_kept: impl Fn(&Requirement) -> bool) -> Self {
        Selector(self.0.iter().filter(|requirement| !is_kept(requirement)).cloned().collect())
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The one value that `field` must have, if the selector demands one.
    pub fn require_exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|r| r.field == field && r.operator == Operator::Equals).map(|r| r.value.as_str())
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.0.iter().enumerate() {
            let operator = if requirement.operator == Operator::Equals { "=" } else { "!=" };
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}{operator}{}", requirement.field, escape(&requirement.value))?;
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

/// Escapes what has a meaning in a selector's value.
pub fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn split_terms(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
}

fn split_term(term: &str) -> Option<(&str, Operator, &str)> {
    for (i, _) in term.char_indices() {
        let (left, right) = term.split_at_checked(i)?;
        for (text, operator) in [("!=", Operator::NotEquals), ("==", Operator::Equals), ("=", Operator::Equals)] {
            if let Some(value) = right.strip_prefix(text) {
                return Some((left, operator, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => return Err(ParseError::Escape(format!("\\{other}"))),
                None => return Err(ParseError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(ParseError::Unescaped(c)),
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parsing() {
        let cases = [
            ("", ""),
            ("a=b", "a=b"),
            ("a==b,,c!=d", "a=b,c!=d"),
            ("a=", "a="),
            (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
            ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
            (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ];
        for (text, want) in cases {
            let got = Selector::parse(text).map(|s| s.to_string()).unwrap_or_else(|e| e.to_string());
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn matching() {
        let field = |name: &str| (name == "spec.nodeName").then_some("n1");
        let cases = [("spec.nodeName=n1", true), ("spec.nodeName!=n1", false), ("other=", true), ("other!=x", true)];
        for (text, want) in cases {
            assert_eq!(Selector::parse(text).unwrap().matches(field), want, "{text}");
        }
        assert_eq!(Selector::parse("a=1,b!=2").unwrap().require_exact("a"), Some("1"));
        assert_eq!(Selector::parse("a=1,b!=2").unwrap().require_exact("b"), None);
    }

    proptest! {
        #[test]
        fn any_value_survives_escaping(value in "\\PC{0,20}") {
            let selector = Selector::equals("a", &value);
            prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }
    }
}
