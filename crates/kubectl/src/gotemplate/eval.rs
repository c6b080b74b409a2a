//! From nodes and a value to text.
use super::{Node, Pipe, Term};
use serde_json::Value;
use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, ops::ControlFlow};

type Result<T> = std::result::Result<T, String>;

/// Functions that templates may call.
const FUNCTIONS: [&str; 20] = [
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "html",
    "js",
    "urlquery",
    "exists",
    "base64decode",
];

pub fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

/// Templates that call each other no deeper than this.
const MAX_CALLS: usize = 100;

/// The variables in scope, the innermost last.
struct Scope<'a> {
    variables: Vec<(String, Cow<'a, Value>)>,
    templates: BTreeMap<&'a str, &'a [Node]>,
    calls: usize,
    strict: bool,
    out: String,
}

/// What goes on behind a node: the next one, the loop's next round, or what follows the loop.
type Flow = ControlFlow<Leave>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Break,
    Continue,
}

/// `strict`: a field that a map does not have is an error.
pub fn render(nodes: &[Node], value: &Value, strict: bool) -> Result<String> {
    let templates = nodes.iter().filter_map(|node| match node {
        Node::Define(name, nodes) => Some((name.as_str(), nodes.as_slice())),
        _ => None,
    });
    let mut scope = Scope {
        variables: vec![("$".into(), Cow::Borrowed(value))],
        templates: templates.collect(),
        calls: 0,
        strict,
        out: String::new(),
    };
    match scope.nodes(nodes, value)? {
        ControlFlow::Continue(()) => Ok(scope.out),
        ControlFlow::Break(_) => Err("break or continue outside of a range".into()),
    }
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        let depth = self.variables.len();
        let flow = self.each(nodes, dot);
        self.variables.truncate(depth);
        flow
    }

    fn call(&mut self, name: &str, pipe: Option<&Pipe>, dot: &Value) -> Result<()> {
        let nodes = *self.templates.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
        if self.calls == MAX_CALLS {
            return Err("exceeded maximum template depth".into());
        }
        let value = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Null,
        };
        // A template sees its own argument alone.
        let outer = std::mem::replace(&mut self.variables, vec![("$".into(), Cow::Owned(value.clone()))]);
        self.calls += 1;
        let done = self.nodes(nodes, &value);
        self.calls -= 1;
        self.variables = outer;
        done.map(drop)
    }

    fn each(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    match (&pipe.assigned, value) {
                        (None, Value::Null) => self.out.push_str("<no value>"),
                        (None, value) => self.out.push_str(&shown(&value)),
                        _ => {}
                    }
                }
                Node::If(pipe, then, otherwise) => {
                    let chosen = if is_true(&self.pipe(pipe, dot)?) { then } else { otherwise };
                    if let leave @ ControlFlow::Break(_) = self.nodes(chosen, dot)? {
                        return Ok(leave);
                    }
                }
                Node::With(pipe, then, otherwise) => {
                    let value = self.pipe(pipe, dot)?;
                    let flow = if is_true(&value) { self.nodes(then, &value)? } else { self.nodes(otherwise, dot)? };
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                Node::Range(names, pipe, each, otherwise) => self.range(names, pipe, each, otherwise, dot)?,
                Node::Define(..) => {}
                Node::Call(name, pipe) => self.call(name, pipe.as_ref(), dot)?,
                Node::Break => return Ok(ControlFlow::Break(Leave::Break)),
                Node::Continue => return Ok(ControlFlow::Break(Leave::Continue)),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn range(&mut self, names: &[String], pipe: &Pipe, each: &[Node], otherwise: &[Node], dot: &Value) -> Result<()> {
        let entries: Vec<(Value, Value)> = match self.pipe(pipe, dot)? {
            Value::Array(items) => items.into_iter().enumerate().map(|(i, item)| (i.into(), item)).collect(),
            Value::Object(map) => {
                let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
                entries.sort_by_key(|(key, _)| shown(key));
                entries
            }
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", shown(&other))),
        };
        if entries.is_empty() {
            return self.nodes(otherwise, dot).map(drop);
        }
        for (key, value) in entries {
            let depth = self.variables.len();
            match names {
                [one] => self.variables.push((one.clone(), Cow::Owned(value.clone()))),
                [first, second, ..] => {
                    self.variables.push((first.clone(), Cow::Owned(key)));
                    self.variables.push((second.clone(), Cow::Owned(value.clone())));
                }
                [] => {}
            }
            let flow = self.nodes(each, &value)?;
            self.variables.truncate(depth);
            if flow == ControlFlow::Break(Leave::Break) {
                break;
            }
        }
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value> {
        let mut piped: Option<Value> = None;
        for step in &pipe.steps {
            let result = self.step(step, piped.take(), dot)?;
            piped = Some(result);
        }
        let value = piped.unwrap_or_default();
        match &pipe.assigned {
            Some((name, true)) => self.variables.push((name.clone(), Cow::Owned(value.clone()))),
            Some((name, false)) => {
                let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                known.ok_or_else(|| format!("undefined variable {name:?}"))?.1 = Cow::Owned(value.clone());
            }
            None => {}
        }
        Ok(value)
    }

    fn step(&mut self, terms: &[Term], piped: Option<Value>, dot: &Value) -> Result<Value> {
        let Some((first, rest)) = terms.split_first() else { return Ok(Value::Null) };
        let Term::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err("can't give argument to non-function".into());
            }
            return self.term(first, dot);
        };
        // `and` and `or` stop at the first operand that decides.
        if name == "and" || name == "or" {
            let mut last = Value::Null;
            for term in rest {
                last = self.term(term, dot)?;
                if is_true(&last) == (name == "or") {
                    return Ok(last);
                }
            }
            return Ok(piped.unwrap_or(last));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for term in rest {
            arguments.push(self.term(term, dot)?);
        }
        arguments.extend(piped);
        call(name, &arguments)
    }

    fn term(&mut self, term: &Term, dot: &Value) -> Result<Value> {
        Ok(match term {
            Term::Literal(value) => value.clone(),
            Term::Field(path) => self.follow(dot, path)?.clone(),
            Term::Variable(name, path) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| format!("undefined variable {name:?}"))?;
                self.follow(value, path)?.clone()
            }
            Term::Function(name) => call(name, &[])?,
            Term::Inner(pipe, path) => {
                let value = self.pipe(pipe, dot)?;
                self.follow(&value, path)?.clone()
            }
        })
    }

    fn follow<'v>(&self, value: &'v Value, path: &[String]) -> Result<&'v Value> {
        let mut at = value;
        for name in path {
            at = match at {
                Value::Object(map) => match map.get(name) {
                    None if self.strict => {
                        let path = path.join(".");
                        return Err(format!(
                            "1:2: executing \"output\" at <.{path}>: map has no entry for key \"{name}\""
                        ));
                    }
                    found => found.unwrap_or(&Value::Null),
                },
                Value::Null => &Value::Null,
                other => return Err(format!("can't evaluate field {name} in {}", shown(other))),
            };
        }
        Ok(at)
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As Go prints a value.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<_> = entries.into_iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

