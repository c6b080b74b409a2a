//! From text to nodes.
use super::{Node, Pipe, Term};
use serde_json::Value;
use std::{iter::Peekable, vec::IntoIter};

/// Nesting that no template needs.
const MAX_DEPTH: usize = 64;

type Result<T> = std::result::Result<T, String>;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Literal(Value),
    /// `.a.b`, `.`
    Field(String),
    Variable(String),
    Word(String),
    /// `(`, `)`, `|`, `,`, `:=`, `=`
    Mark(&'static str),
    /// A field right behind `)`.
    Behind(String),
}

/// Text, or the tokens of an action.
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

pub fn template(text: &str) -> Result<Vec<Node>> {
    let mut pieces = pieces(text)?.into_iter().peekable();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(format!("unexpected {{{{{}}}}}", word_of(&word))),
    }
}

fn word_of(tokens: &[Token]) -> &str {
    match tokens.first() {
        Some(Token::Word(word)) => word,
        _ => "",
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>> {
    let mut found = Vec::new();
    let (mut rest, mut trim) = (text, false);
    while let Some(start) = rest.find("{{") {
        let inner = &rest[start + 2..];
        let trims_left = inner.starts_with("- ");
        let mut before = &rest[..start];
        if trim {
            before = before.trim_start();
        }
        if trims_left {
            before = before.trim_end();
        }
        found.push(Piece::Text(before.to_owned()));
        let body = inner.strip_prefix('-').filter(|_| trims_left).unwrap_or(inner);
        if let Some(comment) = body.trim_start().strip_prefix("/*") {
            let end = comment.find("*/").ok_or("unclosed comment")?;
            let after = &comment[end + 2..];
            let close = after.find("}}").ok_or("unclosed action")?;
            trim = after[..close].trim_end().ends_with('-');
            rest = &after[close + 2..];
            continue;
        }
        let (tokens, after, trims_right) = action(body)?;
        found.push(Piece::Action(tokens));
        (rest, trim) = (after, trims_right);
    }
    found.push(Piece::Text(if trim { rest.trim_start().to_owned() } else { rest.to_owned() }));
    Ok(found)
}

/// The tokens up to `}}`, what follows, and whether white space there goes.
fn action(text: &str) -> Result<(Vec<Token>, &str, bool)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let blank = rest.starts_with(char::is_whitespace);
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after, false));
        }
        if let Some(after) = rest.strip_prefix("-}}").filter(|_| blank) {
            return Ok((tokens, after, true));
        }
        let Some(first) = rest.chars().next() else { return Err("unclosed action".into()) };
        let mark = [":=", "=", "(", ")", "|", ","].into_iter().find(|m| rest.starts_with(*m));
        if let Some(mark) = mark {
            tokens.push(Token::Mark(mark));
            rest = &rest[mark.len()..];
        } else if first == '"' {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let text = stream.next().and_then(std::result::Result::ok).ok_or("unterminated quoted string")?;
            rest = &rest[stream.byte_offset()..];
            tokens.push(Token::Literal(text.into()));
        } else if first == '`' {
            let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
            tokens.push(Token::Literal(rest[1..=end].into()));
            rest = &rest[end + 2..];
        } else {
            let is_part = |c: char| !c.is_whitespace() && !"()|,=:}\"`".contains(c);
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            // A keyword and the field right behind it: `range.items`.
            if let Some((keyword @ ("range" | "if" | "with" | "else"), field)) = split_keyword(word) {
                tokens.push(Token::Word(keyword.into()));
                tokens.push(Token::Field(field.into()));
                rest = &rest[end..];
                continue;
            }
            if word.is_empty() {
                return Err(format!("unexpected {first:?} in command"));
            }
            rest = &rest[end..];
            let behind = !blank && tokens.last() == Some(&Token::Mark(")"));
            tokens.push(match first {
                '.' if behind => Token::Behind(word.into()),
                '.' => Token::Field(word.into()),
                '$' => Token::Variable(word.into()),
                c if c.is_ascii_digit() || c == '-' => {
                    Token::Literal(serde_json::from_str(word).map_err(|_| format!("bad number syntax: {word:?}"))?)
                }
                _ => match word {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    word => Token::Word(word.into()),
                },
            });
        }
    }
}

/// `range.items` is `range` and `.items`.
fn split_keyword(word: &str) -> Option<(&str, &str)> {
    word.find('.').map(|dot| word.split_at(dot))
}

type Pieces = Peekable<IntoIter<Piece>>;

/// Nodes up to `{{end}}` or `{{else}}`, whose tokens come back.
fn block(pieces: &mut Pieces, depth: usize) -> Result<(Vec<Node>, Option<Vec<Token>>)> {
    if depth > MAX_DEPTH {
        return Err("nested too deeply".into());
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) if text.is_empty() => continue,
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match word_of(&tokens) {
            "end" | "else" => return Ok((nodes, Some(tokens))),
            word @ ("if" | "range" | "with") => nodes.push(control(word, &tokens[1..], pieces, depth)?),
            "break" => nodes.push(Node::Break),
            "continue" => nodes.push(Node::Continue),
            "define" => nodes.push(definition(&tokens, pieces, depth)?),
            "template" => nodes.push(inclusion(&tokens)?),
            "block" => return Err("{{block}} is not implemented".into()),
            _ => nodes.push(Node::Print(pipe(&tokens)?)),
        }
    }
    Ok((nodes, None))
}

