//! The parsed table. Strings borrow from the text that is part of the executable.
use super::{Nested, Schema, Type};
use std::sync::OnceLock;

const TEXT: &str = include_str!("v1_36.table");
const META: &str = "apimachinery.pkg.apis.meta.v1.";

pub struct DefinitionFacts {
    pub name: &'static str,
    /// The rest of the line: kinds and flags.
    pub header: &'static str,
    fields: (u32, u32),
    inlined: (u32, u32),
    pub atomic: bool,
    pub any: bool,
    pub message_only: bool,
}

pub struct FieldFacts {
    pub name: &'static str,
    attributes: &'static str,
    pub type_: TypeCode,
    pub number: u16,
    pub required: bool,
    pub pointer: bool,
    pub always: bool,
    pub wrapped: bool,
}

impl FieldFacts {
    pub fn attribute(&self, key: &str) -> Option<&'static str> {
        self.attributes.split(' ').find_map(|a| a.strip_prefix(key)?.strip_prefix('='))
    }
}

/// A type in four bytes: up to four nested lists and maps, innermost a scalar code or a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeCode {
    /// Two bits a level, outermost lowest: 0 none, 1 list, 2 map.
    nesting: u8,
    code: u8,
    definition: u16,
}

impl TypeCode {
    pub fn resolve(self) -> Type {
        let inner = Nested(TypeCode { nesting: self.nesting >> 2, ..self });
        match self.nesting & 3 {
            1 => return Type::List(inner),
            2 => return Type::Map(inner),
            _ => {}
        }
        match self.code {
            b's' => Type::String,
            b'y' => Type::Bytes,
            b'b' => Type::Bool,
            b'i' => Type::Int32,
            b'l' => Type::Int64,
            b'd' => Type::Double,
            b't' => Type::Time,
            b'm' => Type::MicroTime,
            b'D' => Type::Duration,
            b'q' => Type::Quantity,
            b'x' => Type::IntOrString,
            b'r' => Type::RawExtension,
            b'f' => Type::FieldsV1,
            b'@' => Table::get()
                .definitions
                .get(usize::from(self.definition))
                .map_or(Type::Any, |facts| Type::Object(Schema(facts))),
            _ => Type::Any,
        }
    }
}

pub struct Table {
    /// Sorted by name.
    pub definitions: Vec<DefinitionFacts>,
    fields: Vec<FieldFacts>,
    /// Number and definition.
    inlined: Vec<(u32, u16)>,
    /// Sorted.
    kinds: Vec<((&'static str, &'static str, &'static str), u16)>,
}

/// `group/version/kind`; `None` for flags.
pub fn kind_parts(text: &'static str) -> Option<(&'static str, &'static str, &'static str)> {
    let (group, rest) = text.split_once('/')?;
    let (version, kind) = rest.split_once('/')?;
    Some((group, version, kind))
}

impl Table {
    pub fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Table::parse(TEXT))
    }

