//! What is known of the built-in types, merged from all sources.
use std::collections::{BTreeMap, BTreeSet};

/// Types are kept in the table's notation: see `crates/apimachinery/src/schema/mod.rs`.
#[derive(Debug, Default, Clone)]
pub struct Field {
    pub type_: String,
    pub required: bool,
    /// `lt=…`, `mk=…`, `mt=…`, `pk=…`, `ps=…`, in this order.
    pub attributes: Vec<String>,
    pub default: Option<String>,
    pub description: String,
    pub encoding: Option<Encoding>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Encoding {
    pub number: u32,
    /// A Go pointer: present means set, whatever the value.
    pub pointer: bool,
    /// No `omitempty`: zero values are written in JSON.
    pub always: bool,
    /// The list is wrapped into a message with `items = 1`.
    pub wrapped: bool,
}

#[derive(Debug, Default, Clone)]
pub struct Definition {
    /// `group/version/kind`
    pub kinds: Vec<String>,
    pub atomic: bool,
    /// Any JSON value.
    pub any: bool,
    pub description: String,
    pub fields: BTreeMap<String, Field>,
    /// Messages whose fields stand directly in this type's JSON: field number and definition.
    pub inline: BTreeMap<u32, String>,
    /// Not in OpenAPI: an option type or an inlined message.
    pub message_only: bool,
    pub has_encoding: bool,
}

/// A type as the protobuf side knows it.
#[derive(Debug, Default, Clone)]
pub struct Message {
    pub fields: Vec<MessageField>,
}

#[derive(Debug, Default, Clone)]
pub struct MessageField {
    pub name: String,
    pub type_: String,
    pub encoding: Encoding,
    pub inline: bool,
    pub default: Option<String>,
    /// The name is only known up to case and underscores.
    pub guessed_name: bool,
}

pub type Messages = BTreeMap<String, Message>;

#[derive(Debug, Default)]
pub struct Model {
    pub definitions: BTreeMap<String, Definition>,
}

/// Types that stand on their own, without being in OpenAPI.
const OPTION_TYPES: &[&str] = &[
    "CreateOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "TableOptions",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
];
const META: &str = "apimachinery.pkg.apis.meta.v1.";

/// Without case and punctuation: prost and JSON spell the same name differently.
pub fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '$')).flat_map(char::to_lowercase).collect()
}

/// The definition a type refers to, if any.
pub fn referred(type_: &str) -> Option<&str> {
    type_.trim_start_matches(['[', '{']).strip_prefix('@')
}

impl Model {
    pub fn add_defaults(&mut self, messages: &Messages) {
        for (name, definition) in &mut self.definitions {
            let Some((_, message)) = messages.iter().find(|(n, _)| folded(n) == folded(name)) else { continue };
            for (field_name, field) in &mut definition.fields {
                let same = |f: &&MessageField| folded(&f.name) == folded(field_name);
                if let Some(default) = message.fields.iter().find(same).and_then(|f| f.default.clone()) {
                    field.default = Some(default);
                }
            }
        }
    }

    /// Adds field numbers to the definitions that have none yet, and the messages they inline.
    pub fn add_messages(&mut self, messages: Messages) {
        let by_folded: BTreeMap<String, (String, Message)> =
            messages.into_iter().map(|(name, message)| (folded(&name), (name, message))).collect();
        let mut json_names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for definition in self.definitions.values() {
            for name in definition.fields.keys() {
                json_names.entry(folded(name)).or_default().insert(name.clone());
            }
        }
        let mut wanted: Vec<String> = OPTION_TYPES.iter().map(|t| format!("{META}{t}")).collect();
        wanted.push("api.core.v1.List".to_owned());
        let mut todo: Vec<String> = self.definitions.keys().cloned().chain(wanted).collect();
        while let Some(name) = todo.pop() {
            let Some((_, message)) = by_folded.get(&folded(&name)) else { continue };
            let known = self.definitions.contains_key(&name);
            let definition = self.definitions.entry(name).or_default();
            if definition.has_encoding || definition.any {
                continue;
            }
            definition.has_encoding = true;
            definition.message_only |= !known;
            for field in &message.fields {
                todo.extend(add_field(definition, field, &json_names, &by_folded));
            }
        }
    }

