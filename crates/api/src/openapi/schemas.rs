//! Definitions and component schemas, from the schema table and from custom resources.
use super::{CustomSchema, Dialect, ServedResource};
use apimachinery::schema::{self, Descriptions, Field, ListType, Nested, Schema, Type};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Types that the table writes as one code; they are definitions of their own in OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basic {
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    RawExtension,
    FieldsV1,
    Json,
    Patch,
}

impl Basic {
    const ALL: [Basic; 8] = [
        Basic::Time,
        Basic::MicroTime,
        Basic::Quantity,
        Basic::IntOrString,
        Basic::RawExtension,
        Basic::FieldsV1,
        Basic::Json,
        Basic::Patch,
    ];

    fn name(self) -> &'static str {
        match self {
            Basic::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
            Basic::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
            Basic::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
            Basic::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
            Basic::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            Basic::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
            Basic::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
            Basic::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
            Basic::Patch => "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
        }
    }

    fn document(self, dialect: Dialect) -> Value {
        match (self, dialect) {
            (Basic::Time, _) => json!({
                "description": "Time is a point in time, written in RFC 3339.", "format": "date-time", "type": "string"
            }),
            (Basic::MicroTime, _) => json!({
                "description": "MicroTime is a point in time with microseconds.", "format": "date-time",
                "type": "string"
            }),
            (Basic::Duration, _) => json!({ "description": "A length of time, such as 1h30m.", "type": "string" }),
            (Basic::Quantity, Dialect::V2) => json!({ "description": QUANTITY, "type": "string" }),
            (Basic::Quantity, Dialect::V3) => {
                json!({ "description": QUANTITY, "oneOf": [{ "type": "string" }, { "type": "number" }] })
            }
            (Basic::IntOrString, Dialect::V2) => {
                json!({ "description": INT_OR_STRING, "format": "int-or-string", "type": "string" })
            }
            (Basic::IntOrString, Dialect::V3) => json!({
                "description": INT_OR_STRING, "format": "int-or-string",
                "oneOf": [{ "type": "integer" }, { "type": "string" }]
            }),
            (Basic::RawExtension, _) => {
                json!({ "description": "RawExtension holds an object of any kind.", "type": "object" })
            }
            (Basic::FieldsV1, _) => json!({
                "description": "FieldsV1 is a set of fields as a trie in JSON, as structured-merge-diff defines it.",
                "type": "object"
            }),
            (Basic::Json, _) => json!({ "description": "JSON represents any valid JSON value." }),
            (Basic::Patch, _) => {
                json!({ "description": "Patch is the body of a PATCH request.", "type": "object" })
            }
        }
    }
}

const QUANTITY: &str = "Quantity is an exact amount with an optional suffix: a binary one (Ki | Mi | Gi | Ti | Pi | \
                        Ei), a decimal one (n | u | m | k | M | G | T | P | E) or a decimal exponent (e3).";
const INT_OR_STRING: &str = "IntOrString is a number or a string, for example a port's number or its name.";

/// A schema with a name of its own.
#[derive(Clone, Copy)]
pub enum Named<'a> {
    BuiltIn(Schema),
    Basic(Basic),
    Custom(&'a CustomSchema),
    CustomList(&'a CustomSchema),
}

impl Named<'_> {
    pub fn name(&self) -> String {
        match self {
            Named::BuiltIn(schema) => schema.name(),
            Named::Basic(basic) => basic.name().to_owned(),
            Named::Custom(custom) => custom_name(custom, &custom.kind),
            Named::CustomList(custom) => custom_name(custom, &custom.list_kind),
        }
    }

    pub fn document(&self, dialect: Dialect, descriptions: &Descriptions) -> Value {
        match self {
            Named::BuiltIn(schema) => built_in(*schema, dialect, descriptions),
            Named::Basic(basic) => basic.document(dialect),
            Named::Custom(custom) => custom_object(custom, dialect),
            Named::CustomList(custom) => custom_list(custom, dialect),
        }
    }
}

/// Definitions by group, version and kind.
pub struct Names<'a> {
    custom: BTreeMap<(&'a str, &'a str, &'a str), String>,
}

impl<'a> Names<'a> {
    pub fn new(custom: &'a [CustomSchema]) -> Self {
        let mut names = BTreeMap::new();
        for schema in custom {
            for kind in [&schema.kind, &schema.list_kind] {
                names
                    .insert((schema.group.as_str(), schema.version.as_str(), kind.as_str()), custom_name(schema, kind));
            }
        }
        Names { custom: names }
    }

    /// The definition's name, if there is one.
    pub fn of(&self, group: &str, version: &str, kind: &str) -> Option<String> {
        self.custom.get(&(group, version, kind)).cloned().or_else(|| schema::of(group, version, kind).map(Schema::name))
    }

    pub fn is_custom(&self, group: &str, version: &str, kind: &str) -> bool {
        self.custom.contains_key(&(group, version, kind))
    }
}

