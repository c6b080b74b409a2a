//! Namespaces, config maps, secrets and service accounts.
use super::{
    Related,
    doc::{Doc, date, is_empty, items, pairs, text},
    policy::scopes,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

fn head(doc: &mut Doc, object: &Value) {
    doc.field(0, "Name", text(&object["metadata"]["name"]));
    if object["kind"] != "Namespace" {
        doc.field(0, "Namespace", text(&object["metadata"]["namespace"]));
    }
    doc.labels("", "Labels", &object["metadata"]["labels"]);
    doc.annotations("Annotations", &object["metadata"]["annotations"]);
}

pub fn namespace(doc: &mut Doc, object: &Value, related: &Related) {
    head(doc, object);
    doc.field(0, "Status", text(&object["status"]["phase"]));
    if !is_empty(&object["status"]["conditions"]) {
        doc.line(0, "Conditions:");
        doc.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        doc.line(1, "----\t------\t------------------\t------\t-------");
        for c in items(&object["status"]["conditions"]) {
            let [kind, status, reason, message] = ["type", "status", "reason", "message"].map(|f| text(&c[f]));
            doc.line(1, format!("{kind}\t{status}\t{}\t{reason}\t{message}", date(&c["lastTransitionTime"])));
        }
    }
    doc.line(0, "");
    if related.quotas.is_empty() {
        doc.line(0, "No resource quota.");
    } else {
        doc.line(0, "Resource Quotas");
    }
    for quota in &related.quotas {
        doc.line(1, format!("Name:\t{}", text(&quota["metadata"]["name"])));
        scopes(doc, 1, quota);
        doc.line(1, "Resource\tUsed\tHard");
        doc.line(1, "--------\t---\t---");
        for (name, hard) in pairs(&quota["status"]["hard"]) {
            doc.line(1, format!("{name}\t{}\t{}", text(&quota["status"]["used"][name]), text(hard)));
        }
    }
    doc.line(0, "");
    if related.limits.is_empty() {
        return doc.line(0, "No LimitRange resource.");
    }
    doc.line(0, "Resource Limits");
    // One space, not a level's two: upstream's own.
    doc.line(0, " Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio");
    doc.line(0, " ----\t--------\t---\t---\t---------------\t-------------\t-----------------------");
    for item in related.limits.iter().flat_map(|range| items(&range["spec"]["limits"])) {
        limit_rows(doc, " ", item);
    }
}

/// A line a resource that a limit is about.
pub fn limit_rows(doc: &mut Doc, indent: &str, item: &Value) {
    const COLUMNS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    let mut names: Vec<&String> = COLUMNS.iter().flat_map(|c| pairs(&item[*c]).map(|(name, _)| name)).collect();
    names.sort();
    names.dedup();
    for name in names {
        let cell = |column: &str| match text(&item[column][name]) {
            empty if empty.is_empty() => "-".to_owned(),
            value => value,
        };
        doc.line(0, format!("{indent}{}\t{name}\t{}", text(&item["type"]), COLUMNS.map(cell).join("\t")));
    }
}

pub fn config_map(doc: &mut Doc, object: &Value, _: &Related) {
    head(doc, object);
    doc.line(0, "\nData\n====");
    for (key, value) in pairs(&object["data"]) {
        doc.line(0, format!("{key}:\n----\n{}\n", text(value)));
    }
    doc.line(0, "\nBinaryData\n====");
    for (key, value) in pairs(&object["binaryData"]) {
        let bytes = STANDARD.decode(text(value)).unwrap_or_default();
        doc.line(0, format!("{key}: {} bytes", bytes.len()));
    }
    doc.line(0, "");
}

pub fn secret(doc: &mut Doc, object: &Value, _: &Related) {
    head(doc, object);
    doc.line(0, format!("\nType:\t{}", text(&object["type"])));
    doc.line(0, "\nData\n====");
    for (key, value) in pairs(&object["data"]) {
        let bytes = STANDARD.decode(text(value)).unwrap_or_default();
        if key == "token" && object["type"] == "kubernetes.io/service-account-token" {
            doc.field(0, key, String::from_utf8_lossy(&bytes));
        } else {
            doc.field(0, key, format!("{} bytes", bytes.len()));
        }
    }
}

pub fn service_account(doc: &mut Doc, object: &Value, _: &Related) {
    head(doc, object);
    let names: Vec<String> = items(&object["imagePullSecrets"]).map(|secret| text(&secret["name"])).collect();
    doc.listed("", "Image pull secrets", names);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_of_a_namespace_stand_one_space_in() {
        let limits = json!({"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "500m"}});
        let related = Related { limits: vec![json!({"spec": {"limits": [limits]}})], ..Related::default() };
        let mut doc = Doc::default();
        namespace(&mut doc, &json!({"kind": "Namespace", "metadata": {"name": "a"}}), &related);
        let text = doc.finish();
        let (_, table) = text.split_once("Resource Limits\n").expect("a table");
        assert_eq!(
            table,
            " Type       Resource  Min  Max  Default Request  Default Limit  Max Limit/Request Ratio\n \
             ----       --------  ---  ---  ---------------  -------------  -----------------------\n \
             Container  cpu       -    1    -                500m           -\n"
        );
    }
}
