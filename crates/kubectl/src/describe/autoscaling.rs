//! Horizontal pod autoscalers.
use super::{
    Related,
    doc::{Doc, date, is_empty, items, number, text},
};
use serde_json::Value;

const UNKNOWN: &str = "<unknown>";

pub fn autoscaler(doc: &mut Doc, object: &Value, _: &Related) {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.field(0, "Namespace", text(&metadata["namespace"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.field(0, "CreationTimestamp", date(&metadata["creationTimestamp"]));
    let target = &spec["scaleTargetRef"];
    doc.field(0, "Reference", format!("{}/{}", text(&target["kind"]), text(&target["name"])));
    // Version 1 knows one metric, in fields of its own.
    let is_first_version = object["apiVersion"] == "autoscaling/v1";
    if is_first_version {
        if let Some(wanted) = spec["targetCPUUtilizationPercentage"].as_i64() {
            doc.field(0, "Target CPU utilization", format!("{wanted}%"));
            let current = status["currentCPUUtilizationPercentage"].as_i64();
            let current = current.map_or(UNKNOWN.to_owned(), |percent| percent.to_string());
            doc.field(0, "Current CPU utilization", format!("{current}%"));
        }
    } else {
        doc.field(0, "Metrics", "( current / target )");
        for (i, metric) in items(&spec["metrics"]).enumerate() {
            let (title, current, wanted) = measured(metric, &status["currentMetrics"][i]);
            doc.line(1, format!("{title}:\t{current} / {wanted}"));
        }
    }
    let least = spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |least| least.to_string());
    doc.field(0, "Min replicas", least);
    doc.field(0, "Max replicas", number(&spec["maxReplicas"]));
    if spec["behavior"].is_object() {
        doc.line(0, "Behavior:");
        direction(doc, "Scale Up", &spec["behavior"]["scaleUp"]);
        direction(doc, "Scale Down", &spec["behavior"]["scaleDown"]);
    }
    let (is, wanted) = (number(&status["currentReplicas"]), number(&status["desiredReplicas"]));
    doc.field(0, &format!("{} pods", text(&target["kind"])), format!("{is} current / {wanted} desired"));
    if !is_empty(&status["conditions"]) && !is_first_version {
        doc.line(0, "Conditions:");
        doc.line(1, "Type\tStatus\tReason\tMessage");
        doc.line(1, "----\t------\t------\t-------");
        for c in items(&status["conditions"]) {
            doc.line(1, ["type", "status", "reason", "message"].map(|field| text(&c[field])).join("\t"));
        }
    }
}

/// What is measured, what it is now, and what it is to be.
fn measured(metric: &Value, current: &Value) -> (String, String, String) {
    let (source, kind) = match metric["type"].as_str().unwrap_or_default() {
        "External" => (&metric["external"], "external"),
        "Pods" => (&metric["pods"], "pods"),
        "Object" => (&metric["object"], "object"),
        "Resource" => (&metric["resource"], "resource"),
        "ContainerResource" => (&metric["containerResource"], "containerResource"),
        other => return (format!("<unknown metric type {other:?}>"), UNKNOWN.into(), UNKNOWN.into()),
    };
    let (name, target, now) = (text(&source["metric"]["name"]), &source["target"], &current[kind]["current"]);
    let value = |of: &Value, field: &str| match text(&of[field]) {
        empty if empty.is_empty() => UNKNOWN.to_owned(),
        value => value,
    };
    let average = !target["averageValue"].is_null();
    let plain = |title: String, field: &str| (title, value(now, field), value(target, field));
    match kind {
        "external" if average => plain(format!("{name:?} (target average value)"), "averageValue"),
        "external" => plain(format!("{name:?} (target value)"), "value"),
        "pods" => plain(format!("{name:?} on pods"), "averageValue"),
        "object" => {
            let described = &source["describedObject"];
            let title = format!("\"{name}\" on {}/{}", text(&described["kind"]), text(&described["name"]));
            match target["type"] == "AverageValue" {
                true => plain(format!("{title} (target average value)"), "averageValue"),
                false => plain(format!("{title} (target value)"), "value"),
            }
        }
        _ => {
            let of = if kind == "resource" {
                String::new()
            } else {
                format!(" of container \"{}\"", text(&source["container"]))
            };
            let title = format!("resource {}{of} on pods", text(&source["name"]));
            if average {
                return plain(title, "averageValue");
            }
            let percent = |of: &Value| of["averageUtilization"].as_i64();
            let is = percent(now).map_or(UNKNOWN.to_owned(), |n| format!("{n}% ({})", text(&now["averageValue"])));
            let wanted = percent(target).map_or("<auto>".to_owned(), |n| format!("{n}%"));
            (format!("{title}  (as a percentage of request)"), is, wanted)
        }
    }
}

fn direction(doc: &mut Doc, title: &str, rules: &Value) {
    if !rules.is_object() {
        return;
    }
    doc.line(1, format!("{title}:"));
    if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64() {
        doc.line(2, format!("Stabilization Window: {seconds} seconds"));
    }
    if is_empty(&rules["policies"]) {
        return;
    }
    doc.line(2, format!("Select Policy: {}", rules["selectPolicy"].as_str().unwrap_or("Max")));
    doc.line(2, "Policies:");
    for policy in items(&rules["policies"]) {
        let (kind, value) = (text(&policy["type"]), number(&policy["value"]));
        doc.line(3, format!("- Type: {kind}\tValue: {value}\tPeriod: {} seconds", number(&policy["periodSeconds"])));
    }
}
