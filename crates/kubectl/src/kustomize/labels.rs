//! `commonLabels`, `labels` and `commonAnnotations`: where they go, kind by kind.
use super::{file::Kustomization, items::Item};
use crate::{Error, Result};
use serde_json::{Map, Value};

/// (kinds, path, whether the map is made when there is none). `*` is every item of a list.
type Places = &'static [(&'static [&'static str], &'static str, bool)];

const WORKLOADS: &[&str] = &["ReplicationController", "Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job"];

const SELECTORS: Places = &[
    (&["Service", "ReplicationController"], "spec/selector", true),
    (&["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"], "spec/selector/matchLabels", true),
    (&["Job", "PodDisruptionBudget"], "spec/selector/matchLabels", false),
    (&["CronJob"], "spec/jobTemplate/spec/selector/matchLabels", false),
    (&["NetworkPolicy"], "spec/podSelector/matchLabels", false),
    (&["NetworkPolicy"], "spec/ingress/*/from/*/podSelector/matchLabels", false),
    (&["NetworkPolicy"], "spec/egress/*/to/*/podSelector/matchLabels", false),
    (&["Deployment", "StatefulSet"], "spec/template/spec/topologySpreadConstraints/*/labelSelector/matchLabels", false),
    (
        &["Deployment", "StatefulSet"],
        "spec/template/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/*/podAffinityTerm/labelSelector/matchLabels",
        false,
    ),
    (
        &["Deployment", "StatefulSet"],
        "spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/*/labelSelector/matchLabels",
        false,
    ),
    (
        &["Deployment", "StatefulSet"],
        "spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/*/podAffinityTerm/labelSelector/matchLabels",
        false,
    ),
    (
        &["Deployment", "StatefulSet"],
        "spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/*/labelSelector/matchLabels",
        false,
    ),
];

const TEMPLATES: Places = &[
    (WORKLOADS, "spec/template/metadata", true),
    (&["CronJob"], "spec/jobTemplate/metadata", true),
    (&["CronJob"], "spec/jobTemplate/spec/template/metadata", true),
];

pub fn run(file: &Kustomization, items: &mut [Item]) -> Result<()> {
    let map = |value: &Value, field: &str| match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => match map.values().find(|value| !value.is_string()) {
            Some(other) => {
                let kind = apimachinery::codec::json_syntax::kind(other);
                Err(Error::message(format!(
                    "invalid Kustomization: json: cannot unmarshal {kind} into Go struct field Kustomization.{field} of type string"
                )))
            }
            None => Ok(map.clone()),
        },
        _ => Err(Error::message(format!("{field}: a map is expected"))),
    };
    let common = map(file.get("commonLabels"), "commonLabels")?;
    for item in items.iter_mut() {
        set(item, &[(&[], "metadata/labels", true)], "", &common);
        set(item, TEMPLATES, "labels", &common);
        set(item, &[(&["StatefulSet"], "spec/volumeClaimTemplates/*/metadata/labels", true)], "", &common);
        set(item, SELECTORS, "", &common);
    }
    for entry in file.items("labels") {
        if !entry["fields"].is_null() {
            return Err(Error::message("labels: the field \"fields\" is not implemented"));
        }
        let pairs = map(&entry["pairs"], "labels.pairs")?;
        for item in items.iter_mut() {
            set(item, &[(&[], "metadata/labels", true)], "", &pairs);
            if entry["includeSelectors"] == true || entry["includeTemplates"] == true {
                set(item, TEMPLATES, "labels", &pairs);
            }
            if entry["includeSelectors"] == true {
                set(item, SELECTORS, "", &pairs);
            }
        }
    }
    let annotations = map(file.get("commonAnnotations"), "commonAnnotations")?;
    for item in items.iter_mut() {
        set(item, &[(&[], "metadata/annotations", true)], "", &annotations);
        set(item, TEMPLATES, "annotations", &annotations);
    }
    Ok(())
}

/// `below`: one more step behind each path.
fn set(item: &mut Item, places: Places, below: &str, pairs: &Map<String, Value>) {
    if pairs.is_empty() {
        return;
    }
    let kind = item.kind().to_owned();
    for (_, path, create) in places.iter().filter(|(kinds, ..)| kinds.is_empty() || kinds.contains(&kind.as_str())) {
        let steps: Vec<&str> = path.split('/').chain(Some(below).filter(|below| !below.is_empty())).collect();
        merge(&mut item.object, &steps, *create, pairs);
    }
}

fn merge(value: &mut Value, steps: &[&str], create: bool, pairs: &Map<String, Value>) {
    match (steps, value) {
        ([], Value::Object(map)) => map.extend(pairs.clone()),
        ([], value @ Value::Null) => *value = Value::Object(pairs.clone()),
        (["*", rest @ ..], Value::Array(list)) => list.iter_mut().for_each(|item| merge(item, rest, create, pairs)),
        ([step, rest @ ..], value) if *step != "*" && (value.is_object() || (value.is_null() && create)) => {
            // Nothing is made where what stands below is a list.
            let make = create && rest.first() != Some(&"*");
            if make || !value[*step].is_null() {
                merge(&mut value[*step], rest, create, pairs);
            }
        }
        _ => {}
    }
}
