//! Events, stored in their core form; `events.k8s.io/v1` shows the same objects under other field names.
use crate::{
    cells,
    kind::Kind,
    meta,
    resource::{Conversion, Info, Served, Target},
};
use apimachinery::{
    duration,
    field::{Error, ErrorList, Path},
    table::{Cell, Column, Row},
    validation,
};
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;

const TTL_SECONDS: u32 = 3600;
const NOTE_MAX_BYTES: usize = 1024;

/// Names of the same field: core, `events.k8s.io`.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(value: &mut Value, pairs: impl Iterator<Item = (&'static str, &'static str)>) -> Result<(), String> {
    let Value::Object(map) = value else { return Err("an Event must be an object".to_owned()) };
    for (from, to) in pairs {
        if let Some(field) = map.remove(from) {
            map.insert(to.to_owned(), field);
        }
    }
    Ok(())
}

const CONVERSION: Conversion = Conversion {
    to_storage: |value| rename(value, RENAMED.iter().map(|(core, new)| (*new, *core))),
    from_storage: |value| rename(value, RENAMED.iter().map(|(core, new)| (*core, *new))),
};

fn text(text: Option<&String>) -> &str {
    text.map(String::as_str).unwrap_or_default()
}

/// Who reported it.
fn source(event: &Event) -> String {
    let source = event.source.as_ref();
    let component = text(source.and_then(|s| s.component.as_ref()));
    let host = text(source.and_then(|s| s.host.as_ref()));
    let component = if component.is_empty() { text(event.reporting_component.as_ref()) } else { component };
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

/// How long ago it began and when it last happened, as shown; and how often.
fn times(event: &Event, now: i64) -> (String, String, i64) {
    let ago = |second: i64| duration::human(now.saturating_sub(second));
    let event_time = event.event_time.as_ref().map(|t| t.0.as_second());
    let first = event.first_timestamp.as_ref().map(|t| t.0.as_second()).or(event_time);
    let first_seen = first.map_or_else(|| cells::UNKNOWN.to_owned(), ago);
    let (mut last_seen, mut count) = match &event.last_timestamp {
        Some(last) => (ago(last.0.as_second()), i64::from(event.count.unwrap_or_default())),
        None => (first_seen.clone(), i64::from(event.count.unwrap_or_default())),
    };
    if let Some(series) = &event.series {
        if let Some(last) = &series.last_observed_time {
            last_seen = ago(last.0.as_second());
        }
        count = i64::from(series.count.unwrap_or_default());
    } else if count == 0 {
        count = 1;
    }
    (first_seen, last_seen, count)
}

impl Kind for Event {
    const COLUMNS: &'static [Column] = &[
        cells::text("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
        cells::text("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
        cells::text(
            "Reason",
            "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.",
        ),
        cells::text("Object", "The object that this event is about."),
        cells::wide(
            "Subobject",
            "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.",
        ),
        cells::wide("Source", "The component reporting this event. Should be a short machine understandable string."),
        cells::text("Message", "A human-readable description of the status of this operation."),
        cells::wide(
            "First Seen",
            "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
        ),
        cells::wide("Count", "The number of times this event has occurred."),
        Column { name: "Name", type_: "string", format: "name", description: cells::NAME.description, priority: 1 },
    ];
    /// Names are made from the names of objects of any kind.
    const NAME: meta::NameRule = meta::PATH_SEGMENT;

    fn info() -> Info {
        let mut info = Info::new("", "v1", "Event", "events")
            .short(&["ev"])
            .expires_after(TTL_SECONDS)
            .created_on_update()
            .selectable(&[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
                "reason",
                "reportingComponent",
                "source",
                "type",
            ]);
        info.served.push(Served {
            group: "events.k8s.io".into(),
            version: "v1".into(),
            kind: "Event".into(),
            convert: Some(CONVERSION),
        });
        info
    }

    fn set_defaults(&mut self) {
        self.source.get_or_insert_default();
        // Upstream's fields are always written.
        self.reporting_component.get_or_insert_default();
        self.reporting_instance.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let namespace = text(self.metadata.namespace.as_ref());
        let involved = text(self.involved_object.namespace.as_ref());
        let path = Path::new("involvedObject").child("namespace");
        if involved.is_empty() {
            if !matches!(namespace, "" | "default") {
                let detail = "does not match event.namespace";
                errors.push(Error::invalid(&path, involved, detail));
            }
        } else if involved != namespace {
            errors.push(Error::invalid(&path, involved, "does not match event.namespace"));
        }
        for violation in validation::is_dns1123_subdomain(namespace) {
            errors.push(Error::invalid(&Path::new("namespace"), namespace, violation));
        }
    }

    fn validate_create(&self, errors: &mut ErrorList) {
        // Only events of the new kind have an eventTime, and only they keep its rules.
        if self.event_time.is_none() {
            return;
        }
        let controller = text(self.reporting_component.as_ref());
        if controller.is_empty() {
            errors.push(Error::required(&Path::new("reportingController"), ""));
        } else {
            for violation in validation::is_qualified_name(controller) {
                errors.push(Error::invalid(&Path::new("reportingController"), controller, violation));
            }
        }
        for (value, name) in
            [(&self.reporting_instance, "reportingInstance"), (&self.action, "action"), (&self.reason, "reason")]
        {
            let value = text(value.as_ref());
            if value.is_empty() {
                errors.push(Error::required(&Path::new(name), ""));
            } else if value.len() > 128 {
                errors.push(Error::invalid(&Path::new(name), "", "can have at most 128 characters"));
            }
        }
        if text(self.message.as_ref()).len() > NOTE_MAX_BYTES {
            errors.push(Error::invalid(&Path::new("message"), "", "can have at most 1024 characters"));
        }
        if !matches!(text(self.type_.as_ref()), "Normal" | "Warning") {
            let detail = format!("has invalid value: {}", text(self.type_.as_ref()));
            errors.push(Error::invalid(&Path::new("type"), "", detail));
        }
    }

    fn validate_update(&self, _target: Target, _old: &Self, _errors: &mut ErrorList) {}

    fn field_values(&self) -> Vec<String> {
        let object = &self.involved_object;
        let own = |t: &Option<String>| t.clone().unwrap_or_default();
        let source = self.source.as_ref().and_then(|s| s.component.as_ref()).filter(|c| !c.is_empty());
        vec![
            own(&object.kind),
            own(&object.namespace),
            own(&object.name),
            own(&object.uid),
            own(&object.api_version),
            own(&object.resource_version),
            own(&object.field_path),
            own(&self.reason),
            own(&self.reporting_component),
            source.or(self.reporting_component.as_ref()).cloned().unwrap_or_default(),
            own(&self.type_),
        ]
    }

    fn row(&self, now: i64) -> Row {
        let (first_seen, last_seen, count) = times(self, now);
        let object = &self.involved_object;
        let kind = text(object.kind.as_ref()).to_ascii_lowercase();
        let target = match text(object.name.as_ref()) {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        vec![
            last_seen.into(),
            text(self.type_.as_ref()).into(),
            text(self.reason.as_ref()).into(),
            target.into(),
            text(object.field_path.as_ref()).into(),
            source(self).into(),
            Cell::Text(text(self.message.as_ref()).trim().to_owned()),
            first_seen.into(),
            count.into(),
            cells::name(&self.metadata),
        ]
    }
}
