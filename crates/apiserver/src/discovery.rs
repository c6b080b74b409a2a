//! What the server serves, as it tells clients: `/api`, `/apis`, per-version lists, and aggregated discovery.
//!
//! All documents are made once from the registered kinds and sent as bytes.
//! Source: API concepts "Discovery API", KEP-3352.
use crate::{registry::api_version, reviews};
use api::{Resource, Scope};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// Groups in upstream's order of preference; kubectl lists resources in it. Others follow by name.
const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// One line of an `APIResourceList`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiResource {
    pub name: String,
    pub singular_name: String,
    pub namespaced: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub storage_version_hash: String,
}

/// Bytes with the tag clients revalidate them by.
#[derive(Clone)]
pub struct Tagged {
    pub bytes: Bytes,
    pub etag: String,
}

impl Tagged {
    pub fn new(bytes: Vec<u8>) -> Self {
        let hash = Sha256::digest(&bytes);
        let hex: String = hash.iter().map(|b| format!("{b:02X}")).collect();
        Tagged { etag: format!("\"{hex}\""), bytes: bytes.into() }
    }
}

/// All discovery documents.
pub struct Discovery {
    api_versions: Bytes,
    groups: Bytes,
    by_group: BTreeMap<String, Bytes>,
    by_version: BTreeMap<(String, String), Bytes>,
    aggregated_core: Tagged,
    aggregated_groups: Tagged,
    pub group_versions: Vec<(String, String)>,
}

type Versions = Vec<(String, Vec<ApiResource>)>;

impl Discovery {
    /// `address` is where clients reach the server, as host and port.
    pub fn new<'a>(resources: impl IntoIterator<Item = &'a Arc<dyn Resource>>, address: &str) -> Self {
        let mut groups: BTreeMap<String, Versions> = BTreeMap::new();
        for resource in resources {
            add(&mut groups, &**resource);
        }
        for (group, version, resource) in reviews::discovered() {
            version_of(&mut groups, group, version).push(resource);
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|(version, _)| version_rank(version));
            for (_, resources) in versions {
                resources.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        let mut ordered: Vec<(String, Versions)> = groups.into_iter().collect();
        ordered.sort_by_key(|(group, _)| GROUP_ORDER.iter().position(|g| g == group).unwrap_or(GROUP_ORDER.len()));
        Self::documents(&ordered, address)
    }

    fn documents(groups: &[(String, Versions)], address: &str) -> Self {
        let mut by_version = BTreeMap::new();
        let mut by_group = BTreeMap::new();
        let mut group_list = Vec::new();
        let mut core_versions: Vec<&str> = Vec::new();
        for (group, versions) in groups {
            for (version, resources) in versions {
                let list = json!({
                    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version),
                    "resources": resources,
                });
                by_version.insert((group.clone(), version.clone()), line(&list));
            }
            if group.is_empty() {
                core_versions.extend(versions.iter().map(|(v, _)| v.as_str()));
                continue;
            }
            let item = api_group(group, versions);
            let mut document = Map::new();
            document.insert("kind".into(), "APIGroup".into());
            document.insert("apiVersion".into(), "v1".into());
            document.extend(item.clone());
            by_group.insert(group.clone(), line(&Value::Object(document)));
            group_list.push(Value::Object(item));
        }
        let is_core = |(group, _): &&(String, Versions)| group.is_empty();
        Discovery {
            api_versions: line(&json!({
                "kind": "APIVersions", "versions": core_versions,
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
            })),
            groups: line(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": group_list})),
            by_group,
            by_version,
            aggregated_core: aggregated(groups.iter().filter(is_core)),
            aggregated_groups: aggregated(groups.iter().filter(|g| !is_core(g))),
            group_versions: groups
                .iter()
                .flat_map(|(group, versions)| versions.iter().map(|(v, _)| (group.clone(), v.clone())))
                .collect(),
        }
    }

    /// The document of a discovery path; `None` when there is no such group or version.
    pub fn document(&self, path: &str) -> Option<Bytes> {
        let mut parts = path.trim_matches('/').split('/');
        match (parts.next()?, parts.next(), parts.next(), parts.next()) {
            ("api", None, ..) => Some(self.api_versions.clone()),
            ("api", Some(version), None, _) => self.by_version.get(&(String::new(), version.to_owned())).cloned(),
            ("apis", None, ..) => Some(self.groups.clone()),
            ("apis", Some(group), None, _) => self.by_group.get(group).cloned(),
            ("apis", Some(group), Some(version), None) if !group.is_empty() => {
                self.by_version.get(&(group.to_owned(), version.to_owned())).cloned()
            }
            _ => None,
        }
    }

    /// Whether the path lies where API errors are told as `Status`: below `/api`, and below the groups served.
    /// Everywhere else it is as with any web server.
    pub fn is_below_root(&self, path: &str) -> bool {
        let mut parts = path.trim_start_matches('/').split('/');
        match parts.next() {
            Some("api") => true,
            Some("apis") => parts.next().is_some_and(|group| self.by_group.contains_key(group)),
            _ => false,
        }
    }

    /// Aggregated discovery of `/api` or `/apis`.
    pub fn aggregated(&self, path: &str) -> Option<&Tagged> {
        match path.trim_matches('/') {
            "api" => Some(&self.aggregated_core),
            "apis" => Some(&self.aggregated_groups),
            _ => None,
        }
    }
}

