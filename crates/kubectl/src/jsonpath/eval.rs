//! From a template's nodes and a value to text.
use super::{Filter, Node, Operand, Operator, Path, Step, shown};
use crate::{Error, Result};
use serde_json::Value;
use std::cmp::Ordering;

fn refused(why: impl std::fmt::Display) -> Error {
    Error::message(format!("error executing jsonpath: {why}"))
}

/// Where paths begin, and whether what they name has to be there.
#[derive(Clone, Copy)]
pub(super) struct Scope<'v> {
    pub root: &'v Value,
    pub strict: bool,
}

impl<'v> Scope<'v> {
    pub fn render(self, nodes: &[Node], current: &'v Value, out: &mut String) -> Result<()> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Path(path) => {
                    let texts: Vec<String> = self.select(path, current)?.into_iter().map(shown).collect();
                    out.push_str(&texts.join(" "));
                }
                Node::Range(path, inner) => {
                    for value in self.select(path, current)? {
                        self.render(inner, value, out)?;
                    }
                }
                Node::Wrong(why) => return Err(refused(why)),
            }
        }
        Ok(())
    }

    /// The values that a path leads to.
    pub fn select(self, path: &Path, current: &'v Value) -> Result<Vec<&'v Value>> {
        let mut values = vec![if path.from_root { self.root } else { current }];
        for step in &path.steps {
            values = self.apply(step, values)?;
        }
        Ok(values)
    }

    fn apply(self, step: &Step, values: Vec<&'v Value>) -> Result<Vec<&'v Value>> {
        let mut out = Vec::new();
        if let Step::Union(steps) = step {
            for step in steps {
                out.extend(match step {
                    Step::Field(dotted) => nested(dotted, &values),
                    other => self.apply(other, values.clone())?,
                });
            }
            return Ok(out);
        }
        for value in values {
            match step {
                Step::Field(name) => match value.get(name).filter(|v| !v.is_null()) {
                    None if self.strict => return Err(refused(format!("{name} is not found"))),
                    found => out.extend(found),
                },
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
                        if self.holds(filter, item)? {
                            out.push(item);
                        }
                    }
                }
                Step::Union(_) => {}
            }
        }
        Ok(out)
    }

    fn holds(self, filter: &Filter, item: &'v Value) -> Result<bool> {
        // What a filter names need not be there.
        let lenient = Scope { strict: false, ..self };
        let operand = |operand: &Operand| -> Result<Option<Value>> {
            Ok(match operand {
                Operand::Literal(value) => Some(value.clone()),
                Operand::Path(path) => lenient.select(path, item)?.first().map(|value| (*value).clone()),
            })
        };
        let left = operand(&filter.left)?;
        let Some((operator, right)) = &filter.right else { return Ok(left.is_some()) };
        let (Some(left), Some(right)) = (left, operand(right)?) else { return Ok(false) };
        let ordering = compare(&left, &right);
        Ok(match operator {
            Operator::Equal => ordering == Some(Ordering::Equal),
            Operator::NotEqual => ordering != Some(Ordering::Equal),
            Operator::Less => ordering == Some(Ordering::Less),
            Operator::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => ordering == Some(Ordering::Greater),
            Operator::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
            Operator::Unknown => return Err(refused("unrecognized filter operator =")),
        })
    }
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

/// Order of two values of one kind; none between kinds.
pub(crate) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}
