//! What upstream's OpenAPI and Go types say of every built-in type: fields, types, list and patch rules, defaults,
//! protobuf numbers.
//!
//! The facts are in `v1_36.table`, which the xtask generates, parsed on first use into a few hundred kilobytes that
//! borrow from it. Its notation: a line `@name group/version/kind … flags` opens a definition (`io.k8s.` left out;
//! flags: `atomic` map, `any` value, `message` = not in OpenAPI); `~ @name #n` names a message whose fields stand
//! directly in this one's JSON; every other line is a field: `name type attributes`.
//!
//! Types: `s` string, `y` bytes, `b` bool, `i` int32, `l` int64, `d` double, `t` Time, `m` MicroTime, `D` Duration,
//! `q` Quantity, `x` IntOrString, `r` RawExtension, `f` FieldsV1, `j` any JSON, `@name` object, `[` list of, `{` map
//! of. Attributes: `#n` protobuf number, `p` Go pointer, `z` zero values are written, `w` list wrapped in a message,
//! `+` required, `lt=` list type, `mk=` list map keys, `mt=` map type, `pk=` patch merge key, `ps=` patch strategy,
//! `d=` default as JSON. The order of fields in Go stands beside, in `v1_36.order`.
mod check;
mod descriptions;
mod order;
mod table;
mod zeros;

pub use check::{Checked, check_duplicates, check_fields};
pub use descriptions::Descriptions;
pub use zeros::leave_out_zeros;

use std::fmt::{self, Debug};
use table::{DefinitionFacts, FieldFacts, Table};

/// Prefix of all definitions' names.
pub const NAME_PREFIX: &str = "io.k8s.";

/// The schema of a built-in kind; the kinds every group has (`DeleteOptions`, …) are found under any group.
pub fn of(group: &str, version: &str, kind: &str) -> Option<Schema> {
    let table = Table::get();
    table.by_kind(group, version, kind).or_else(|| table.meta_kind(kind)).map(Schema)
}

/// The schema of an `apiVersion` and `kind`.
pub fn of_api_version(api_version: &str, kind: &str) -> Option<Schema> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    of(group, version, kind)
}

/// The schema of a definition by its full name (`io.k8s.api.core.v1.Pod`).
pub fn named(name: &str) -> Option<Schema> {
    Table::get().by_name(name.strip_prefix(NAME_PREFIX)?).map(Schema)
}

/// All definitions, sorted by name.
pub fn all() -> impl Iterator<Item = Schema> {
    Table::get().definitions.iter().map(Schema)
}

/// All descriptions in the table's order (each definition, then its fields), each ended by `\x1e`; deflate.
fn compressed_descriptions() -> &'static [u8] {
    include_bytes!("v1_36.descriptions")
}

/// One definition.
#[derive(Clone, Copy)]
pub struct Schema(&'static DefinitionFacts);

impl Schema {
    /// Without the prefix [`NAME_PREFIX`].
    pub fn short_name(self) -> &'static str {
        self.0.name
    }

    /// `io.k8s.api.core.v1.Pod`
    pub fn name(self) -> String {
        format!("{NAME_PREFIX}{}", self.0.name)
    }

    /// Group, version and kind of each kind that this definition is the schema of.
    pub fn kinds(self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        self.0.header.split(' ').skip(1).filter_map(table::kind_parts)
    }

    /// Sorted by name.
    pub fn fields(self) -> impl ExactSizeIterator<Item = Field> {
        Table::get().fields_of(self.0).iter().map(Field)
    }

    pub fn field(self, name: &str) -> Option<Field> {
        let fields = Table::get().fields_of(self.0);
        let at = fields.binary_search_by(|f| f.name.cmp(name)).ok()?;
        fields.get(at).map(Field)
    }

    pub(crate) fn field_index(self, name: &[u8]) -> Option<(usize, Field)> {
        let fields = Table::get().fields_of(self.0);
        let at = fields.binary_search_by(|f| f.name.as_bytes().cmp(name)).ok()?;
        fields.get(at).map(|f| (at, Field(f)))
    }

    /// The field with this protobuf number.
    pub fn field_by_number(self, number: u32) -> Option<Field> {
        Table::get().fields_of(self.0).iter().find(|f| u32::from(f.number) == number && number > 0).map(Field)
    }

    /// The message with this protobuf number whose fields stand directly in this one's JSON.
    pub fn inline_by_number(self, number: u32) -> Option<Schema> {
        self.inlined().find(|(n, _)| *n == number).map(|(_, schema)| schema)
    }

    /// Protobuf number and schema of the messages whose fields stand directly in this one's JSON.
    pub fn inlined(self) -> impl Iterator<Item = (u32, Schema)> {
        Table::get().inlined(self.0).map(|(number, facts)| (number, Schema(facts)))
    }

    /// Server-side apply treats the object as one value.
    pub fn is_atomic(self) -> bool {
        self.0.atomic
    }

    /// Any JSON value may stand here.
    pub fn is_any(self) -> bool {
        self.0.any
    }

    /// The type is not in OpenAPI: an option type or the message of inlined fields.
    pub fn is_message_only(self) -> bool {
        self.0.message_only
    }
}

