//! How the pod template is laid out in Go: written by `xtask layout` from an official kubectl 1.36.
//!
//! The notation stands in `xtask/src/go_layout.rs`.
use std::{collections::HashMap, sync::OnceLock};

const TEXT: &str = include_str!("pod_template.layout");

/// A field of a Go struct.
pub struct Field {
    pub name: &'static str,
    /// `None`: its own fields are the JSON's.
    pub json: Option<&'static str>,
    pub omit: Omit,
    pub type_: &'static str,
}

/// When a field is left out of JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Omit {
    Never,
    /// False, 0, nothing, or without items; a struct never is.
    Empty,
    Zero,
}

pub struct Layout {
    structs: HashMap<&'static str, Vec<Field>>,
    named: HashMap<&'static str, &'static str>,
}

impl Layout {
    pub fn get() -> &'static Layout {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        LAYOUT.get_or_init(|| Layout::parse(TEXT))
    }

    fn parse(text: &'static str) -> Layout {
        let mut layout = Layout { structs: HashMap::new(), named: HashMap::new() };
        let mut open = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('@') {
                open = name;
                layout.structs.insert(name, Vec::new());
            } else if let Some((name, underlying)) = line.strip_prefix('=').and_then(|line| line.split_once(' ')) {
                layout.named.insert(name, underlying);
            } else {
                let fields = layout.structs.entry(open).or_default();
                fields.extend(field(line));
            }
        }
        layout
    }

    /// The fields of a struct, in Go's order; `None` for any other type.
    pub fn fields(&self, type_: &str) -> Option<&[Field]> {
        self.structs.get(type_).map(Vec::as_slice)
    }

    /// What a named type is underneath.
    pub fn underlying<'a>(&self, type_: &'a str) -> &'a str {
        self.named.get(type_).copied().unwrap_or(type_)
    }
}

fn field(line: &'static str) -> Option<Field> {
    let mut words = line.splitn(3, ' ');
    let (name, tag, type_) = (words.next()?, words.next()?, words.next()?);
    let (json, option) = tag.split_once(',').unwrap_or((tag, ""));
    let omit = match option {
        "" => Omit::Never,
        "omitempty" => Omit::Empty,
        _ => Omit::Zero,
    };
    Some(Field { name, json: Some(json).filter(|json| *json != "-"), omit, type_ })
}

/// The type of a list's items.
pub fn item(type_: &str) -> Option<&str> {
    type_.strip_prefix("[]")
}

/// The types of a map's keys and values.
pub fn entry(type_: &str) -> Option<(&str, &str)> {
    type_.strip_prefix("map[")?.split_once(']')
}
