//! Label selectors: `app=web,tier in (front,back),!canary`.
//!
//! A selector is a conjunction of requirements sorted by key. Parsing accepts and refuses what upstream's does,
//! in the same words. Source: `k8s.io/apimachinery/pkg/labels`.
use crate::{
    field::{self, Path},
    validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    str::FromStr,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// Why a selector was refused, as the API server reports it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
    /// The bound of `>` and `<`.
    bound: i64,
}

impl Requirement {
    /// # Errors
    /// All violations of upstream's rules for keys, values and their number.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, ParseError> {
        let mut errors = field::ErrorList::default();
        let path = Path::new("values");
        check_key(key, &Path::new("key"), &mut errors);
        let mut bound = 0;
        let count_rule = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(rule) = count_rule {
            errors.push(field::Error::invalid(&path, &values, rule));
        }
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for (i, value) in values.iter().enumerate() {
                match value.parse() {
                    Ok(number) => bound = number,
                    Err(_) => errors.push(field::Error::invalid(
                        &path.index(i),
                        value,
                        "for 'Gt', 'Lt' operators, the value must be an integer",
                    )),
                }
            }
        }
        for (i, value) in values.iter().enumerate() {
            let messages = validation::is_valid_label_value(value);
            if !messages.is_empty() {
                errors.push(field::Error::invalid(&path.index(i).key(key), value, messages.join("; ")));
            }
        }
        if errors.is_empty() {
            Ok(Requirement { key: key.to_owned(), operator, values, bound })
        } else {
            Err(ParseError(errors.to_string()))
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// `value` is the label's, `None` when it is not set.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value| self.values.iter().any(|v| v == value);
        match (self.operator, value) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, Some(value)) => listed(value),
            (Operator::NotIn | Operator::NotEquals, Some(value)) => !listed(value),
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
            (Operator::GreaterThan, Some(value)) => value.parse::<i64>().is_ok_and(|n| n > self.bound),
            (Operator::LessThan, Some(value)) => value.parse::<i64>().is_ok_and(|n| n < self.bound),
            (Operator::NotIn | Operator::NotEquals, None) => true,
            (_, None) => false,
        }
    }
}

impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = match self.operator {
            Operator::Exists => return f.write_str(&self.key),
            Operator::DoesNotExist => return write!(f, "!{}", self.key),
            Operator::Equals => ("=", ""),
            Operator::DoubleEquals => ("==", ""),
            Operator::NotEquals => ("!=", ""),
            Operator::GreaterThan => (">", ""),
            Operator::LessThan => ("<", ""),
            Operator::In => (" in (", ")"),
            Operator::NotIn => (" notin (", ")"),
        };
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        write!(f, "{}{before}{}{after}", self.key, values.join(","))
    }
}

/// A conjunction of requirements; the default one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// # Errors
    /// In upstream's wording, naming the place or the offending key or value.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Parser { tokens: lex(text), position: 0 }.parse().map(Self::from_requirements)
    }

    pub fn everything() -> Self {
        Self::default()
    }

    pub fn nothing() -> Self {
        Selector { requirements: Vec::new(), nothing: true }
    }

    /// Selects what carries all of `labels`; their form is not checked.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let equals = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
            bound: 0,
        };
        Self::from_requirements(labels.into_iter().map(equals).collect())
    }

    pub fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements, nothing: false }
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// As [`Selector::matches`] for objects whose labels may be missing altogether.
    pub fn matches_option(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_with(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
    }

    /// `label` gives the value of a label by its key.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The one value that `key` must have, if the selector demands one.
    pub fn require_exact(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements.iter().find(|r| r.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
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

/// The selector an API object carries; an empty one selects everything.
///
/// # Errors
/// Upstream's texts, such as `"Foo" is not a valid label selector operator`.
pub fn from_label_selector(selector: &LabelSelector) -> Result<Selector, ParseError> {
    let mut requirements = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()])?);
    }
    for expression in selector.match_expressions.iter().flatten() {
        let operator = match expression.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(ParseError(format!("{other:?} is not a valid label selector operator"))),
        };
        let values = expression.values.clone().unwrap_or_default();
        requirements.push(Requirement::new(&expression.key, operator, values)?);
    }
    Ok(Selector::from_requirements(requirements))
}

/// As [`from_label_selector`]; a missing selector selects nothing.
///
/// # Errors
/// As [`from_label_selector`].
pub fn from_optional(selector: Option<&LabelSelector>) -> Result<Selector, ParseError> {
    selector.map_or_else(|| Ok(Selector::nothing()), from_label_selector)
}

