//! From a template's nodes and a value to text.
use super::{Filter, Node, Operand, Operator, Path, Step, shown};
use crate::{Error, Result};
use serde_json::Value;
use std::cmp::Ordering;

fn refused(why: impl std::fmt::Display) -> Error {
    Error::message(format!("error executing jsonpath: {why}"))
}

pub(super) fn render(nodes: &[Node], root: &Value, current: &Value, out: &mut String) -> Result<()> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let texts: Vec<String> = select(path, root, current)?.into_iter().map(shown).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(path, inner) => {
                for value in select(path, root, current)? {
                    render(inner, root, value, out)?;
                }
            }
        }
    }
    Ok(())
}

/// The values that a path leads to.
pub(super) fn select<'v>(path: &Path, root: &'v Value, current: &'v Value) -> Result<Vec<&'v Value>> {
    let mut values = vec![if path.from_root { root } else { current }];
    for step in &path.steps {
        values = apply(step, root, values)?;
    }
    Ok(values)
}

fn apply<'v>(step: &Step, root: &'v Value, values: Vec<&'v Value>) -> Result<Vec<&'v Value>> {
    let mut out = Vec::new();
    if let Step::Union(steps) = step {
        for step in steps {
            out.extend(match step {
                Step::Field(dotted) => nested(dotted, &values),
                other => apply(other, root, values.clone())?,
            });
        }
        return Ok(out);
    }
    for value in values {
        match step {
            Step::Field(name) => out.extend(value.get(name).filter(|v| !v.is_null())),
            Step::Every => match value {
                Value::Array(items) => out.extend(items),
                Value::Object(map) => out.extend(map.values()),
                _ => {}
            },
            Step::Descend => descend(value, &mut out),
            Step::Index(index) => out.push(at(value, *index)?),
            Step::Slice(from, to, by) => out.extend(slice(value, *from, *to, *by)?),
            Step::Filter(filter) => {
                for item in value.as_array().into_iter().flatten() {
                    if holds(filter, root, item)? {
                        out.push(item);
                    }
                }
            }
            Step::Union(_) => {}
        }
    }
    Ok(out)
}

fn nested<'v>(dotted: &str, values: &[&'v Value]) -> Vec<&'v Value> {
    let follow =
        |value: &&'v Value| dotted.split('.').filter(|p| !p.is_empty()).try_fold(*value, |v, part| v.get(part));
    values.iter().filter_map(follow).collect()
}

/// The value and everything below it.
fn descend<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    out.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, out)),
        Value::Object(map) => map.values().for_each(|item| descend(item, out)),
        _ => {}
    }
}

fn at(value: &Value, index: i64) -> Result<&Value> {
    let Some(items) = value.as_array() else { return Err(refused("is not array or slice")) };
    let length = items.len() as i64;
    let position = if index < 0 { index + length } else { index };
    usize::try_from(position)
        .ok()
        .and_then(|p| items.get(p))
        .ok_or_else(|| refused(format!("array index out of bounds: index {index}, length {length}")))
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>, by: Option<i64>) -> Result<Vec<&Value>> {
    let Some(items) = value.as_array() else { return Err(refused("is not array or slice")) };
    let length = items.len() as i64;
    let place = |index: i64| (if index < 0 { index + length } else { index }).clamp(0, length);
    let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
    let by = by.unwrap_or(1);
    if by <= 0 {
        return Err(refused("step must be > 0"));
    }
    let (from, to, by) = (from as usize, to as usize, by as usize);
    Ok(items.get(from..to.max(from)).unwrap_or_default().iter().step_by(by).collect())
}

fn operand<'v>(operand: &'v Operand, root: &'v Value, item: &'v Value) -> Result<Vec<&'v Value>> {
    match operand {
        Operand::Literal(value) => Ok(vec![value]),
        Operand::Path(path) => select(path, root, item),
    }
}

fn holds(filter: &Filter, root: &Value, item: &Value) -> Result<bool> {
    let left = operand(&filter.left, root, item)?;
    let Some((operator, right)) = &filter.right else { return Ok(!left.is_empty()) };
    let right = operand(right, root, item)?;
    let (Some(left), Some(right)) = (left.first(), right.first()) else {
        return Ok(false);
    };
    let ordering = compare(left, right);
    Ok(match operator {
        Operator::Equal => ordering == Some(Ordering::Equal),
        Operator::NotEqual => ordering != Some(Ordering::Equal),
        Operator::Less => ordering == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => ordering == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    })
}

/// Order of two values of one kind; none between kinds.
pub(crate) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}