impl Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.0.name)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Schema {}

/// What may stand in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    Bytes,
    Bool,
    Int32,
    Int64,
    Double,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    RawExtension,
    FieldsV1,
    Any,
    Object(Schema),
    List(Nested),
    Map(Nested),
}

/// The type of a list's items or a map's values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nested(table::TypeCode);

impl Nested {
    pub fn get(self) -> Type {
        self.0.resolve()
    }
}

impl Debug for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map,
}

/// One field of a definition.
#[derive(Clone, Copy)]
pub struct Field(&'static FieldFacts);

impl Field {
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub fn type_(self) -> Type {
        self.0.type_.resolve()
    }

    pub fn is_required(self) -> bool {
        self.0.required
    }

    /// `x-kubernetes-list-type`
    pub fn list_type(self) -> Option<ListType> {
        match self.0.attribute("lt") {
            Some("atomic") => Some(ListType::Atomic),
            Some("set") => Some(ListType::Set),
            Some("map") => Some(ListType::Map),
            _ => None,
        }
    }

    /// `x-kubernetes-list-map-keys`
    pub fn list_map_keys(self) -> impl Iterator<Item = &'static str> {
        self.0.attribute("mk").into_iter().flat_map(|keys| keys.split(','))
    }

    /// `x-kubernetes-map-type: atomic`
    pub fn is_atomic_map(self) -> bool {
        self.0.attribute("mt") == Some("atomic")
    }

    /// `x-kubernetes-patch-merge-key`
    pub fn patch_merge_key(self) -> Option<&'static str> {
        self.0.attribute("pk")
    }

    /// `x-kubernetes-patch-strategy`: `merge`, `retainKeys`, `replace` or `merge,retainKeys`.
    pub fn patch_strategy(self) -> Option<&'static str> {
        self.0.attribute("ps")
    }

    pub fn has_patch_strategy(self, strategy: &str) -> bool {
        self.patch_strategy().is_some_and(|s| s.split(',').any(|s| s == strategy))
    }

    /// The default, as JSON. Only defaults that upstream declares in the type are known here.
    pub fn default(self) -> Option<&'static str> {
        self.0.attribute("d")
    }

    /// The protobuf field number.
    pub fn number(self) -> Option<u32> {
        (self.0.number > 0).then_some(u32::from(self.0.number))
    }

    /// Zero values count as set.
    pub fn is_pointer(self) -> bool {
        self.0.pointer
    }

    /// Zero values are written in JSON.
    pub fn is_always_written(self) -> bool {
        self.0.always
    }

    /// In protobuf the list is a message with one repeated field.
    pub fn is_wrapped_list(self) -> bool {
        self.0.wrapped
    }
}

impl Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.0.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_is_complete() {
        assert!(all().count() > 700);
        for schema in all() {
            assert_eq!(named(&schema.name()), Some(schema));
            for field in schema.fields() {
                assert_eq!(schema.field(field.name()).unwrap().name(), field.name(), "{schema:?} is not sorted");
            }
        }
        for (group, version, kind) in [
            ("", "v1", "Pod"),
            ("apps", "v1", "Deployment"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ] {
            assert!(of(group, version, kind).is_some(), "{group} {version} {kind}");
        }
        assert!(of("", "v1", "Nothing").is_none());
        assert!(of("apps", "v1", "DeleteOptions").is_some());
    }

    #[test]
    fn list_and_patch_facts() {
        let spec = named("io.k8s.api.core.v1.PodSpec").unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!(containers.list_type(), Some(ListType::Map));
        assert_eq!(containers.list_map_keys().collect::<Vec<_>>(), ["name"]);
        assert_eq!(containers.patch_merge_key(), Some("name"));
        assert!(containers.has_patch_strategy("merge") && containers.is_required());
        assert!(spec.field("volumes").unwrap().has_patch_strategy("retainKeys"));
        assert!(spec.field("nodeSelector").unwrap().is_atomic_map());
        let Type::List(item) = containers.type_() else { panic!("a list") };
        let Type::Object(container) = item.get() else { panic!("objects") };
        assert_eq!(container.short_name(), "api.core.v1.Container");
        let port = named("io.k8s.api.core.v1.ContainerPort").unwrap();
        assert_eq!(port.field("protocol").unwrap().default(), Some("\"TCP\""));
        let deployment = named("io.k8s.api.apps.v1.DeploymentSpec").unwrap();
        assert!(deployment.field("replicas").unwrap().is_pointer());
        assert!(!deployment.field("paused").unwrap().is_pointer());
    }
}
