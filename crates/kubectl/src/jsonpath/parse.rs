//! From a template's text to its nodes.
use super::{Filter, MAX_DEPTH, Node, Operand, Operator, Path, Step};
use crate::{Error, Result};
use serde_json::Value;

/// Characters, and where we are.
struct Input<'a> {
    text: &'a str,
    at: usize,
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::message(format!("error parsing jsonpath: {why}"))
}

impl<'a> Input<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    fn expect(&mut self, text: &str) -> Result<()> {
        if self.take(text) { Ok(()) } else { Err(refused(format!("expected {text:?} at {:?}", self.rest()))) }
    }
}

/// All nodes of a template.
pub(super) fn template(text: &str) -> Result<Vec<Node>> {
    let mut input = Input { text, at: 0 };
    let (nodes, ended) = nodes(&mut input, 0)?;
    let mut nodes = nodes;
    if ended {
        nodes.push(Node::Wrong("not in range, nothing to end".into()));
    }
    Ok(nodes)
}

/// Nodes up to the end of the text, or to `{end}` (then `true`).
fn nodes(input: &mut Input<'_>, depth: usize) -> Result<(Vec<Node>, bool)> {
    if depth > MAX_DEPTH {
        return Err(refused("nested too deeply"));
    }
    let mut found = Vec::new();
    let mut plain = String::new();
    while let Some(c) = input.next() {
        if c != '{' {
            plain.push(c);
            continue;
        }
        if !plain.is_empty() {
            found.push(Node::Text(std::mem::take(&mut plain)));
        }
        if !input.rest().contains('}') {
            return Err(refused("unclosed action"));
        }
        input.blanks();
        if input.take("end}") {
            return Ok((found, true));
        }
        if ["range ", "range.", "range["].iter().any(|word| input.rest().starts_with(word)) {
            input.take("range");
            input.blanks();
            let path = path(input, depth)?;
            input.blanks();
            input.expect("}")?;
            // Without an end, it goes to the template's.
            let (inner, _) = nodes(input, depth + 1)?;
            found.push(Node::Range(path, inner));
            continue;
        }
        while !input.take("}") {
            match input.peek() {
                None => return Err(refused("unclosed action")),
                Some(quote @ ('"' | '\'')) => found.push(Node::Text(quoted(input, quote)?)),
                Some(blank) if blank.is_whitespace() => input.blanks(),
                Some(c) if c.is_alphabetic() => {
                    let ends = |c: char| c.is_whitespace() || "}[]).,".contains(c);
                    let word: String = input.rest().chars().take_while(|c| !ends(*c)).collect();
                    input.at += word.len();
                    found.push(Node::Wrong(format!("unrecognized identifier {word}")));
                }
                Some(_) => found.push(Node::Path(path(input, depth)?)),
            }
        }
    }
    if !plain.is_empty() {
        found.push(Node::Text(plain));
    }
    Ok((found, false))
}

