//! The table of events at the end of a description.
use super::doc::{Doc, is_empty, items, number, since, text};
use crate::{Context, Result, http::with_query};
use serde_json::Value;

/// No more events than that are asked for.
const LIMIT: &str = "500";

/// The events about an object, the newest last.
///
/// # Errors
/// The server refuses to list them.
pub async fn of(context: &Context, object: &Value) -> Result<Vec<Value>> {
    let metadata = &object["metadata"];
    let mut fields = vec![format!("involvedObject.name={}", text(&metadata["name"]))];
    let namespace = metadata["namespace"].as_str();
    fields.extend(namespace.map(|n| format!("involvedObject.namespace={n}")));
    fields.push(format!("involvedObject.kind={}", text(&object["kind"])));
    // The kubelet's events carry a node's name in place of its uid.
    if object["kind"] != "Node" {
        fields.push(format!("involvedObject.uid={}", text(&metadata["uid"])));
    }
    let path = match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{}/events", crate::http::escape(namespace)),
        None => "/api/v1/events".to_owned(),
    };
    let query = [("fieldSelector", fields.join(",")), ("limit", LIMIT.to_owned())];
    let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut list = context.api().await?.get(&with_query(&path, &query)).await?;
    let mut found = match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    // Of a node's, those with its real uid are found first.
    let by_name = |event: &Value| event["involvedObject"]["uid"] == metadata["name"];
    found.sort_by_key(|event| (text(&event["lastTimestamp"]), by_name(event)));
    Ok(found)
}

/// `Events:` and their table.
pub fn table(doc: &mut Doc, events: &[Value]) {
    if events.is_empty() {
        return doc.line(0, "Events:\t<none>");
    }
    doc.line(0, "Events:");
    doc.line(1, "Type\tReason\tAge\tFrom\tMessage");
    doc.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let first = if is_empty(&event["eventTime"]) { &event["firstTimestamp"] } else { &event["eventTime"] };
        let first = since(first);
        let series = &event["series"];
        let age = if series.is_object() {
            format!("{} (x{} over {first})", since(&series["lastObservedTime"]), number(&series["count"]))
        } else if number(&event["count"]) > 1 {
            format!("{} (x{} over {first})", since(&event["lastTimestamp"]), number(&event["count"]))
        } else {
            first
        };
        let from = match text(&event["source"]["component"]) {
            empty if empty.is_empty() => text(&event["reportingComponent"]),
            component => component,
        };
        // Which part of the object it is about stands first: `spec.containers{web}`.
        let part = text(&event["involvedObject"]["fieldPath"]);
        let part = if part.is_empty() { part } else { format!("{part}: ") };
        let message = text(&event["message"]);
        // Lines of a message stay lines, as the official one leaves them.
        let (kind, reason) = (text(&event["type"]), text(&event["reason"]));
        let row = format!("{kind}\t{reason}\t{age}\t{from}\t{part}{}", message.trim());
        doc.line(1, row);
    }
}

/// Rows of `Type Status Reason`.
pub fn conditions(doc: &mut Doc, object: &Value) {
    let conditions = &object["status"]["conditions"];
    if is_empty(conditions) {
        return;
    }
    doc.line(0, "Conditions:");
    doc.line(1, "Type\tStatus\tReason");
    doc.line(1, "----\t------\t------");
    for c in items(conditions) {
        doc.line(1, format!("{} \t{}\t{}", text(&c["type"]), text(&c["status"]), text(&c["reason"])));
    }
}