    fn parse(text: &'static str) -> Table {
        let names: Vec<&str> =
            text.lines().filter_map(|l| l.strip_prefix('@')).filter_map(|l| l.split(' ').next()).collect();
        let mut table =
            Table { definitions: Vec::with_capacity(names.len()), fields: vec![], inlined: vec![], kinds: vec![] };
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            if let Some(header) = line.strip_prefix('@') {
                table.definition(header);
            } else if let Some(rest) = line.strip_prefix("~ @") {
                if let Some((name, number)) = rest.split_once(" #") {
                    let definition = index_of(&names, name);
                    table.inlined.push((number.parse().unwrap_or(0), definition));
                }
            } else if let Some(field) = field(line, &names) {
                table.fields.push(field);
            }
            let (fields, inlined) = (table.fields.len() as u32, table.inlined.len() as u32);
            if let Some(last) = table.definitions.last_mut() {
                last.fields.1 = fields;
                last.inlined.1 = inlined;
            }
        }
        table.kinds.sort_unstable();
        table.fields.shrink_to_fit();
        table
    }

    fn definition(&mut self, header: &'static str) {
        let mut words = header.split(' ');
        let name = words.next().unwrap_or_default();
        let mut facts = DefinitionFacts {
            name,
            header,
            fields: (self.fields.len() as u32, self.fields.len() as u32),
            inlined: (self.inlined.len() as u32, self.inlined.len() as u32),
            atomic: false,
            any: false,
            message_only: false,
        };
        for word in words {
            match word {
                "atomic" => facts.atomic = true,
                "any" => facts.any = true,
                "message" => facts.message_only = true,
                kind => self.kinds.extend(kind_parts(kind).map(|parts| (parts, self.definitions.len() as u16))),
            }
        }
        self.definitions.push(facts);
    }

    pub fn by_kind(&'static self, group: &str, version: &str, kind: &str) -> Option<&'static DefinitionFacts> {
        let at = self.kinds.binary_search_by(|(key, _)| key.cmp(&(group, version, kind))).ok()?;
        self.definitions.get(usize::from(self.kinds.get(at)?.1))
    }

    /// A kind that every group has.
    pub fn meta_kind(&'static self, kind: &str) -> Option<&'static DefinitionFacts> {
        let known = kind.ends_with("Options")
            || ["WatchEvent", "PartialObjectMetadata", "PartialObjectMetadataList"].contains(&kind);
        known.then(|| self.by_name(&format!("{META}{kind}"))).flatten()
    }

    pub fn by_name(&'static self, name: &str) -> Option<&'static DefinitionFacts> {
        let at = self.definitions.binary_search_by(|d| d.name.cmp(name)).ok()?;
        self.definitions.get(at)
    }

    /// Where the definition's description is: before it are those of all earlier definitions and fields.
    pub fn description_index(&'static self, definition: &DefinitionFacts) -> Option<usize> {
        let at = self.definitions.binary_search_by(|d| d.name.cmp(definition.name)).ok()?;
        Some(at + definition.fields.0 as usize)
    }

    pub fn fields_of(&'static self, definition: &DefinitionFacts) -> &'static [FieldFacts] {
        let (start, end) = definition.fields;
        self.fields.get(start as usize..end as usize).unwrap_or_default()
    }

    pub fn inlined(
        &'static self,
        definition: &DefinitionFacts,
    ) -> impl Iterator<Item = (u32, &'static DefinitionFacts)> {
        let (start, end) = definition.inlined;
        let range = self.inlined.get(start as usize..end as usize).unwrap_or_default();
        range.iter().filter_map(|(number, d)| Some((*number, self.definitions.get(usize::from(*d))?)))
    }
}

fn index_of(names: &[&str], name: &str) -> u16 {
    names.binary_search(&name).ok().and_then(|i| u16::try_from(i).ok()).unwrap_or(u16::MAX)
}

fn field(line: &'static str, names: &[&str]) -> Option<FieldFacts> {
    let (name, rest) = line.split_once(' ')?;
    let (type_, attributes) = rest.split_once(' ').unwrap_or((rest, ""));
    let (mut nesting, mut shift, mut code) = (0u8, 0, type_);
    while let Some(inner) = code.strip_prefix(['[', '{']) {
        nesting |= if code.starts_with('[') { 1 } else { 2 } << shift;
        shift += 2;
        code = inner;
    }
    let definition = code.strip_prefix('@').map_or(u16::MAX, |d| index_of(names, d));
    let type_ = TypeCode { nesting, code: code.bytes().next()?, definition };
    let mut facts = FieldFacts {
        name,
        attributes,
        type_,
        number: 0,
        required: false,
        pointer: false,
        always: false,
        wrapped: false,
    };
    for word in attributes.split(' ') {
        match word {
            "p" => facts.pointer = true,
            "z" => facts.always = true,
            "w" => facts.wrapped = true,
            "+" => facts.required = true,
            other => {
                if let Some(number) = other.strip_prefix('#') {
                    facts.number = number.parse().ok()?;
                }
            }
        }
    }
    Some(facts)
}