/// `com.example.stable.v1.CronTab`
fn custom_name(custom: &CustomSchema, kind: &str) -> String {
    let group: Vec<&str> = custom.group.split('.').rev().collect();
    format!("{}.{}.{kind}", group.join("."), custom.version)
}

/// Everything that the table and the custom resources define.
pub fn all(custom: &[CustomSchema]) -> Vec<Named<'_>> {
    let built_in = schema::all().filter(|s| !s.is_message_only()).map(Named::BuiltIn);
    let custom = custom.iter().flat_map(|c| [Named::Custom(c), Named::CustomList(c)]);
    built_in.chain(Basic::ALL.map(Named::Basic)).chain(custom).collect()
}

/// What the resources of one group and version refer to, directly or not.
pub fn reachable<'a>(resources: &[&ServedResource], custom: &'a [CustomSchema]) -> Vec<Named<'a>> {
    let mut found: BTreeMap<&'static str, Schema> = BTreeMap::new();
    let mut basics = BTreeSet::from([Basic::Patch]);
    let mut out = Vec::new();
    let meta = ["Status", "DeleteOptions", "ObjectMeta", "ListMeta", "WatchEvent"].map(|m| format!("{META}{m}"));
    let mut todo: Vec<Schema> = meta.iter().filter_map(|name| schema::named(name)).collect();
    for resource in resources {
        let (group, version) = (resource.group.as_ref(), resource.version.as_ref());
        let own = [resource.kind.to_string(), format!("{}List", resource.kind)];
        todo.extend(own.iter().filter_map(|kind| schema::of(group, version, kind)));
        todo.extend(resource.subresources.iter().filter_map(|s| schema::of(&s.group, &s.version, &s.kind)));
        let of_kind = |c: &&CustomSchema| c.group == group && c.version == version && c.kind == resource.kind;
        out.extend(custom.iter().filter(of_kind).flat_map(|c| [Named::Custom(c), Named::CustomList(c)]));
    }
    while let Some(schema) = todo.pop() {
        if found.insert(schema.short_name(), schema).is_none() {
            for field in schema.fields() {
                refer(field.type_(), &mut todo, &mut basics);
            }
        }
    }
    out.extend(found.into_values().map(Named::BuiltIn));
    out.extend(basics.into_iter().map(Named::Basic));
    out
}

fn refer(type_: Type, schemas: &mut Vec<Schema>, basics: &mut BTreeSet<Basic>) {
    match type_ {
        Type::Object(schema) => schemas.push(schema),
        Type::List(inner) | Type::Map(inner) => refer(inner.get(), schemas, basics),
        other => basics.extend(basic(other)),
    }
}

fn basic(type_: Type) -> Option<Basic> {
    Some(match type_ {
        Type::Time => Basic::Time,
        Type::MicroTime => Basic::MicroTime,
        Type::Duration => Basic::Duration,
        Type::Quantity => Basic::Quantity,
        Type::IntOrString => Basic::IntOrString,
        Type::RawExtension => Basic::RawExtension,
        Type::FieldsV1 => Basic::FieldsV1,
        Type::Any => Basic::Json,
        _ => return None,
    })
}