    /// Prints where another source has other field numbers.
    pub fn compare(&self, messages: &Messages) {
        let by_folded: BTreeMap<String, &Message> = messages.iter().map(|(n, m)| (folded(n), m)).collect();
        for (name, definition) in &self.definitions {
            let Some(message) = by_folded.get(&folded(name)) else { continue };
            for field in &message.fields {
                let same = |(n, _): &(&String, &Field)| folded(n) == folded(&field.name);
                let known = definition.fields.iter().find(same).and_then(|(_, f)| f.encoding);
                if let Some(known) = known.filter(|known| known.number != field.encoding.number) {
                    eprintln!("{name}.{}: {} or {}", field.name, known.number, field.encoding.number);
                }
            }
        }
    }

    pub fn report(&self) {
        for (name, definition) in &self.definitions {
            if !definition.has_encoding && !definition.any {
                eprintln!("no field numbers: {name}");
                continue;
            }
            for (field_name, field) in &definition.fields {
                let meta = ["apiVersion", "kind"].contains(&field_name.as_str());
                let inlined = definition
                    .inline
                    .values()
                    .any(|d| self.definitions.get(d).is_some_and(|d| d.fields.contains_key(field_name)));
                if field.encoding.is_none() && !definition.any && !meta && !inlined {
                    eprintln!("no field number: {name}.{field_name}");
                }
                if let Some(reference) = referred(&field.type_).filter(|r| !self.definitions.contains_key(*r)) {
                    eprintln!("unknown type: {name}.{field_name} {reference}");
                }
            }
        }
    }
}

/// Returns the definitions that the field brings in.
fn add_field(
    definition: &mut Definition,
    field: &MessageField,
    json_names: &BTreeMap<String, BTreeSet<String>>,
    messages: &BTreeMap<String, (String, Message)>,
) -> Vec<String> {
    let own = definition.fields.keys().find(|n| folded(n) == folded(&field.name)).cloned();
    let reference = referred(&field.type_).map(str::to_owned);
    let inlined_by_shape = own.is_none()
        && !definition.message_only
        && field.guessed_name
        && reference.as_ref().and_then(|r| messages.get(&folded(r))).is_some_and(|(_, message)| {
            let known = |f: &MessageField| definition.fields.keys().any(|n| folded(n) == folded(&f.name));
            !message.fields.is_empty() && message.fields.iter().all(known)
        });
    if let Some(reference) = reference.clone().filter(|_| field.inline || inlined_by_shape) {
        definition.inline.insert(field.encoding.number, reference.clone());
        return vec![reference];
    }
    let name = match own {
        Some(name) => name,
        // Fields the target version does not have are left out.
        None if !definition.message_only => return Vec::new(),
        None if !field.guessed_name => field.name.clone(),
        None => match json_names.get(&folded(&field.name)) {
            Some(names) if names.len() == 1 => names.first().cloned().unwrap_or_default(),
            _ => camel(&field.name),
        },
    };
    let entry =
        definition.fields.entry(name).or_insert_with(|| Field { type_: field.type_.clone(), ..Field::default() });
    let mut encoding = field.encoding;
    if field.guessed_name {
        encoding.always = entry.required;
        // What kubectl does not link are numbers that upstream declares as pointers.
        encoding.pointer = matches!(entry.type_.as_str(), "d" | "l");
        encoding.wrapped = entry.type_.starts_with('[') && !field.type_.starts_with('[');
    }
    entry.encoding = Some(encoding);
    reference.into_iter().filter(|_| definition.message_only).collect()
}

fn camel(snake: &str) -> String {
    let mut out = String::new();
    for (i, part) in snake.split('_').enumerate() {
        let mut chars = part.chars();
        match chars.next() {
            Some(first) if i > 0 => out.extend(first.to_uppercase()),
            Some(first) => out.push(first),
            None => {}
        }
        out.extend(chars);
    }
    out
}