fn definition(tokens: &[Token], pieces: &mut Pieces, depth: usize) -> Result<Node> {
    let [_, Token::Literal(Value::String(name))] = tokens else {
        return Err("unexpected token in define clause".into());
    };
    let (nodes, end) = block(pieces, depth + 1)?;
    match end.as_deref().map(word_of) {
        Some("end") => Ok(Node::Define(name.clone(), nodes)),
        _ => Err("unclosed {{define}}".into()),
    }
}

fn inclusion(tokens: &[Token]) -> Result<Node> {
    match tokens {
        [_, Token::Literal(Value::String(name))] => Ok(Node::Call(name.clone(), None)),
        [_, Token::Literal(Value::String(name)), rest @ ..] => Ok(Node::Call(name.clone(), Some(pipe(rest)?))),
        _ => Err("unexpected token in template clause".into()),
    }
}

fn control(word: &str, head: &[Token], pieces: &mut Pieces, depth: usize) -> Result<Node> {
    let unclosed = || "unexpected EOF".to_owned();
    if head.is_empty() {
        return Err(format!("missing value for {word}"));
    }
    let (then, end) = block(pieces, depth + 1)?;
    let end = end.ok_or_else(unclosed)?;
    let otherwise = match (word_of(&end), &end[1..]) {
        ("end", _) => Vec::new(),
        (_, []) => {
            let (nodes, end) = block(pieces, depth + 1)?;
            match end.as_deref().map(word_of) {
                Some("end") => nodes,
                _ => return Err(unclosed()),
            }
        }
        // `{{else if …}}` is an `if` of its own that shares our `end`.
        (_, [Token::Word(inner), rest @ ..]) if inner == "if" => vec![control("if", rest, pieces, depth + 1)?],
        _ => return Err("unexpected words after else".into()),
    };
    Ok(match word {
        "if" => Node::If(pipe(head)?, then, otherwise),
        "with" => Node::With(pipe(head)?, then, otherwise),
        _ => {
            let at = head.iter().position(|token| *token == Token::Mark(":="));
            let names = head[..at.unwrap_or(0)].iter().filter_map(|token| match token {
                Token::Variable(name) => Some(name.clone()),
                _ => None,
            });
            Node::Range(names.collect(), pipe(&head[at.map_or(0, |at| at + 1)..])?, then, otherwise)
        }
    })
}

fn pipe(tokens: &[Token]) -> Result<Pipe> {
    let (assigned, tokens) = match tokens {
        [Token::Variable(name), Token::Mark(mark @ (":=" | "=")), rest @ ..] => {
            (Some((name.clone(), *mark == ":=")), rest)
        }
        all => (None, all),
    };
    let mut at = 0;
    let steps = steps(tokens, &mut at, 0)?;
    if at < tokens.len() {
        return Err("unexpected right paren".into());
    }
    Ok(Pipe { assigned, steps })
}

fn steps(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Vec<Vec<Term>>> {
    if depth > MAX_DEPTH {
        return Err("nested too deeply".into());
    }
    let mut steps: Vec<Vec<Term>> = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        if *token == Token::Mark(")") {
            break;
        }
        *at += 1;
        if *token == Token::Mark("|") {
            steps.push(Vec::new());
            continue;
        }
        let term = match token {
            Token::Literal(value) => Term::Literal(value.clone()),
            Token::Field(path) => Term::Field(path_of(path)),
            Token::Variable(path) => {
                let mut parts = path.split('.');
                let name = parts.next().unwrap_or_default().to_owned();
                Term::Variable(name, parts.map(str::to_owned).collect())
            }
            Token::Word(name) if super::eval::is_function(name) => Term::Function(name.clone()),
            Token::Word(name) => return Err(format!("function {name:?} not defined")),
            Token::Mark("(") => {
                let inner = self::steps(tokens, at, depth + 1)?;
                if tokens.get(*at) != Some(&Token::Mark(")")) {
                    return Err("unclosed left paren".into());
                }
                *at += 1;
                let path = match tokens.get(*at) {
                    Some(Token::Behind(path)) => {
                        *at += 1;
                        path_of(path)
                    }
                    _ => Vec::new(),
                };
                Term::Inner(Box::new(Pipe { assigned: None, steps: inner }), path)
            }
            _ => return Err("unexpected token in operand".into()),
        };
        if let Some(step) = steps.last_mut() {
            step.push(term);
        }
    }
    if steps.iter().any(Vec::is_empty) {
        return Err("missing value for command".into());
    }
    Ok(steps)
}

fn path_of(text: &str) -> Vec<String> {
    text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