pub fn reference(dialect: Dialect, name: &str) -> Value {
    match dialect {
        Dialect::V2 => json!({ "$ref": format!("#/definitions/{name}") }),
        Dialect::V3 => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

fn built_in(schema: Schema, dialect: Dialect, descriptions: &Descriptions) -> Value {
    let mut out = Map::new();
    describe(&mut out, descriptions.of(schema));
    if schema.is_any() {
        return Value::Object(out);
    }
    out.insert("type".to_owned(), "object".into());
    let mut properties = Map::new();
    for field in schema.fields() {
        properties.insert(
            field.name().to_owned(),
            Value::Object(property(field, dialect, descriptions.of_field(schema, field))),
        );
    }
    if !properties.is_empty() {
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    let required: Vec<&str> = schema.fields().filter(|f| f.is_required()).map(Field::name).collect();
    if !required.is_empty() {
        out.insert("required".to_owned(), json!(required));
    }
    if schema.is_atomic() {
        out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    let kinds: Vec<Value> = schema
        .kinds()
        .map(|(group, version, kind)| json!({ "group": group, "version": version, "kind": kind }))
        .collect();
    if !kinds.is_empty() {
        out.insert("x-kubernetes-group-version-kind".to_owned(), Value::Array(kinds));
    }
    Value::Object(out)
}

fn describe(out: &mut Map<String, Value>, description: &str) {
    if !description.is_empty() {
        out.insert("description".to_owned(), description.into());
    }
}

fn property(field: Field, dialect: Dialect, description: &str) -> Map<String, Value> {
    let mut out = of_type(field.type_(), dialect);
    if dialect == Dialect::V3 {
        wrap_reference(&mut out, matches!(field.type_(), Type::Object(s) if !s.is_any()) && !field.is_pointer());
    }
    describe(&mut out, description);
    if let Some(default) = field.default().and_then(|d| serde_json::from_str::<Value>(d).ok()) {
        out.insert("default".to_owned(), default);
    }
    let list_type = match field.list_type() {
        Some(ListType::Atomic) => "atomic",
        Some(ListType::Set) => "set",
        Some(ListType::Map) => "map",
        None => "",
    };
    if !list_type.is_empty() {
        out.insert("x-kubernetes-list-type".to_owned(), list_type.into());
    }
    let keys: Vec<&str> = field.list_map_keys().collect();
    if !keys.is_empty() {
        out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
    }
    if field.is_atomic_map() {
        out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if let Some(key) = field.patch_merge_key() {
        out.insert("x-kubernetes-patch-merge-key".to_owned(), key.into());
    }
    if let Some(strategy) = field.patch_strategy() {
        out.insert("x-kubernetes-patch-strategy".to_owned(), strategy.into());
    }
    out
}

/// A reference may have no siblings in OpenAPI 3.0, so it goes into `allOf`.
fn wrap_reference(out: &mut Map<String, Value>, default: bool) {
    if let Some(reference) = out.remove("$ref") {
        out.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
        if default {
            out.insert("default".to_owned(), json!({}));
        }
    }
}

fn of_type(type_: Type, dialect: Dialect) -> Map<String, Value> {
    let simple = |type_: &str, format: &str| {
        let mut out = Map::new();
        out.insert("type".to_owned(), type_.into());
        if !format.is_empty() {
            out.insert("format".to_owned(), format.into());
        }
        out
    };
    let named = |name: &str| match reference(dialect, name) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let nested = |inner: Nested| {
        let mut out = of_type(inner.get(), dialect);
        if dialect == Dialect::V3 {
            wrap_reference(&mut out, matches!(inner.get(), Type::Object(s) if !s.is_any()));
        }
        Value::Object(out)
    };
    match type_ {
        Type::String => simple("string", ""),
        Type::Bytes => simple("string", "byte"),
        Type::Bool => simple("boolean", ""),
        Type::Int32 => simple("integer", "int32"),
        Type::Int64 => simple("integer", "int64"),
        Type::Double => simple("number", "double"),
        Type::Object(schema) => named(&schema.name()),
        Type::List(inner) => {
            let mut out = simple("array", "");
            out.insert("items".to_owned(), nested(inner));
            out
        }
        Type::Map(inner) => {
            let mut out = simple("object", "");
            out.insert("additionalProperties".to_owned(), nested(inner));
            out
        }
        other => basic(other).map(|b| named(b.name())).unwrap_or_default(),
    }
}

fn kind_extension(custom: &CustomSchema, kind: &str) -> Value {
    json!([{ "group": custom.group, "version": custom.version, "kind": kind }])
}

fn meta_property(dialect: Dialect, name: &str) -> Value {
    let mut out = match reference(dialect, &format!("{META}{name}")) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if dialect == Dialect::V3 {
        wrap_reference(&mut out, false);
    }
    describe(&mut out, "Standard object's metadata.");
    Value::Object(out)
}

fn custom_object(custom: &CustomSchema, dialect: Dialect) -> Value {
    let mut out = match custom.schema.as_ref() {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    if dialect == Dialect::V2 {
        reduce_to_v2(&mut out);
    }
    out.entry("type").or_insert_with(|| "object".into());
    let properties = out.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        for (name, description) in [
            ("apiVersion", "APIVersion defines the versioned schema of this representation of an object."),
            ("kind", "Kind is a string value representing the REST resource this object represents."),
        ] {
            properties.insert(name.to_owned(), json!({ "type": "string", "description": description }));
        }
        properties.insert("metadata".to_owned(), meta_property(dialect, "ObjectMeta"));
    }
    out.insert("x-kubernetes-group-version-kind".to_owned(), kind_extension(custom, &custom.kind));
    Value::Object(out)
}

fn custom_list(custom: &CustomSchema, dialect: Dialect) -> Value {
    json!({
        "description": format!("{} is a list of {}", custom.list_kind, custom.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": meta_property(dialect, "ListMeta"),
            "items": { "type": "array", "items": reference(dialect, &custom_name(custom, &custom.kind)) },
        },
        "x-kubernetes-group-version-kind": kind_extension(custom, &custom.list_kind),
    })
}

/// OpenAPI v2 has no such keywords.
fn reduce_to_v2(schema: &mut Map<String, Value>) {
    for keyword in ["oneOf", "anyOf", "allOf", "not", "nullable", "x-kubernetes-validations"] {
        schema.remove(keyword);
    }
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        schema.remove("type");
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(nested) {
            reduce_to_v2(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Object(inner) = property {
                reduce_to_v2(inner);
            }
        }
    }
}
