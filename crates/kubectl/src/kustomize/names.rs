//! Names: prefixes, namespaces, hashes, and the references that follow them.
use super::items::Item;
use crate::generators::hash_suffix;
use serde_json::Value;

/// Kinds that stand in no namespace.
const CLUSTER: [&str; 24] = [
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ComponentStatus",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IngressClass",
    "IPAddress",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// Kinds whose names are not for prefixes.
const KEPT: [&str; 3] = ["CustomResourceDefinition", "APIService", "Namespace"];

/// (kind that is referred to, the last steps of the path of the name; lists are not counted).
const REFERENCES: &[(&str, &[&str])] = &[
    ("ConfigMap", &["configMap", "name"]),
    ("ConfigMap", &["configMapRef", "name"]),
    ("ConfigMap", &["configMapKeyRef", "name"]),
    ("Secret", &["secretRef", "name"]),
    ("Secret", &["secretKeyRef", "name"]),
    ("Secret", &["secret", "secretName"]),
    ("Secret", &["secret", "name"]),
    ("Secret", &["imagePullSecrets", "name"]),
    ("Secret", &["secrets", "name"]),
    ("Secret", &["tls", "secretName"]),
    ("ServiceAccount", &["serviceAccountName"]),
    ("ServiceAccount", &["serviceAccount"]),
    ("PersistentVolumeClaim", &["persistentVolumeClaim", "claimName"]),
    ("Service", &["backend", "service", "name"]),
    ("Service", &["defaultBackend", "service", "name"]),
    ("Service", &["clientConfig", "service", "name"]),
    ("Service", &["spec", "serviceName"]),
    ("PriorityClass", &["priorityClassName"]),
    ("StorageClass", &["storageClassName"]),
    ("IngressClass", &["ingressClassName"]),
    ("PersistentVolume", &["spec", "volumeName"]),
];

pub fn affix(items: &mut [Item], prefix: &str, suffix: &str) {
    if prefix.is_empty() && suffix.is_empty() {
        return;
    }
    for item in items.iter_mut().filter(|item| !KEPT.contains(&item.kind())) {
        let name = format!("{prefix}{}{suffix}", item.name());
        item.rename(name);
    }
}

pub fn set_namespace(items: &mut [Item], namespace: &str) {
    for item in items.iter_mut() {
        if item.kind() == "Namespace" {
            item.rename(namespace.to_owned());
        } else if !CLUSTER.contains(&item.kind()) {
            item.move_to(namespace);
        }
        // The default account of bindings moves along; other accounts do when they are of this kustomization.
        for subject in list(&mut item.object, "subjects") {
            if subject["kind"] == "ServiceAccount" && subject["name"] == "default" {
                subject["namespace"] = namespace.into();
            }
        }
        for webhook in list(&mut item.object, "webhooks") {
            if webhook["clientConfig"]["service"].is_object() {
                webhook["clientConfig"]["service"]["namespace"] = namespace.into();
            }
        }
    }
}

/// The items of a list; nothing is made where there is none.
fn list<'v>(object: &'v mut Value, field: &str) -> impl Iterator<Item = &'v mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

pub fn add_hashes(items: &mut [Item]) {
    for item in items.iter_mut().filter(|item| item.hashed) {
        // The name is no part of what is hashed.
        let mut content = item.object.clone();
        content["metadata"]["name"] = "".into();
        if content["data"].is_null() {
            content["data"] = "".into();
        }
        let name = format!("{}-{}", item.name(), hash_suffix(&content));
        item.rename(name);
    }
}

/// Every reference to what was renamed follows it.
pub fn fix(items: &mut [Item]) {
    let known = items.to_vec();
    for item in items.iter_mut() {
        let from = Referrer { namespaces: item.namespaces.clone(), known: &known };
        from.walk(&mut item.object, &mut Vec::new());
    }
}

struct Referrer<'a> {
    namespaces: Vec<String>,
    known: &'a [Item],
}

impl Referrer<'_> {
    /// What a name of a kind became; in the referrer's namespace, or of a kind that stands in none.
    fn renamed(&self, kind: &str, name: &str) -> Option<&Item> {
        let near = |item: &&Item| {
            CLUSTER.contains(&kind) || item.namespaces.iter().any(|namespace| self.namespaces.contains(namespace))
        };
        let candidates = || self.known.iter().filter(|item| item.kind() == kind && item.was_called(name));
        candidates().find(near).or_else(|| candidates().next().filter(|_| candidates().count() == 1))
    }

    fn walk(&self, value: &mut Value, path: &mut Vec<String>) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|item| self.walk(item, path)),
            Value::Object(map) => {
                let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                let at = path.last().map(String::as_str).unwrap_or_default();
                if ["roleRef", "scaleTargetRef", "subjects"].contains(&at)
                    && let Some(found) =
                        map.get("name").and_then(Value::as_str).and_then(|name| self.renamed(&kind, name))
                {
                    map.insert("name".into(), found.name().into());
                    if at == "subjects" && kind == "ServiceAccount" && !found.namespace().is_empty() {
                        map.insert("namespace".into(), found.namespace().into());
                    }
                }
                for (key, inner) in map.iter_mut() {
                    path.push(key.clone());
                    match inner {
                        Value::String(name) => {
                            let renamed = REFERENCES
                                .iter()
                                .filter(|(_, steps)| path.len() > 1 && ends_with(path, steps))
                                .find_map(|(kind, _)| self.renamed(kind, name));
                            if let Some(found) = renamed {
                                *name = found.name().to_owned();
                            }
                        }
                        inner => self.walk(inner, path),
                    }
                    path.pop();
                }
            }
            _ => {}
        }
    }
}

fn ends_with(path: &[String], steps: &[&str]) -> bool {
    path.len() >= steps.len() && path.iter().rev().zip(steps.iter().rev()).all(|(a, b)| a == b)
}
