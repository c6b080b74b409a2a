//! JSON with keys in the order of Go's structures, as the official one prints objects that it knows the types of.
//!
//! Built-in kinds have their order from the schema. Of other structures (kubeconfigs) the keys are listed here; keys
//! that are known nowhere are sorted, and come last.
use super::json;
use apimachinery::schema::{self, Schema, Type};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The order of fields of structures that are no API objects. No two of them contradict each other.
const ORDER: &[&str] = &[
    "kind",
    "apiVersion",
    "preferences",
    "clusters",
    "users",
    "contexts",
    "current-context",
    "name",
    "cluster",
    "user",
    "namespace",
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority",
    "certificate-authority-data",
    "proxy-url",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "username",
    "password",
    "exec",
    "extensions",
];

/// What is known of the type of a value.
#[derive(Clone, Copy)]
pub enum Known {
    Nothing,
    /// A structure, and what is in it, whose fields stand in this order.
    Listed(&'static [&'static str]),
    Type(Type),
}

impl Known {
    /// Of an object that names its own kind.
    pub fn of(object: &Value) -> Known {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let schema = schema::of_api_version(text("apiVersion"), text("kind"));
        schema.map_or(Known::Nothing, |schema| Known::Type(Type::Object(schema)))
    }

    /// Of the value itself: what may be of any kind says of which it is.
    pub fn seen_in(self, value: &Value) -> Known {
        match self {
            Known::Type(Type::RawExtension | Type::Any) | Known::Nothing if value["kind"].is_string() => {
                Known::of(value)
            }
            known => known,
        }
    }

    fn schema(self) -> Option<Schema> {
        match self {
            Known::Type(Type::Object(schema)) => Some(schema),
            _ => None,
        }
    }

    /// Of a member of a map or structure.
    pub fn member(self, key: &str) -> Known {
        match self {
            Known::Type(Type::Map(values)) => Known::Type(values.get()),
            Known::Listed(order) => Known::Listed(order),
            other => {
                let field = other.schema().and_then(|schema| schema.field(key));
                field.map_or(Known::Nothing, |field| Known::Type(field.type_()))
            }
        }
    }

    /// Of an item of a list.
    pub fn item(self) -> Known {
        match self {
            Known::Type(Type::List(items)) => Known::Type(items.get()),
            _ => Known::Nothing,
        }
    }

    /// Put members into order: that of the structure, or of the alphabet where the keys are the user's.
    pub fn sort(self, members: &mut [(&String, &Value)]) {
        let rank = |key: &str| match (self, self.schema()) {
            (_, Some(schema)) => schema.go_position(key),
            (Known::Listed(order), _) => order.iter().position(|known| *known == key),
            (Known::Nothing, _) => ORDER.iter().position(|known| *known == key),
            _ => None,
        };
        members.sort_by_key(|(key, _)| (rank(key).unwrap_or(usize::MAX), *key));
    }
}

struct Ordered<'a> {
    value: &'a Value,
    known: Known,
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.known.seen_in(self.value);
        match self.value {
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                known.sort(&mut members);
                let ordered = members.into_iter();
                serializer.collect_map(ordered.map(|(key, value)| (key, Ordered { value, known: known.member(key) })))
            }
            Value::Array(items) => {
                serializer.collect_seq(items.iter().map(|value| Ordered { value, known: known.item() }))
            }
            other => other.serialize(serializer),
        }
    }
}

/// A list whose own members stand in Go's order, and those of its items in the alphabet's.
pub fn list(value: &Value) -> String {
    struct List<'a>(&'a Value);
    impl Serialize for List<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let members = ["kind", "apiVersion", "metadata", "items"].map(|key| (key, &self.0[key]));
            serializer.collect_map(members)
        }
    }
    json::to_string(&List(value))
}

/// Add what Go writes of a typed object although nobody set it: structures that are no pointers, empty; times that are
/// none, null. The time of creation alone is left out when it is not set.
pub fn fill(object: &mut Value) {
    if let Some(schema) = Known::of(object).schema() {
        fill_structure(schema, object);
    }
}

fn fill_structure(schema: Schema, object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    // What is inlined from another structure has no number here, and is not known to be a pointer or none.
    for field in schema.fields().filter(|field| field.number().is_some()) {
        let is_structure = matches!(field.type_(), Type::Object(inner) if !inner.is_any()) && !field.is_pointer();
        if is_structure && map.get(field.name()).is_none_or(Value::is_null) {
            map.insert(field.name().to_owned(), Value::Object(serde_json::Map::new()));
        }
        let is_time = matches!(field.type_(), Type::Time | Type::MicroTime) && !field.is_pointer();
        if is_time && field.name() != "creationTimestamp" && !map.contains_key(field.name()) {
            map.insert(field.name().to_owned(), Value::Null);
        }
        if let Some(value) = map.get_mut(field.name()) {
            fill_value(field.type_(), value);
        }
    }
}

fn fill_value(type_: Type, value: &mut Value) {
    match (type_, value) {
        (Type::Object(schema), value) if !schema.is_any() => fill_structure(schema, value),
        (Type::List(items), Value::Array(list)) => list.iter_mut().for_each(|item| fill_value(items.get(), item)),
        (Type::Map(values), Value::Object(map)) => map.values_mut().for_each(|value| fill_value(values.get(), value)),
        _ => {}
    }
}

/// The text of structures whose fields stand as in `order`, with a final newline.
pub fn ordered(value: &Value, order: &'static [&'static str]) -> String {
    json::to_string(&Ordered { value, known: Known::Listed(order) })
}

/// The text on one line.
pub fn compact(value: &Value) -> String {
    // JSON values always serialise into memory.
    json::escaped(&serde_json::to_string(&Ordered { value, known: Known::of(value) }).unwrap_or_default())
}

/// The text, with a final newline.
pub fn to_string(value: &Value) -> String {
    json::to_string(&Ordered { value, known: Known::of(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_written_even_when_they_are_empty() {
        let mut object = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
            "spec": {"selector": {}, "template": {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}}});
        fill(&mut object);
        assert_eq!(object["spec"]["strategy"], serde_json::json!({}));
        assert_eq!(object["status"], serde_json::json!({}));
        let container = serde_json::json!({"name": "c", "resources": {}});
        assert_eq!(object["spec"]["template"]["spec"]["containers"][0], container);
        assert!(object["spec"]["template"]["spec"]["securityContext"].is_null());
    }

    #[test]
    fn names_come_before_labels_and_labels_are_sorted() {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"name": "x", "kind": "y"}, "name": "web"}});
        let text: String = to_string(&value).split_whitespace().collect();
        assert_eq!(
            text,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","labels":{"kind":"y","name":"x"}}}"#
        );
    }
}
