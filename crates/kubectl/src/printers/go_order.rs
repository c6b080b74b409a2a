//! JSON with keys in the order of Go's structures, as the official one prints objects that it made itself.
//!
//! Maps of the user's (labels, data, …) and keys that are not known here are sorted, and come last.
use super::json;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The order of fields of all kinds that commands make up. No two kinds contradict each other.
const ORDER: &[&str] = &[
    "kind",
    "apiVersion",
    "apiGroup",
    "metadata",
    "preferences",
    "clusters",
    "users",
    "contexts",
    "current-context",
    "name",
    "cluster",
    "user",
    "namespace",
    "creationTimestamp",
    "labels",
    "annotations",
    "value",
    "globalDefault",
    "description",
    "preemptionPolicy",
    "verbs",
    "apiGroups",
    "immutable",
    "data",
    "stringData",
    "binaryData",
    "schedule",
    "jobTemplate",
    "scaleTargetRef",
    "minReplicas",
    "maxReplicas",
    "metrics",
    "minAvailable",
    "spec",
    "status",
    "disruptionsAllowed",
    "hard",
    "scopes",
    "ingressClassName",
    "defaultBackend",
    "tls",
    "hosts",
    "secretName",
    "host",
    "http",
    "paths",
    "path",
    "pathType",
    "backend",
    "service",
    "rules",
    "aggregationRule",
    "subjects",
    "roleRef",
    "replicas",
    "image",
    "command",
    "args",
    "ports",
    "env",
    "selector",
    "maxUnavailable",
    "template",
    "strategy",
    "volumes",
    "initContainers",
    "containers",
    "clusterIP",
    "type",
    "resource",
    "resources",
    "resourceNames",
    "nonResourceURLs",
    "restartPolicy",
    "dnsPolicy",
    "protocol",
    "port",
    "targetPort",
    "nodePort",
    "externalIPs",
    "sessionAffinity",
    "loadBalancerIP",
    "externalName",
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority",
    "certificate-authority-data",
    "proxy-url",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "username",
    "password",
    "uid",
    "groups",
    "extra",
    "exec",
    "extensions",
];

/// Maps whose keys are the user's.
const MAPS: [&str; 8] = ["labels", "annotations", "data", "stringData", "binaryData", "matchLabels", "hard", "limits"];

struct Ordered<'a> {
    value: &'a Value,
    /// The key that it stands under.
    under: &'a str,
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                sort(&mut entries, self.under);
                serializer.collect_map(entries.into_iter().map(|(key, value)| (key, Ordered { value, under: key })))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(|value| Ordered { value, under: "" })),
            other => other.serialize(serializer),
        }
    }
}

/// A list whose own members stand in Go's order, and those of its items in the alphabet's.
pub fn list(value: &Value) -> String {
    struct List<'a>(&'a Value);
    impl Serialize for List<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let members = ["kind", "apiVersion", "metadata", "items"].map(|key| (key, &self.0[key]));
            serializer.collect_map(members)
        }
    }
    json::to_string(&List(value))
}

/// Put the members of a structure into Go's order; `under` is the key that it stands under.
pub fn sort(entries: &mut [(&String, &Value)], under: &str) {
    let plain = MAPS.contains(&under);
    let rank = |key: &str| match key {
        _ if plain => 0,
        // Of all structures with both, this one alone names the group first.
        "apiGroup" if under == "roleRef" => 0,
        key => ORDER.iter().position(|known| *known == key).map_or(usize::MAX, |at| at + 1),
    };
    entries.sort_by_key(|(key, _)| (rank(key), *key));
}

/// The text, with a final newline.
pub fn to_string(value: &Value) -> String {
    json::to_string(&Ordered { value, under: "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_labels_and_labels_are_sorted() {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"name": "x", "kind": "y"}, "name": "web"}});
        let text: String = to_string(&value).split_whitespace().collect();
        assert_eq!(
            text,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","labels":{"kind":"y","name":"x"}}}"#
        );
    }
}
