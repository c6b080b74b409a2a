//! Pods, and the templates of pods.
use super::{
    Related, containers,
    doc::{Doc, controller, date, is_empty, items, number, since, text},
    volumes,
};
use serde_json::Value;

pub fn pod(doc: &mut Doc, pod: &Value, _: &Related) {
    let (metadata, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.field(0, "Namespace", text(&metadata["namespace"]));
    doc.given(0, "Priority", &spec["priority"]);
    doc.given(0, "Priority Class Name", &spec["priorityClassName"]);
    doc.given(0, "Runtime Class Name", &spec["runtimeClassName"]);
    doc.given(0, "Service Account", &spec["serviceAccountName"]);
    match text(&spec["nodeName"]) {
        none if none.is_empty() => doc.field(0, "Node", "<none>"),
        node => doc.field(0, "Node", format!("{node}/{}", text(&status["hostIP"]))),
    }
    if !is_empty(&status["startTime"]) {
        doc.field(0, "Start Time", date(&status["startTime"]));
    }
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    let phase = text(&status["phase"]);
    if !is_empty(&metadata["deletionTimestamp"]) && phase != "Failed" && phase != "Succeeded" {
        doc.field(0, "Status", format!("Terminating (lasts {})", since(&metadata["deletionTimestamp"])));
        doc.field(0, "Termination Grace Period", format!("{}s", number(&metadata["deletionGracePeriodSeconds"])));
    } else {
        doc.field(0, "Status", phase);
    }
    doc.given(0, "Reason", &status["reason"]);
    doc.given(0, "Message", &status["message"]);
    containers::seccomp(doc, 0, &spec["securityContext"]["seccompProfile"]);
    doc.field(0, "IP", text(&status["podIP"]));
    if is_empty(&status["podIPs"]) {
        doc.field(0, "IPs", "<none>");
    } else {
        doc.line(0, "IPs:");
        items(&status["podIPs"]).for_each(|ip| doc.field(1, "IP", text(&ip["ip"])));
    }
    if let Some(controller) = controller(pod) {
        doc.field(0, "Controlled By", controller);
    }
    doc.given(0, "NominatedNodeName", &status["nominatedNodeName"]);
    if spec["resources"].is_object() {
        doc.line(0, "Resources:");
        containers::resources(doc, 1, &spec["resources"]);
    }
    for (title, field, statuses) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ] {
        if field == "containers" || !is_empty(&spec[field]) {
            containers::list(doc, title, &spec[field], &status[statuses], Some(pod), "");
        }
    }
    if !is_empty(&spec["readinessGates"]) {
        doc.line(0, "Readiness Gates:");
        doc.line(1, "Type\tStatus");
        for gate in items(&spec["readinessGates"]) {
            let condition = items(&status["conditions"]).find(|c| c["type"] == gate["conditionType"]);
            let is = condition.map_or_else(|| "<none>".to_owned(), |c| text(&c["status"]));
            doc.line(1, format!("{} \t{is} ", text(&gate["conditionType"])));
        }
    }
    if !is_empty(&status["conditions"]) {
        doc.line(0, "Conditions:");
        doc.line(1, "Type\tStatus");
        items(&status["conditions"])
            .for_each(|c| doc.line(1, format!("{} \t{} ", text(&c["type"]), text(&c["status"]))));
    }
    volumes::list(doc, &spec["volumes"], "");
    doc.field(0, "QoS Class", text(&status["qosClass"]));
    doc.labels("", "Node-Selectors", &spec["nodeSelector"]);
    volumes::tolerations(doc, "", &spec["tolerations"]);
    volumes::spread(doc, "", &spec["topologySpreadConstraints"]);
}

/// `Pod Template:`.
pub fn template(doc: &mut Doc, template: &Value) {
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    doc.line(0, "Pod Template:");
    doc.labels("  ", "Labels", &metadata["labels"]);
    if !is_empty(&metadata["annotations"]) {
        doc.annotations("  Annotations", &metadata["annotations"]);
    }
    doc.given(1, "Service Account", &spec["serviceAccountName"]);
    if !is_empty(&spec["initContainers"]) {
        containers::list(doc, "Init Containers", &spec["initContainers"], &Value::Null, None, "  ");
    }
    containers::list(doc, "Containers", &spec["containers"], &Value::Null, None, "  ");
    volumes::list(doc, &spec["volumes"], "  ");
    volumes::spread(doc, "  ", &spec["topologySpreadConstraints"]);
    doc.given(1, "Priority Class Name", &spec["priorityClassName"]);
    doc.labels("  ", "Node-Selectors", &spec["nodeSelector"]);
    volumes::tolerations(doc, "  ", &spec["tolerations"]);
}

/// The text of a template alone, its columns not laid out: as `rollout history` shows it.
pub fn template_text(value: &Value) -> String {
    let mut doc = Doc::default();
    template(&mut doc, value);
    doc.raw()
}
