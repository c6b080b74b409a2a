//! Network policies.
use super::{
    Related,
    doc::{Doc, is_empty, items, joined, selector, text},
};
use serde_json::Value;

pub fn network_policy(doc: &mut Doc, object: &Value, _: &Related) {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.field(0, "Namespace", text(&metadata["namespace"]));
    doc.field(0, "Created on", created(&metadata["creationTimestamp"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.line(0, "Spec:");
    let pods = &spec["podSelector"];
    let pods = match is_empty(&pods["matchLabels"]) && is_empty(&pods["matchExpressions"]) {
        true => "<none> (Allowing the specific traffic to all pods in this namespace)".to_owned(),
        false => selector(pods),
    };
    // What comes next stands two steps in, and what is selected two more.
    doc.line(1, format!("PodSelector:     {pods}"));
    for (what, kind, rules, peers) in [("ingress", "Ingress", "ingress", "from"), ("egress", "Egress", "egress", "to")]
    {
        if !items(&spec["policyTypes"]).any(|known| known == kind) {
            doc.line(1, format!("Not affecting {what} traffic"));
            continue;
        }
        doc.line(1, format!("Allowing {what} traffic:"));
        let all: Vec<&Value> = items(&spec[rules]).collect();
        if all.is_empty() {
            doc.line(2, format!("<none> (Selected pods are isolated for {what} connectivity)"));
        }
        for (i, one) in all.iter().enumerate() {
            rule(doc, one, peers);
            if i + 1 < all.len() {
                doc.line(2, "----------");
            }
        }
    }
    doc.line(1, format!("Policy Types: {}", joined(&spec["policyTypes"], ", ")));
}

/// A time as Go prints it: `2026-11-28 08:06:36 +0000 UTC`.
fn created(value: &Value) -> String {
    match value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) {
        Some(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        None => "0001-01-01 00:00:00 +0000 UTC".into(),
    }
}

fn rule(doc: &mut Doc, rule: &Value, peers: &str) {
    if is_empty(&rule["ports"]) {
        doc.line(2, "To Port: <any> (traffic allowed to all ports)");
    }
    for port in items(&rule["ports"]) {
        let (number, protocol) = (text(&port["port"]), port["protocol"].as_str().unwrap_or("TCP"));
        let number = if port["port"].is_null() { "<nil>".to_owned() } else { number };
        match port["endPort"].as_i64() {
            None => doc.line(2, format!("To Port: {number}/{protocol}")),
            Some(end) => doc.line(2, format!("To Port Range: {number}-{end}/{protocol}")),
        }
    }
    let (title, whom) = if peers == "from" { ("From", "source") } else { ("To", "destination") };
    if is_empty(&rule[peers]) {
        doc.line(2, format!("{title}: <any> (traffic not restricted by {whom})"));
    }
    for peer in items(&rule[peers]) {
        doc.line(2, format!("{title}:"));
        for (title, field) in [("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector")] {
            if peer[field].is_object() {
                doc.line(3, format!("{title}: {}", selector(&peer[field])));
            }
        }
        if peer["ipBlock"].is_object() {
            doc.line(3, "IPBlock:");
            doc.line(4, format!("CIDR: {}", text(&peer["ipBlock"]["cidr"])));
            doc.line(4, format!("Except: {}", joined(&peer["ipBlock"]["except"], ", ")));
        }
    }
}