fn compare(one: &Value, other: &Value) -> Result<Ordering> {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let order = a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b));
            order.ok_or_else(|| "numbers cannot be compared".into())
        }
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err("incompatible types for comparison".into()),
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => one == other,
    }
}

fn call(name: &str, arguments: &[Value]) -> Result<Value> {
    let few = || format!("wrong number of args for {name}: got {}", arguments.len());
    let first = || arguments.first().ok_or_else(few);
    let second = || arguments.get(1).ok_or_else(few);
    Ok(match name {
        "not" => (!is_true(first()?)).into(),
        "len" => match first()? {
            Value::String(text) => text.len().into(),
            Value::Array(items) => items.len().into(),
            Value::Object(map) => map.len().into(),
            other => return Err(format!("error calling len: len of type {}", shown(other))),
        },
        "index" => index(first()?, arguments.get(1..).unwrap_or_default())?,
        "slice" => slice(first()?, arguments.get(1..).unwrap_or_default())?,
        "print" => printed(arguments).into(),
        "js" => js(&shown(first()?)).into(),
        "println" => format!("{}\n", arguments.iter().map(shown).collect::<Vec<_>>().join(" ")).into(),
        "printf" => {
            let Value::String(format) = first()? else { return Err("printf needs a format".into()) };
            formatted(format, arguments.get(1..).unwrap_or_default()).into()
        }
        "eq" => {
            let first = first()?;
            second()?;
            arguments.iter().skip(1).any(|other| equal(first, other)).into()
        }
        "ne" => (!equal(first()?, second()?)).into(),
        "lt" => (compare(first()?, second()?)? == Ordering::Less).into(),
        "le" => (compare(first()?, second()?)? != Ordering::Greater).into(),
        "gt" => (compare(first()?, second()?)? == Ordering::Greater).into(),
        "ge" => (compare(first()?, second()?)? != Ordering::Less).into(),
        "exists" => {
            let found = index(first()?, arguments.get(1..).unwrap_or_default());
            found.is_ok_and(|value| !value.is_null()).into()
        }
        "base64decode" => {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let bytes = STANDARD.decode(shown(first()?)).map_err(|e| format!("base64 decode: {e}"))?;
            String::from_utf8_lossy(&bytes).into_owned().into()
        }
        "urlquery" => crate::http::escape(&shown(first()?)).replace("%20", "+").into(),
        "html" => shown(first()?)
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;")
            .into(),
        other => return Err(format!("function {other:?} is not implemented")),
    })
}