fn line(value: &Value) -> Bytes {
    // The order of fields is part of no contract, but `kind` first reads better; clients do not mind.
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes.into()
}

fn version_of<'a>(groups: &'a mut BTreeMap<String, Versions>, group: &str, version: &str) -> &'a mut Vec<ApiResource> {
    let versions = groups.entry(group.to_owned()).or_default();
    let position = versions.iter().position(|(v, _)| v == version).unwrap_or_else(|| {
        versions.push((version.to_owned(), Vec::new()));
        versions.len() - 1
    });
    // Just found or just pushed.
    &mut versions[position].1
}

fn add(groups: &mut BTreeMap<String, Versions>, resource: &dyn Resource) {
    let info = resource.info();
    let namespaced = info.scope == Scope::Namespaced;
    for served in &info.served {
        let list = version_of(groups, &served.group, &served.version);
        list.push(ApiResource {
            name: info.plural.to_string(),
            singular_name: info.singular.to_string(),
            namespaced,
            kind: served.kind.to_string(),
            verbs: info.verbs.iter().map(|v| (*v).to_owned()).collect(),
            short_names: info.short_names.iter().map(ToString::to_string).collect(),
            categories: info.categories.iter().map(ToString::to_string).collect(),
            storage_version_hash: storage_version_hash(resource),
            ..ApiResource::default()
        });
        for sub in &info.subresources {
            let same = sub.group == served.group && sub.version == served.version;
            list.push(ApiResource {
                name: format!("{}/{}", info.plural, sub.name),
                namespaced,
                group: if same { String::new() } else { sub.group.to_string() },
                version: if same { String::new() } else { sub.version.to_string() },
                kind: if sub.kind.is_empty() { served.kind.to_string() } else { sub.kind.to_string() },
                verbs: sub.verbs.iter().map(|v| (*v).to_owned()).collect(),
                ..ApiResource::default()
            });
        }
    }
}

/// As upstream makes it: the first 8 bytes of a hash of group, version and kind of what is stored.
fn storage_version_hash(resource: &dyn Resource) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let Some(storage) = resource.info().served.first() else { return String::new() };
    let hash = Sha256::digest(format!("{}/{}/{}", storage.group, storage.version, storage.kind));
    STANDARD.encode(hash.get(..8).unwrap_or_default())
}

fn api_group(group: &str, versions: &Versions) -> Map<String, Value> {
    let entry = |version: &str| json!({"groupVersion": api_version(group, version), "version": version});
    let mut out = Map::new();
    out.insert("name".into(), group.into());
    out.insert("versions".into(), versions.iter().map(|(v, _)| entry(v)).collect());
    if let Some((preferred, _)) = versions.first() {
        out.insert("preferredVersion".into(), entry(preferred));
    }
    out
}

/// GA before beta before alpha, newer before older: `v1`, `v1beta2`, `v1beta1`.
fn version_rank(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>) {
    let rest = version.strip_prefix('v').unwrap_or(version);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let number = |text: &str| std::cmp::Reverse(text.parse().unwrap_or(0));
    if rest.is_empty() {
        (0, number(major), number(""))
    } else if let Some(minor) = rest.strip_prefix("beta") {
        (1, number(major), number(minor))
    } else {
        (2, number(major), number(rest.trim_start_matches("alpha")))
    }
}

fn aggregated<'a>(groups: impl Iterator<Item = &'a (String, Versions)>) -> Tagged {
    let items: Vec<Value> = groups
        .map(|(group, versions)| {
            let mut metadata = Map::new();
            if !group.is_empty() {
                metadata.insert("name".into(), group.as_str().into());
            }
            metadata.insert("creationTimestamp".into(), Value::Null);
            let versions: Vec<Value> = versions.iter().map(|(v, list)| aggregated_version(group, v, list)).collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    Tagged::new(line(&list).to_vec())
}

fn aggregated_version(group: &str, version: &str, list: &[ApiResource]) -> Value {
    let kind_of = |r: &ApiResource| {
        let (g, v) = if r.version.is_empty() { (group, version) } else { (r.group.as_str(), r.version.as_str()) };
        json!({"group": g, "version": v, "kind": r.kind})
    };
    let mut resources: Vec<Value> = Vec::new();
    for resource in list.iter().filter(|r| !r.name.contains('/')) {
        let prefix = format!("{}/", resource.name);
        let subresources: Vec<Value> = list
            .iter()
            .filter_map(|r| {
                let name = r.name.strip_prefix(&prefix)?;
                Some(json!({"subresource": name, "responseKind": kind_of(r), "verbs": r.verbs}))
            })
            .collect();
        let mut item = json!({
            "resource": resource.name,
            "responseKind": kind_of(resource),
            "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": resource.singular_name,
            "verbs": resource.verbs,
        });
        if let Value::Object(item) = &mut item {
            for (key, values) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
                if !values.is_empty() {
                    item.insert(key.into(), json!(values));
                }
            }
            if !subresources.is_empty() {
                item.insert("subresources".into(), subresources.into());
            }
        }
        resources.push(item);
    }
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_kubernetes_order() {
        let mut versions = vec!["v1alpha1", "v1beta1", "v2", "v1", "v1beta2", "v2beta1"];
        versions.sort_by_key(|v| version_rank(v));
        assert_eq!(versions, ["v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1"]);
    }
}
