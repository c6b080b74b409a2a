//! The v2 document as protobuf, in the messages of `openapi.v2` that client-go reads: what `kubectl explain
//! --output=plaintext-openapiv2` and older clients ask for, in `application/com.github.proto-openapi.spec.v2`.
//!
//! The messages are described here by JSON member and field number; one writer serves them all. What has no field is
//! not written; what has no type in the messages (defaults, extensions) stands there as YAML.
//! Source: gnostic's `OpenAPIv2.proto`, `k8s.io/kube-openapi/pkg/util/proto`.
use apimachinery::codec::{protobuf::write, yaml};
use serde_json::Value;

/// Fields of the document that are written one by one.
const PATHS: u32 = 8;
const DEFINITIONS: u32 = 9;
/// The repeated field of messages that stand for maps, but of `Paths`.
const ENTRY: u32 = 1;
const PATHS_ENTRY: u32 = 2;

/// How a JSON value is written.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Flag,
    Integer,
    Double,
    /// `Any`: the value as YAML.
    Yaml,
    Yamls,
    One(&'static Message),
    /// A repeated field.
    Many(&'static Kind),
    /// A message with one repeated entry of name and value.
    Map(&'static Kind),
    /// A message that holds the list, or the single value, as its first field.
    Wrapped(&'static Kind),
    /// A message with one field a choice: its number, and what is in it.
    Choice(fn(&Value) -> (u32, Kind)),
}

struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    /// Where members called `x-…` go; 0 is nowhere.
    extensions: u32,
    /// Where all other members without a field of their own go, as name and value: their number and kind.
    others: Option<(u32, Kind)>,
}

const fn message(fields: &'static [(&'static str, u32, Kind)], extensions: u32) -> Message {
    Message { fields, extensions, others: None }
}

/// `Document`, without its paths and definitions.
static DOCUMENT: Message = message(
    &[
        ("swagger", 1, Kind::Text),
        ("info", 2, Kind::One(&INFO)),
        ("security", 12, Kind::Many(&Kind::One(&SECURITY_REQUIREMENT))),
        ("securityDefinitions", 13, Kind::Map(&Kind::Choice(security_definition))),
    ],
    16,
);

static INFO: Message = message(&[("title", 1, Kind::Text), ("version", 2, Kind::Text)], 7);

static PATH_ITEM: Message = message(
    &[
        ("get", 2, Kind::One(&OPERATION)),
        ("put", 3, Kind::One(&OPERATION)),
        ("post", 4, Kind::One(&OPERATION)),
        ("delete", 5, Kind::One(&OPERATION)),
        ("options", 6, Kind::One(&OPERATION)),
        ("head", 7, Kind::One(&OPERATION)),
        ("patch", 8, Kind::One(&OPERATION)),
        ("parameters", 9, PARAMETERS),
    ],
    10,
);

static OPERATION: Message = message(
    &[
        ("tags", 1, Kind::Texts),
        ("description", 3, Kind::Text),
        ("operationId", 5, Kind::Text),
        ("produces", 6, Kind::Texts),
        ("consumes", 7, Kind::Texts),
        ("parameters", 8, PARAMETERS),
        ("responses", 9, Kind::One(&RESPONSES)),
        ("schemes", 10, Kind::Texts),
    ],
    13,
);

const PARAMETERS: Kind = Kind::Many(&Kind::Choice(parameter));

/// `ParametersItem`: a parameter or a reference to one.
fn parameter(value: &Value) -> (u32, Kind) {
    if value.get("$ref").is_some() { (2, Kind::One(&REFERENCE)) } else { (1, Kind::Choice(place)) }
}

/// `Parameter`: in the body or not.
fn place(value: &Value) -> (u32, Kind) {
    if value["in"] == "body" { (1, Kind::One(&BODY_PARAMETER)) } else { (2, Kind::Choice(outside_the_body)) }
}