/// A blank stands between two operands when neither is a text.
fn printed(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (i, argument) in arguments.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| arguments.get(i));
        if before.is_some_and(|before| !before.is_string() && !argument.is_string()) {
            out.push(' ');
        }
        out.push_str(&shown(argument));
    }
    out
}

/// Escaped for a string of JavaScript.
fn js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn index(value: &Value, keys: &[Value]) -> Result<Value> {
    let mut at = value;
    for key in keys {
        at = match (at, key) {
            (Value::Object(map), Value::String(key)) => map.get(key).unwrap_or(&Value::Null),
            (Value::Array(items), Value::Number(number)) => {
                let place = number.as_u64().and_then(|n| usize::try_from(n).ok()).and_then(|n| items.get(n));
                place.ok_or_else(|| format!("error calling index: index out of range: {number}"))?
            }
            (Value::Null, _) => return Err("error calling index: index of untyped nil".into()),
            _ => return Err(format!("error calling index: can't index item of type {}", shown(at))),
        };
    }
    Ok(at.clone())
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value> {
    let bound = |at: usize, default: usize| match bounds.get(at) {
        Some(value) => value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or("slice bounds must be whole numbers"),
        None => Ok(default),
    };
    let outside = || "error calling slice: index out of range".to_owned();
    match value {
        Value::String(text) => {
            let range = bound(0, 0)?..bound(1, text.len())?;
            Ok(text.get(range).ok_or_else(outside)?.into())
        }
        Value::Array(items) => {
            let range = bound(0, 0)?..bound(1, items.len())?;
            Ok(items.get(range).ok_or_else(outside)?.to_vec().into())
        }
        _ => Err("error calling slice: can't slice item".into()),
    }
}

/// `printf` with the verbs `%s %v %d %q %t %%`, and a width that may be filled with zeros.
fn formatted(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut width = String::new();
        while let Some(digit) = letters.next_if(|c| c.is_ascii_digit() || *c == '-') {
            width.push(digit);
        }
        let Some(verb) = letters.next() else { break };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let text = match (verb, arguments.next()) {
            (_, None) => format!("%!{verb}(MISSING)"),
            ('q', Some(value)) => format!("{:?}", shown(value)),
            (_, Some(value)) => shown(value),
        };
        // Padding beyond this is a mistake.
        let columns = width.trim_start_matches('-').parse::<usize>().unwrap_or(0).min(1024);
        let zeros = width.starts_with('0') && verb == 'd';
        let missing = if zeros { "0" } else { " " }.repeat(columns.saturating_sub(text.chars().count()));
        if width.starts_with('-') {
            out.push_str(&text)
        } else {
            out.push_str(&missing)
        }
        if width.starts_with('-') { out.push_str(&missing) } else { out.push_str(&text) }
    }
    out
}
