//! `images` and `replicas`.
use super::{file::Kustomization, items::Item};
use crate::{Error, Result};
use serde_json::{Value, json};

const SCALED: [&str; 4] = ["Deployment", "ReplicaSet", "ReplicationController", "StatefulSet"];

pub fn replicas(file: &Kustomization, items: &mut [Item]) -> Result<()> {
    for entry in file.items("replicas") {
        let (Some(name), Some(count)) = (entry["name"].as_str(), entry["count"].as_i64()) else {
            return Err(Error::message("replicas: name and count are required"));
        };
        let mut found = false;
        for item in items.iter_mut().filter(|item| item.was_called(name) && SCALED.contains(&item.kind())) {
            item.object["spec"]["replicas"] = json!(count);
            found = true;
        }
        if !found {
            return Err(Error::message(format!(
                "resource with name {name} does not match a config with the following GVK [Deployment.[noVer].[noGrp] \
                 ReplicationController.[noVer].[noGrp] ReplicaSet.[noVer].[noGrp] StatefulSet.[noVer].[noGrp]]"
            )));
        }
    }
    Ok(())
}

pub fn run(file: &Kustomization, items: &mut [Item]) -> Result<()> {
    for entry in file.items("images") {
        if entry["name"].as_str().is_none_or(str::is_empty) {
            return Err(Error::message("images: a name is missing"));
        }
        items.iter_mut().for_each(|item| walk(&mut item.object, entry));
    }
    Ok(())
}

/// Containers stand at many places; their lists are always called so.
fn walk(value: &mut Value, entry: &Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| walk(item, entry)),
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if ["containers", "initContainers", "ephemeralContainers"].contains(&key.as_str()) {
                    for container in inner.as_array_mut().into_iter().flatten() {
                        if let Some(image) = container["image"].as_str().and_then(|image| changed(image, entry)) {
                            container["image"] = image.into();
                        }
                    }
                }
                walk(inner, entry);
            }
        }
        _ => {}
    }
}

/// The image as the entry has it; `None` when it is another's.
fn changed(image: &str, entry: &Value) -> Option<String> {
    let text = |field: &str| entry[field].as_str().filter(|text| !text.is_empty());
    let (name, tag, digest) = split(image);
    if Some(name) != text("name") {
        return None;
    }
    let name = text("newName").unwrap_or(name);
    let behind = match (text("newTag"), text("digest")) {
        (_, Some(digest)) => format!("@{digest}"),
        (Some(tag), None) => format!(":{tag}"),
        (None, None) => {
            let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
            tag + &digest.map_or_else(String::new, |digest| format!("@{digest}"))
        }
    };
    let suffix = text("tagSuffix").filter(|_| !behind.contains('@')).unwrap_or_default();
    Some(format!("{name}{behind}{suffix}"))
}

/// Name, tag and digest; a colon before the last slash is that of a port.
fn split(image: &str) -> (&str, Option<&str>, Option<&str>) {
    let (image, digest) = image.split_once('@').map_or((image, None), |(image, digest)| (image, Some(digest)));
    let at = image.rfind(':').filter(|at| !image[*at..].contains('/'));
    match at {
        Some(at) => (&image[..at], Some(&image[at + 1..]), digest),
        None => (image, None, digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_images() {
        let cases = [
            ("nginx", json!({"name": "nginx", "newTag": "1"}), Some("nginx:1")),
            ("nginx:2@sha256:a", json!({"name": "nginx", "newTag": "1"}), Some("nginx:1")),
            ("h:5000/a/nginx:2", json!({"name": "h:5000/a/nginx", "newName": "b"}), Some("b:2")),
            ("nginx:2", json!({"name": "nginx", "digest": "sha256:b"}), Some("nginx@sha256:b")),
            ("nginx-x:2", json!({"name": "nginx", "newTag": "1"}), None),
        ];
        for (image, entry, want) in cases {
            assert_eq!(changed(image, &entry).as_deref(), want, "{image}");
        }
    }
}
