//! All of upstream's KubeletConfiguration: which fields exist, and what they are when nobody sets them.
//!
//! A field that exists and that this kubelet does not act on is an error when its value asks for something that pods or
//! the node's security rest on, and a warning when it only tunes; its default, and a zero that means the default, is
//! always fine, so that files of kubeadm pass whole.
use std::sync::LazyLock;

use serde_json::Value;

/// Non-pointers in Go: `0` is as good as nothing.
const ZERO_IS_UNSET: &[&str] =
    &["port", "registryBurst", "eventBurst", "nodeLeaseDurationSeconds", "maxPods", "maxOpenFiles", "kubeAPIBurst"];

/// Not acted on, and not to be ignored.
const REFUSED: &[&str] = &[
    "cpuManagerPolicy",
    "memoryManagerPolicy",
    "memoryReservationPolicy",
    "podPidsLimit",
    "protectKernelDefaults",
    "qosReserved",
    "readOnlyPort",
    "reservedMemory",
    "reservedSystemCPUs",
    "runOnce",
    "tlsCipherSuites",
    "tlsCurvePreferences",
    "tlsMinVersion",
    "topologyManagerPolicy",
    "topologyManagerScope",
    "userNamespaces",
];

static KNOWN: LazyLock<Value> =
    LazyLock::new(|| apimachinery::codec::yaml::parse(include_str!("known.yaml")).unwrap_or_default());

/// Upstream's text about fields that do not exist. Upstream goes on without them, and so do we.
pub(super) fn strict_error(file: &Value) -> Option<String> {
    apimachinery::configuration::strict_error(file, &KNOWN)
}

/// What of a file changes nothing here: an error for what must not be ignored, else the fields to warn about.
pub(super) fn without_effect<'a>(file: &Value, not_acted_on: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let changed = apimachinery::configuration::changed(file, &KNOWN, not_acted_on);
    let unlimited = |field: &str| field == "podPidsLimit" && file[field].as_i64().is_some_and(|limit| limit < 0);
    let changed: Vec<&str> = changed.into_iter().filter(|field| !unlimited(field)).collect();
    match changed.iter().find(|field| REFUSED.contains(field)) {
        Some(field) => Err(format!("{field} is known but not yet supported by ferrokube")),
        None => Ok(changed),
    }
}

/// The file with upstream's defaults filled in, for `/configz`.
pub(super) fn effective(file: &Value) -> Value {
    let nothing = Value::Object(serde_json::Map::new());
    let file = if file.is_null() { &nothing } else { file };
    let mut whole = apimachinery::configuration::with_defaults(file, &KNOWN, ZERO_IS_UNSET);
    if let Some(fields) = whole.as_object_mut() {
        // A status that is looked at in set intervals is reported in the same ones, unless told otherwise.
        let is_set = |name: &str| file.get(name).is_some_and(|value| !apimachinery::configuration::is_zero(value));
        if is_set("nodeStatusUpdateFrequency") && !is_set("nodeStatusReportFrequency") {
            fields.insert("nodeStatusReportFrequency".into(), fields["nodeStatusUpdateFrequency"].clone());
        }
        if file.get("serializeImagePulls").is_none() && file["maxParallelImagePulls"].as_i64() > Some(1) {
            fields.insert("serializeImagePulls".into(), Value::Bool(false));
        }
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    whole
}

/// The file without nulls and empty texts, which mean that nothing is set.
pub(super) fn pruned(value: Value) -> Value {
    let unset = |value: &Value| value.is_null() || value.as_str() == Some("");
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(_, value)| !unset(value)).map(|(name, value)| (name, pruned(value))).collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_known_has_a_name_and_upstreams_default() {
        assert!(KNOWN.as_object().unwrap().len() > 110);
        let whole = effective(&Value::Null);
        assert_eq!(whole["authentication"]["webhook"]["cacheTTL"], "2m0s");
        assert_eq!(whole["crashLoopBackOff"]["maxContainerRestartPeriod"], "5m0s");
        assert_eq!(whole["enforceNodeAllocatable"], json!(["pods"]));
        assert_eq!(whole.get("registerWithTaints"), None);
        let asked = json!({"nodeStatusUpdateFrequency": "4s", "maxParallelImagePulls": 3});
        assert_eq!(effective(&asked)["nodeStatusReportFrequency"], "4s");
        assert_eq!(effective(&asked)["serializeImagePulls"], false);
    }

    #[test]
    fn what_cannot_be_done_is_said_by_name() {
        let fields = &["tlsMinVersion", "podPidsLimit", "syncFrequency", "cpuManagerPolicy"];
        let of = |file: Value| without_effect(&file, fields);
        assert_eq!(of(json!({"tlsMinVersion": "", "podPidsLimit": -1, "cpuManagerPolicy": "none"})), Ok(vec![]));
        assert_eq!(of(json!({"syncFrequency": "5s"})), Ok(vec!["syncFrequency"]));
        assert_eq!(
            of(json!({"cpuManagerPolicy": "static"})),
            Err("cpuManagerPolicy is known but not yet supported by ferrokube".into())
        );
    }
}