/// `NonBodyParameter`: by place.
fn outside_the_body(value: &Value) -> (u32, Kind) {
    match value["in"].as_str() {
        Some("header") => (1, Kind::One(&PATH_PARAMETER)),
        Some("formData") => (2, Kind::One(&QUERY_PARAMETER)),
        Some("path") => (4, Kind::One(&PATH_PARAMETER)),
        _ => (3, Kind::One(&QUERY_PARAMETER)),
    }
}

static REFERENCE: Message = message(&[("$ref", 1, Kind::Text), ("description", 2, Kind::Text)], 0);

static BODY_PARAMETER: Message = message(
    &[
        ("description", 1, Kind::Text),
        ("name", 2, Kind::Text),
        ("in", 3, Kind::Text),
        ("required", 4, Kind::Flag),
        ("schema", 5, Kind::One(&SCHEMA)),
    ],
    6,
);

/// `PathParameterSubSchema`, and `HeaderParameterSubSchema`, which has the same fields.
static PATH_PARAMETER: Message = message(
    &[
        ("required", 1, Kind::Flag),
        ("in", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("name", 4, Kind::Text),
        ("type", 5, Kind::Text),
        ("format", 6, Kind::Text),
        ("uniqueItems", 19, Kind::Flag),
    ],
    22,
);

/// `QueryParameterSubSchema`, and `FormDataParameterSubSchema`, which has the same fields.
static QUERY_PARAMETER: Message = message(
    &[
        ("required", 1, Kind::Flag),
        ("in", 2, Kind::Text),
        ("description", 3, Kind::Text),
        ("name", 4, Kind::Text),
        ("allowEmptyValue", 5, Kind::Flag),
        ("type", 6, Kind::Text),
        ("format", 7, Kind::Text),
        ("uniqueItems", 20, Kind::Flag),
    ],
    23,
);

static RESPONSES: Message = Message { fields: &[], extensions: 2, others: Some((1, Kind::Choice(response))) };

fn response(value: &Value) -> (u32, Kind) {
    if value.get("$ref").is_some() { (2, Kind::One(&REFERENCE)) } else { (1, Kind::One(&RESPONSE)) }
}

static RESPONSE: Message =
    message(&[("description", 1, Kind::Text), ("schema", 2, Kind::Choice(|_| (1, Kind::One(&SCHEMA))))], 5);

static SCHEMA: Message = message(
    &[
        ("$ref", 1, Kind::Text),
        ("format", 2, Kind::Text),
        ("title", 3, Kind::Text),
        ("description", 4, Kind::Text),
        ("default", 5, Kind::Yaml),
        ("multipleOf", 6, Kind::Double),
        ("maximum", 7, Kind::Double),
        ("exclusiveMaximum", 8, Kind::Flag),
        ("minimum", 9, Kind::Double),
        ("exclusiveMinimum", 10, Kind::Flag),
        ("maxLength", 11, Kind::Integer),
        ("minLength", 12, Kind::Integer),
        ("pattern", 13, Kind::Text),
        ("maxItems", 14, Kind::Integer),
        ("minItems", 15, Kind::Integer),
        ("uniqueItems", 16, Kind::Flag),
        ("maxProperties", 17, Kind::Integer),
        ("minProperties", 18, Kind::Integer),
        ("required", 19, Kind::Texts),
        ("enum", 20, Kind::Yamls),
        ("additionalProperties", 21, Kind::Choice(additional_properties)),
        ("type", 22, Kind::Wrapped(&Kind::Text)),
        ("items", 23, Kind::Wrapped(&Kind::One(&SCHEMA))),
        ("allOf", 24, Kind::Many(&Kind::One(&SCHEMA))),
        ("properties", 25, Kind::Map(&Kind::One(&SCHEMA))),
        ("readOnly", 27, Kind::Flag),
        ("example", 30, Kind::Yaml),
    ],
    31,
);

fn additional_properties(value: &Value) -> (u32, Kind) {
    if value.is_boolean() { (2, Kind::Flag) } else { (1, Kind::One(&SCHEMA)) }
}

static SECURITY_REQUIREMENT: Message =
    Message { fields: &[], extensions: 0, others: Some((ENTRY, Kind::Wrapped(&Kind::Text))) };

fn security_definition(_: &Value) -> (u32, Kind) {
    (2, Kind::One(&API_KEY_SECURITY))
}

static API_KEY_SECURITY: Message = message(
    &[("type", 1, Kind::Text), ("name", 2, Kind::Text), ("in", 3, Kind::Text), ("description", 4, Kind::Text)],
    5,
);

/// Members of the document but its paths and definitions.
pub fn head(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    object(document, &DOCUMENT, &mut out);
    out
}

/// A path of the document: parts of one message that follow each other are one message.
pub fn path(name: &str, item: &Value) -> Vec<u8> {
    part(PATHS, name, item, PATHS_ENTRY, Kind::One(&PATH_ITEM))
}

/// A definition of the document, as [`path`].
pub fn definition(name: &str, schema: &Value) -> Vec<u8> {
    part(DEFINITIONS, name, schema, ENTRY, Kind::One(&SCHEMA))
}

fn part(of: u32, name: &str, content: &Value, at: u32, kind: Kind) -> Vec<u8> {
    let (mut inner, mut out) = (Vec::new(), Vec::new());
    named(at, name, content, kind, &mut inner);
    write::bytes(of, &inner, &mut out);
    out
}

/// The recursion is bounded by the depth of the parsed JSON.
fn object(object: &Value, message: &Message, out: &mut Vec<u8>) {
    let Some(members) = object.as_object() else { return };
    for (name, number, kind) in message.fields {
        if let Some(member) = members.get(*name) {
            value(*number, member, *kind, out);
        }
    }
    for (name, member) in members {
        if name.starts_with("x-") && message.extensions > 0 {
            named(message.extensions, name, member, Kind::Yaml, out);
        } else if let Some((number, kind)) = message.others
            && !name.starts_with("x-")
        {
            named(number, name, member, kind, out);
        }
    }
}

/// A `Named…` message: the key and the value of one member.
fn named(at: u32, name: &str, content: &Value, kind: Kind, out: &mut Vec<u8>) {
    let mut entry = Vec::new();
    write::bytes(1, name.as_bytes(), &mut entry);
    value(2, content, kind, &mut entry);
    write::bytes(at, &entry, out);
}

fn value(at: u32, content: &Value, kind: Kind, out: &mut Vec<u8>) {
    let list = || content.as_array().map_or(std::slice::from_ref(content), Vec::as_slice);
    let mut inner = Vec::new();
    match kind {
        Kind::Text => match content.as_str() {
            Some(text) if !text.is_empty() => return write::bytes(at, text.as_bytes(), out),
            _ => return,
        },
        Kind::Texts => {
            let texts = list().iter().filter_map(Value::as_str);
            return texts.for_each(|text| write::bytes(at, text.as_bytes(), out));
        }
        Kind::Flag => match content.as_bool() {
            Some(true) => return write::number(at, 1, out),
            _ => return,
        },
        Kind::Integer => match content.as_i64() {
            Some(number) if number != 0 => return write::number(at, number, out),
            _ => return,
        },
        Kind::Double => match content.as_f64() {
            Some(number) if number != 0.0 => return write::double(at, number, out),
            _ => return,
        },
        Kind::Yamls => return list().iter().for_each(|one| value(at, one, Kind::Yaml, out)),
        Kind::Many(items) => return list().iter().for_each(|one| value(at, one, *items, out)),
        Kind::Yaml => write::bytes(2, yaml::to_string(content).as_bytes(), &mut inner),
        Kind::One(message) => object(content, message, &mut inner),
        Kind::Map(values) => {
            for (name, member) in content.as_object().into_iter().flatten() {
                named(ENTRY, name, member, *values, &mut inner);
            }
        }
        Kind::Wrapped(items) => list().iter().for_each(|one| value(1, one, *items, &mut inner)),
        Kind::Choice(choose) => match choose(content) {
            // False has to be written here: it is what was chosen.
            (number, Kind::Flag) => write::number(number, i64::from(content == true), &mut inner),
            (number, chosen) => value(number, content, chosen, &mut inner),
        },
    }
    write::bytes(at, &inner, out);
}
