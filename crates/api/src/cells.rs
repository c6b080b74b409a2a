//! Columns and cells that many kinds' tables share, in upstream's form.
//!
//! Source: `pkg/printers/internalversion/printers.go`; column descriptions are the API documentation's.
use apimachinery::{
    duration, labels,
    table::{Cell, Column, Row},
};
use k8s_openapi::{
    api::core::v1::Container,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time},
};
use std::collections::BTreeMap;

pub const NONE: &str = "<none>";
pub const UNSET: &str = "<unset>";
pub const UNKNOWN: &str = "<unknown>";

const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const CREATED_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
pub const CONTAINERS_DESCRIPTION: &str = "Names of each container in the template.";
pub const IMAGES_DESCRIPTION: &str = "Images referenced by each container in the template.";

pub const NAME: Column =
    Column { name: "Name", type_: "string", format: "name", description: NAME_DESCRIPTION, priority: 0 };
pub const AGE: Column = text("Age", CREATED_DESCRIPTION);
/// With [`NAME`], the table of kinds that have none of their own.
pub const CREATED_AT: Column =
    Column { name: "Created At", type_: "date", format: "", description: CREATED_DESCRIPTION, priority: 0 };

pub const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, type_: "string", format: "", description, priority: 0 }
}

pub const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, type_: "integer", format: "", description, priority: 0 }
}

pub const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column { name, type_: "boolean", format: "", description, priority: 0 }
}

/// Shown only with `-o wide`.
pub const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, type_: "string", format: "", description, priority: 1 }
}

pub fn name(meta: &ObjectMeta) -> Cell {
    Cell::Text(meta.name.clone().unwrap_or_default())
}

pub fn age(meta: &ObjectMeta, now: i64) -> Cell {
    Cell::Text(since(meta.creation_timestamp.as_ref(), now))
}

/// How long ago, as people read it.
pub fn since(time: Option<&Time>, now: i64) -> String {
    time.map_or_else(|| UNKNOWN.to_owned(), |t| duration::human(now.saturating_sub(t.0.as_second())))
}

/// The row that goes with [`NAME`] and [`CREATED_AT`].
pub fn default_row(meta: &ObjectMeta) -> Row {
    let created = meta.creation_timestamp.as_ref().map(|t| apimachinery::time::rfc3339(t.0));
    vec![name(meta), Cell::Text(created.unwrap_or_default())]
}

/// `a=b,c=d`, `<none>` when empty.
pub fn labels(labels: Option<&BTreeMap<String, String>>) -> String {
    let Some(labels) = labels.filter(|l| !l.is_empty()) else { return NONE.to_owned() };
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(",")
}

/// `a=b,c in (d,e)`; `<none>` when nothing is selected by it, `<error>` when it makes no sense.
pub fn selector(selector: Option<&LabelSelector>) -> String {
    match selector {
        None => NONE.to_owned(),
        Some(selector) => match labels::from_label_selector(selector) {
            Ok(parsed) if parsed.to_string().is_empty() => NONE.to_owned(),
            Ok(parsed) => parsed.to_string(),
            Err(_) => "<error>".to_owned(),
        },
    }
}

/// Names and images of containers, both comma-separated.
pub fn containers(containers: &[Container]) -> (String, String) {
    let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
    let images: Vec<&str> = containers.iter().map(|c| c.image.as_deref().unwrap_or_default()).collect();
    (names.join(","), images.join(","))
}
