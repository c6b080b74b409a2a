//! Persistent volumes and their claims.
use super::{
    Related,
    doc::{Doc, access_modes, is_empty, items, pairs, since, text},
    volumes,
};
use serde_json::Value;

fn status(doc: &mut Doc, object: &Value) {
    let deleted = &object["metadata"]["deletionTimestamp"];
    if is_empty(deleted) {
        doc.field(0, "Status", text(&object["status"]["phase"]));
    } else {
        doc.field(0, "Status", format!("Terminating (lasts {})", since(deleted)));
    }
}

fn finalizers(object: &Value) -> String {
    match &object["metadata"]["finalizers"] {
        Value::Null => "[]".into(),
        list => text(list),
    }
}

pub fn claim(doc: &mut Doc, object: &Value, related: &Related) {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.field(0, "Namespace", text(&metadata["namespace"]));
    doc.field(0, "StorageClass", text(&spec["storageClassName"]));
    status(doc, object);
    doc.field(0, "Volume", text(&spec["volumeName"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.field(0, "Finalizers", finalizers(object));
    let bound = !is_empty(&spec["volumeName"]);
    let (capacity, modes) = match bound {
        true => (text(&object["status"]["capacity"]["storage"]), access_modes(&object["status"]["accessModes"])),
        false => (String::new(), String::new()),
    };
    doc.field(0, "Capacity", capacity);
    doc.field(0, "Access Modes", modes);
    doc.given(0, "VolumeMode", &spec["volumeMode"]);
    if spec["dataSource"].is_object() {
        doc.line(0, "DataSource:");
        doc.given(1, "APIGroup", &spec["dataSource"]["apiGroup"]);
        doc.field(1, "Kind", text(&spec["dataSource"]["kind"]));
        doc.field(1, "Name", text(&spec["dataSource"]["name"]));
    }
    let uses = |pod: &&Value| {
        items(&pod["spec"]["volumes"]).any(|v| v["persistentVolumeClaim"]["claimName"] == metadata["name"])
    };
    let users = related.pods.iter().filter(uses).map(|pod| text(&pod["metadata"]["name"])).collect();
    doc.listed("", "Used By", users);
    if !is_empty(&object["status"]["conditions"]) {
        doc.line(0, "Conditions:");
        doc.line(1, "Type\tStatus\tLastProbeTime\tLastTransitionTime\tReason\tMessage");
        doc.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
        for c in items(&object["status"]["conditions"]) {
            let [kind, status, reason, message] = ["type", "status", "reason", "message"].map(|f| text(&c[f]));
            let [probed, changed] = ["lastProbeTime", "lastTransitionTime"].map(|f| super::doc::date(&c[f]));
            doc.line(1, format!("{kind} \t{status} \t{probed} \t{changed} \t{reason} \t{message}"));
        }
    }
}

pub fn volume(doc: &mut Doc, object: &Value, _: &Related) {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    doc.field(0, "Name", text(&metadata["name"]));
    doc.labels("", "Labels", &metadata["labels"]);
    doc.annotations("Annotations", &metadata["annotations"]);
    doc.field(0, "Finalizers", finalizers(object));
    doc.field(0, "StorageClass", text(&spec["storageClassName"]));
    status(doc, object);
    let claim = &spec["claimRef"];
    match claim.is_object() {
        true => doc.field(0, "Claim", format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))),
        false => doc.field(0, "Claim", ""),
    }
    doc.field(0, "Reclaim Policy", text(&spec["persistentVolumeReclaimPolicy"]));
    doc.field(0, "Access Modes", access_modes(&spec["accessModes"]));
    doc.given(0, "VolumeMode", &spec["volumeMode"]);
    doc.field(0, "Capacity", text(&spec["capacity"]["storage"]));
    affinity(doc, &spec["nodeAffinity"]);
    doc.field(0, "Message", text(&object["status"]["message"]));
    doc.line(0, "Source:");
    if !volumes::source(doc, 2, spec) {
        // A kind of source without a layout of its own: all its fields.
        for (name, source) in pairs(spec).filter(|(name, v)| v.is_object() && !KNOWN.contains(&name.as_str())) {
            doc.field(1, "Type", name);
            pairs(source).for_each(|(field, value)| doc.field(1, field, text(value)));
        }
    }
}

/// Fields of a volume's spec that are no source.
const KNOWN: [&str; 3] = ["capacity", "claimRef", "nodeAffinity"];

fn affinity(doc: &mut Doc, affinity: &Value) {
    if !affinity.is_object() {
        return doc.field(0, "Node Affinity", "<none>");
    }
    doc.line(0, "Node Affinity:\t");
    let terms = &affinity["required"]["nodeSelectorTerms"];
    if is_empty(terms) {
        return doc.line(1, "Required Terms:\t<none>");
    }
    doc.line(1, "Required Terms:\t");
    for (i, term) in items(terms).enumerate() {
        if is_empty(&term["matchExpressions"]) {
            doc.line(2, format!("Term {i}:\t<none>"));
        }
        for (j, expression) in items(&term["matchExpressions"]).enumerate() {
            let start = if j == 0 { format!("Term {i}:\t") } else { "\t".to_owned() };
            let (key, operator) = (text(&expression["key"]), text(&expression["operator"]).to_lowercase());
            let values = super::doc::joined(&expression["values"], ", ");
            let values = if values.is_empty() { values } else { format!(" [{values}]") };
            doc.line(2, format!("{start}{key} {operator}{values}"));
        }
    }
}