fn check_key(key: &str, path: &Path, errors: &mut field::ErrorList) {
    let messages = validation::is_qualified_name(key);
    if !messages.is_empty() {
        errors.push(field::Error::invalid(path, key, messages.join("; ")));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Less,
    Identifier(&'a str),
    In,
    NotEquals,
    NotIn,
    Open,
    End,
    Error(&'a str),
}

impl Token<'_> {
    /// The text that error messages quote.
    fn literal(&self) -> String {
        match self {
            Token::Close => ")",
            Token::Comma => ",",
            Token::Not => "!",
            Token::DoubleEquals => "==",
            Token::Equals => "=",
            Token::Greater => ">",
            Token::Less => "<",
            Token::Identifier(text) => text,
            Token::In => "in",
            Token::NotEquals => "!=",
            Token::NotIn => "notin",
            Token::Open => "(",
            Token::End => "",
            Token::Error(text) => return format!("error expected: keyword found '{text}'"),
        }
        .to_owned()
    }
}

fn lex(text: &str) -> Vec<Token<'_>> {
    let special = |c: char| "=!(),><".contains(c);
    // A NUL ends upstream's scan.
    let mut rest = text.split('\0').next().unwrap_or_default();
    let mut tokens = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else {
            tokens.push(Token::End);
            return tokens;
        };
        let (token, length) = if special(first) {
            symbol(rest)
        } else {
            let end = rest.find(|c| special(c) || " \t\r\n".contains(c)).unwrap_or(rest.len());
            match rest.get(..end).unwrap_or_default() {
                "in" => (Token::In, end),
                "notin" => (Token::NotIn, end),
                word => (Token::Identifier(word), end),
            }
        };
        tokens.push(token);
        rest = rest.get(length..).unwrap_or_default();
    }
}

fn symbol(rest: &str) -> (Token<'_>, usize) {
    let mut bytes = rest.bytes();
    match (bytes.next(), bytes.next()) {
        (Some(b'='), Some(b'=')) => (Token::DoubleEquals, 2),
        (Some(b'!'), Some(b'=')) => (Token::NotEquals, 2),
        (Some(b'='), _) => (Token::Equals, 1),
        (Some(b'!'), _) => (Token::Not, 1),
        (Some(b'('), _) => (Token::Open, 1),
        (Some(b')'), _) => (Token::Close, 1),
        (Some(b','), _) => (Token::Comma, 1),
        (Some(b'>'), _) => (Token::Greater, 1),
        (Some(b'<'), _) => (Token::Less, 1),
        _ => (Token::Error(rest), rest.len()),
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
}

fn found(token: Token<'_>, expected: &str) -> ParseError {
    ParseError(format!("found '{}', expected: {expected}", token.literal()))
}

impl<'a> Parser<'a> {
    fn peek_operator(&self) -> Token<'a> {
        self.tokens.get(self.position).copied().unwrap_or(Token::End)
    }

    /// The next token where `in` and `notin` are plain words.
    fn peek(&self) -> Token<'a> {
        match self.peek_operator() {
            Token::In => Token::Identifier("in"),
            Token::NotIn => Token::Identifier("notin"),
            token => token,
        }
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn parse(mut self) -> Result<Vec<Requirement>, ParseError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::Identifier(_) | Token::Not => {
                    let requirement =
                        self.requirement().map_err(|e| ParseError(format!("unable to parse requirement: {e}")))?;
                    requirements.push(requirement);
                    match self.next() {
                        Token::End => return Ok(requirements),
                        Token::Comma => match self.peek() {
                            Token::Identifier(_) | Token::Not => {}
                            other => return Err(found(other, "identifier after ','")),
                        },
                        other => return Err(found(other, "',' or 'end of string'")),
                    }
                }
                Token::End => return Ok(requirements),
                other => return Err(found(other, "!, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let mut token = self.next();
        let negated = token == Token::Not;
        if negated {
            token = self.next();
        }
        let Token::Identifier(key) = token else { return Err(found(token, "identifier")) };
        let mut errors = field::ErrorList::default();
        check_key(key, &Path::root(), &mut errors);
        if !errors.is_empty() {
            return Err(ParseError(errors.to_string()));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort_unstable();
        values.dedup();
        Requirement::new(key, operator, values.into_iter().map(str::to_owned).collect())
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        let token = self.peek_operator();
        self.position += 1;
        Ok(match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            other => return Err(found(other, "in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn exact_value(&mut self) -> Result<&'a str, ParseError> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok("");
        }
        match self.next() {
            Token::Identifier(value) => Ok(value),
            other => Err(found(other, "identifier")),
        }
    }

    /// `(a,b)`; empty places stand for the empty value.
    fn values(&mut self) -> Result<Vec<&'a str>, ParseError> {
        let open = self.next();
        if open != Token::Open {
            return Err(ParseError(format!("found '{}' expected: '('", open.literal())));
        }
        match self.peek() {
            Token::Identifier(_) | Token::Comma => {}
            Token::Close => {
                self.next();
                return Ok(vec![""]);
            }
            other => return Err(found(other, "',', ')' or identifier")),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Identifier(value) => {
                    values.push(value);
                    match self.peek() {
                        Token::Comma => {}
                        Token::Close => break,
                        other => return Err(found(other, "',' or ')'")),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.push("");
                    }
                    match self.peek() {
                        Token::Close => {
                            values.push("");
                            break;
                        }
                        Token::Comma => {
                            self.next();
                            values.push("");
                        }
                        _ => {}
                    }
                }
                other => return Err(found(other, "',', or identifier")),
            }
        }
        self.next();
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