/// A quoted text with its escapes undone.
fn quoted(input: &mut Input<'_>, quote: char) -> Result<String> {
    input.next();
    let mut out = String::new();
    while let Some(c) = input.next() {
        match c {
            c if c == quote => return Ok(out),
            '\\' => match input.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err(refused("unterminated quoted string"))
}

fn path(input: &mut Input<'_>, depth: usize) -> Result<Path> {
    if depth > MAX_DEPTH {
        return Err(refused("nested too deeply"));
    }
    let mut path = Path { from_root: input.take("$"), steps: Vec::new() };
    let current = !path.from_root && input.take("@");
    let started = input.at;
    loop {
        if input.take("..") {
            path.steps.push(Step::Descend);
            if input.peek() != Some('[') {
                path.steps.push(field(input)?);
            }
        } else if input.take(".") {
            // A lone dot is the value itself.
            if !matches!(input.peek(), None | Some('}' | ' ' | ')' | '[')) {
                path.steps.push(field(input)?);
            }
        } else if input.take("[") {
            path.steps.push(bracket(input, depth)?);
        } else {
            break;
        }
    }
    if input.at == started && !path.from_root && !current {
        // A bare name: `{kind}` is an identifier the official one does not know either.
        return Err(refused(format!(
            "unrecognized identifier {}",
            input.rest().split(['}', ' ']).next().unwrap_or("")
        )));
    }
    Ok(path)
}

fn field(input: &mut Input<'_>) -> Result<Step> {
    if input.take("*") {
        return Ok(Step::Every);
    }
    let mut name = String::new();
    while let Some(c) = input.peek() {
        match c {
            '\\' => {
                input.next();
                name.extend(input.next());
            }
            '.' | '[' | ']' | '}' | '{' | ')' | '(' | '=' | '!' | '<' | '>' | ',' | '"' | '\'' => break,
            c if c.is_whitespace() => break,
            c => {
                name.push(c);
                input.next();
            }
        }
    }
    if name.is_empty() { Err(refused("invalid field name")) } else { Ok(Step::Field(name)) }
}

/// What stands between `[` and `]`.
fn bracket(input: &mut Input<'_>, depth: usize) -> Result<Step> {
    input.blanks();
    if input.take("?(") {
        let filter = filter(input, depth + 1)?;
        input.blanks();
        input.expect(")")?;
        input.blanks();
        input.expect("]")?;
        return Ok(Step::Filter(Box::new(filter)));
    }
    let text = input.rest().split(']').next().unwrap_or_default();
    if !input.rest().contains(']') {
        return Err(refused("unterminated array"));
    }
    let plain = text.trim().trim_start_matches(|c: char| c == '-' || c.is_ascii_digit());
    if !text.contains(',') && !plain.is_empty() && !plain.starts_with(['\'', '*', ':', '$', '@']) {
        return Err(refused(format!("invalid array index {text}")));
    }
    let mut steps = Vec::new();
    loop {
        input.blanks();
        steps.push(match input.peek() {
            Some(quote @ ('"' | '\'')) => named(&quoted(input, quote)?),
            Some('*') => {
                input.next();
                Step::Every
            }
            _ => indices(input)?,
        });
        input.blanks();
        if input.take("]") {
            break;
        }
        input.expect(",")?;
    }
    Ok(match steps.len() {
        1 => steps.remove(0),
        _ => Step::Union(steps),
    })
}

/// `['metadata.name']` means the nested field.
fn named(text: &str) -> Step {
    let parts: Vec<&str> = text.split('.').filter(|p| !p.is_empty()).collect();
    match parts.as_slice() {
        [_, _, ..] => Step::Union(vec![Step::Field(text.to_owned())]),
        _ => Step::Field(text.to_owned()),
    }
}

fn number(input: &mut Input<'_>) -> Result<Option<i64>> {
    let start = input.at;
    input.take("-");
    while input.peek().is_some_and(|c| c.is_ascii_digit()) {
        input.next();
    }
    let text = input.text.get(start..input.at).unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| refused(format!("invalid array index {text}")))
}

fn indices(input: &mut Input<'_>) -> Result<Step> {
    let first = number(input)?;
    if !input.take(":") {
        return first.map(Step::Index).ok_or_else(|| refused(format!("invalid array index {}", input.rest())));
    }
    let second = number(input)?;
    let third = if input.take(":") { number(input)? } else { None };
    Ok(Step::Slice(first, second, third))
}

fn filter(input: &mut Input<'_>, depth: usize) -> Result<Filter> {
    let left = operand(input, depth)?;
    input.blanks();
    let operators = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Unknown),
    ];
    let Some((_, operator)) = operators.into_iter().find(|(text, _)| input.take(text)) else {
        return match input.peek() {
            Some(')') => Ok(Filter { left, right: None }),
            _ => Err(refused("unrecognized operator in filter")),
        };
    };
    input.blanks();
    Ok(Filter { left, right: Some((operator, operand(input, depth)?)) })
}

fn operand(input: &mut Input<'_>, depth: usize) -> Result<Operand> {
    input.blanks();
    match input.peek() {
        Some(quote @ ('"' | '\'')) => Ok(Operand::Literal(Value::String(quoted(input, quote)?))),
        Some('@' | '$' | '.') => Ok(Operand::Path(path(input, depth)?)),
        _ => {
            let word: String =
                input.rest().chars().take_while(|c| !c.is_whitespace() && !")=!<>".contains(*c)).collect();
            input.at += word.len();
            match serde_json::from_str::<Value>(&word) {
                Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => Ok(Operand::Literal(value)),
                _ => Err(refused(format!("unrecognized identifier {word}"))),
            }
        }
    }
}
