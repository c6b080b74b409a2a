//! Budgets, quotas, limits, priorities and storage classes.
use super::{
    Related,
    config::limit_rows,
    doc::{Doc, equalities, is_empty, items, joined, number, pairs, selector, text},
};
use serde_json::Value;

/// What an unset boolean shows.
pub fn boolean(value: &Value) -> &'static str {
    match value.as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    }
}

fn place(doc: &mut Doc, object: &Value) {
    doc.field(0, "Name", text(&object["metadata"]["name"]));
    doc.field(0, "Namespace", text(&object["metadata"]["namespace"]));
}

pub fn budget(doc: &mut Doc, object: &Value, _: &Related) {
    let (spec, status) = (&object["spec"], &object["status"]);
    place(doc, object);
    if !spec["minAvailable"].is_null() {
        doc.field(0, "Min available", text(&spec["minAvailable"]));
    } else if !spec["maxUnavailable"].is_null() {
        doc.field(0, "Max unavailable", text(&spec["maxUnavailable"]));
    }
    match spec["selector"].is_object() {
        true => doc.field(0, "Selector", selector(&spec["selector"])),
        false => doc.field(0, "Selector", "<unset>"),
    }
    doc.line(0, "Status:");
    for (title, field) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        doc.field(2, title, number(&status[field]));
    }
}

pub fn quota(doc: &mut Doc, object: &Value, _: &Related) {
    place(doc, object);
    scopes(doc, 0, object);
    doc.line(0, "Resource\tUsed\tHard");
    doc.line(0, "--------\t----\t----");
    for (name, hard) in pairs(&object["status"]["hard"]) {
        doc.line(0, format!("{name}\t{}\t{}", text(&object["status"]["used"][name]), text(hard)));
    }
}

/// Which pods a quota counts.
pub fn scopes(doc: &mut Doc, level: usize, quota: &Value) {
    let mut scopes: Vec<String> = items(&quota["spec"]["scopes"]).map(text).collect();
    scopes.sort();
    if scopes.is_empty() {
        return;
    }
    doc.field(level, "Scopes", scopes.join(", "));
    for scope in &scopes {
        let help = match scope.as_str() {
            "Terminating" => {
                "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being \
                 actively terminated by the system."
            }
            "NotTerminating" => {
                "Matches all pods that do not have an active deadline. These pods usually include long running pods whose \
                 container command is not expected to terminate."
            }
            "BestEffort" => {
                "Matches all pods that do not have resource requirements set. These pods have a best effort quality of \
                 service."
            }
            "NotBestEffort" => {
                "Matches all pods that have at least one resource requirement set. These pods have a burstable or \
                 guaranteed quality of service."
            }
            _ => continue,
        };
        doc.line(level, format!(" * {help}"));
    }
}

pub fn limit_range(doc: &mut Doc, object: &Value, _: &Related) {
    place(doc, object);
    doc.line(0, "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio");
    doc.line(0, "----\t--------\t---\t---\t---------------\t-------------\t-----------------------");
    items(&object["spec"]["limits"]).for_each(|item| limit_rows(doc, "", item));
}

pub fn priority_class(doc: &mut Doc, object: &Value, _: &Related) {
    doc.field(0, "Name", text(&object["metadata"]["name"]));
    doc.field(0, "Value", number(&object["value"]));
    doc.field(0, "GlobalDefault", object["globalDefault"] == true);
    doc.field(0, "PreemptionPolicy", text(&object["preemptionPolicy"]));
    doc.field(0, "Description", text(&object["description"]));
    doc.field(0, "Annotations", equalities(&object["metadata"]["annotations"]));
}

pub fn storage_class(doc: &mut Doc, object: &Value, _: &Related) {
    let annotations = &object["metadata"]["annotations"];
    let is_default = annotations["storageclass.kubernetes.io/is-default-class"] == "true"
        || annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true";
    doc.field(0, "Name", text(&object["metadata"]["name"]));
    doc.field(0, "IsDefaultClass", if is_default { "Yes" } else { "No" });
    doc.field(0, "Annotations", equalities(annotations));
    doc.field(0, "Provisioner", text(&object["provisioner"]));
    doc.field(0, "Parameters", equalities(&object["parameters"]));
    doc.field(0, "AllowVolumeExpansion", boolean(&object["allowVolumeExpansion"]));
    if is_empty(&object["mountOptions"]) {
        doc.field(0, "MountOptions", "<none>");
    } else {
        doc.line(0, "MountOptions:");
        items(&object["mountOptions"]).for_each(|option| doc.line(1, text(option)));
    }
    doc.given(0, "ReclaimPolicy", &object["reclaimPolicy"]);
    doc.given(0, "VolumeBindingMode", &object["volumeBindingMode"]);
    if object["allowedTopologies"].is_array() {
        topologies(doc, &object["allowedTopologies"]);
    }
}

fn topologies(doc: &mut Doc, terms: &Value) {
    if is_empty(terms) {
        return doc.field(0, "AllowedTopologies", "<none>");
    }
    doc.line(0, "AllowedTopologies:\t");
    for (i, term) in items(terms).enumerate() {
        let expressions: Vec<String> = items(&term["matchLabelExpressions"])
            .map(|one| match joined(&one["values"], ", ") {
                values if values.is_empty() => format!("{} in", text(&one["key"])),
                values => format!("{} in [{values}]", text(&one["key"])),
            })
            .collect();
        doc.listed("  ", &format!("Term {i}"), expressions);
    }
}
