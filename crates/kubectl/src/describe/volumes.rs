//! Volumes of pods and pod templates, tolerations, and topology spread constraints.
use super::doc::{Doc, is_empty, items, pairs, selector, text};
use serde_json::Value;

/// (field, what it is, fields shown).
type Source = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SOURCES: &[Source] = &[
    ("hostPath", "HostPath (bare host directory volume)", &[("Path", "path"), ("HostPathType", "type")]),
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[("Medium", "medium"), ("SizeLimit", "sizeLimit?")],
    ),
    ("secret", "Secret (a volume populated by a Secret)", &[("SecretName", "secretName"), ("Optional", "optional!")]),
    ("configMap", "ConfigMap (a volume populated by a ConfigMap)", &[("Name", "name"), ("Optional", "optional!")]),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName", "claimName"), ("ReadOnly", "readOnly!")],
    ),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server", "server"), ("Path", "path"), ("ReadOnly", "readOnly!")],
    ),
    (
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[("Driver", "driver"), ("FSType", "fsType"), ("VolumeHandle", "volumeHandle"), ("ReadOnly", "readOnly!")],
    ),
    ("image", "Image (a container image or OCI artifact)", &[("Reference", "reference"), ("PullPolicy", "pullPolicy")]),
    ("local", "LocalVolume (a persistent volume backed by local storage on a node)", &[("Path", "path")]),
];

/// Show the source of a volume; false when the kind of source is unknown.
pub fn source(doc: &mut Doc, level: usize, volume: &Value) -> bool {
    for (field, what, shown) in SOURCES {
        let source = &volume[*field];
        if !source.is_object() {
            continue;
        }
        doc.field(level, "Type", what);
        // A pod's own CSI volume has no handle.
        for (title, name) in shown.iter().filter(|(_, name)| *name != "volumeHandle" || !source[*name].is_null()) {
            let value = match (name.strip_suffix('!'), name.strip_suffix('?')) {
                (Some(name), _) => (source[name] == true).to_string(),
                (_, Some(name)) if is_empty(&source[name]) => "<unset>".to_owned(),
                (_, Some(name)) => text(&source[name]),
                _ => text(&source[*name]),
            };
            doc.field(level, title, value);
        }
        if *field == "csi" {
            // The official one indents the values, too.
            let attributes =
                pairs(&source["volumeAttributes"]).map(|(k, v)| format!("    {k}={}", text(v))).collect::<Vec<_>>();
            doc.listed(&"  ".repeat(level), "VolumeAttributes", attributes);
        }
        return true;
    }
    false
}

/// `Volumes:`.
pub fn list(doc: &mut Doc, volumes: &Value, space: &str) {
    if is_empty(volumes) {
        return doc.line(0, format!("{space}Volumes:\t<none>"));
    }
    doc.line(0, format!("{space}Volumes:"));
    let indent = if space.is_empty() { "" } else { " " };
    for volume in items(volumes) {
        doc.line(1, format!("{indent}{}:", text(&volume["name"])));
        if volume["projected"].is_object() {
            projected(doc, &volume["projected"]);
        } else if volume["downwardAPI"].is_object() {
            doc.field(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
            doc.line(2, "Items:");
            for item in items(&volume["downwardAPI"]["items"]) {
                let from = match item["fieldRef"].is_object() {
                    true => text(&item["fieldRef"]["fieldPath"]),
                    false => text(&item["resourceFieldRef"]["resource"]),
                };
                doc.line(3, format!("{from} -> {}", text(&item["path"])));
            }
        } else if volume["ephemeral"].is_object() {
            let what =
                "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)";
            doc.field(2, "Type", what);
            let claim = &volume["ephemeral"]["volumeClaimTemplate"];
            doc.field(2, "StorageClass", text(&claim["spec"]["storageClassName"]));
            doc.given(2, "Volume", &claim["spec"]["volumeName"]);
            doc.labels("    ", "Labels", &claim["metadata"]["labels"]);
            doc.labels("    ", "Annotations", &claim["metadata"]["annotations"]);
            doc.field(2, "Capacity", text(&claim["spec"]["resources"]["requests"]["storage"]));
            doc.field(2, "Access Modes", super::doc::access_modes(&claim["spec"]["accessModes"]));
            doc.given(2, "VolumeMode", &claim["spec"]["volumeMode"]);
        } else if !source(doc, 2, volume) {
            doc.line(1, "<unknown>");
        }
    }
}

fn projected(doc: &mut Doc, volume: &Value) {
    doc.field(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
    for source in items(&volume["sources"]) {
        if source["secret"].is_object() {
            doc.field(2, "SecretName", text(&source["secret"]["name"]));
            doc.field(2, "Optional", source["secret"]["optional"] == true);
        } else if source["downwardAPI"].is_object() {
            doc.field(2, "DownwardAPI", true);
        } else if source["configMap"].is_object() {
            doc.field(2, "ConfigMapName", text(&source["configMap"]["name"]));
            doc.field(2, "Optional", source["configMap"]["optional"] == true);
        } else if source["serviceAccountToken"].is_object() {
            doc.field(2, "TokenExpirationSeconds", text(&source["serviceAccountToken"]["expirationSeconds"]));
        }
    }
}

/// `Tolerations:`, in the order of their keys.
pub fn tolerations(doc: &mut Doc, indent: &str, tolerations: &Value) {
    let mut all: Vec<&Value> = items(tolerations).collect();
    all.sort_by_key(|t| text(&t["key"]));
    let lines = all.into_iter().map(|t| {
        let (key, value, effect) = (text(&t["key"]), text(&t["value"]), text(&t["effect"]));
        let mut line = key;
        if !value.is_empty() {
            line.push_str(&format!("={value}"));
        }
        if !effect.is_empty() {
            line.push_str(&format!(":{effect}"));
        }
        if t["operator"] == "Exists" && value.is_empty() {
            line.push_str(if line.is_empty() { "op=Exists" } else { " op=Exists" });
        }
        if let Some(seconds) = t["tolerationSeconds"].as_i64() {
            line.push_str(&format!(" for {seconds}s"));
        }
        line
    });
    doc.listed(indent, "Tolerations", lines.collect());
}

/// `Topology Spread Constraints:`, left out when there are none.
pub fn spread(doc: &mut Doc, indent: &str, constraints: &Value) {
    if is_empty(constraints) {
        return;
    }
    let mut all: Vec<&Value> = items(constraints).collect();
    all.sort_by_key(|c| text(&c["topologyKey"]));
    let lines = all.into_iter().map(|c| {
        let mut line = format!(
            "{}:{} when max skew {} is exceeded",
            text(&c["topologyKey"]),
            text(&c["whenUnsatisfiable"]),
            text(&c["maxSkew"])
        );
        if c["labelSelector"].is_object() {
            line.push_str(&format!(" for selector {}", selector(&c["labelSelector"])));
        }
        line
    });
    doc.listed(indent, "Topology Spread Constraints", lines.collect());
}
