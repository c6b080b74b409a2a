//! `configMapGenerator` and `secretGenerator`.
use super::{
    file::{self, Kustomization},
    items::{self, Item},
};
use crate::{Error, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

/// Long values of secrets are broken into lines.
const LINE: usize = 70;

pub fn run(file: &Kustomization, items: &mut Vec<Item>) -> Result<()> {
    for (field, kind) in [("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")] {
        for entry in file.items(field) {
            let made = make(file, entry, kind)?;
            add(items, made, entry["behavior"].as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

fn make(file: &Kustomization, entry: &Value, kind: &str) -> Result<Item> {
    let common = file.get("generatorOptions");
    let own = &entry["options"];
    let Some(name) = entry["name"].as_str() else {
        return Err(Error::message(format!("{kind} generator: a name is missing")));
    };
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = entry["namespace"].as_str() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    for field in ["labels", "annotations"] {
        for (key, value) in [common, own].into_iter().flat_map(|from| from[field].as_object().into_iter().flatten()) {
            object["metadata"][field][key] = value.clone();
        }
    }
    if kind == "Secret" {
        object["type"] = json!(entry["type"].as_str().unwrap_or("Opaque"));
    }
    let mut data = Map::new();
    let mut binary = Map::new();
    for (key, bytes) in pairs(file, entry)? {
        let (place, value) = match String::from_utf8(bytes) {
            Ok(text) if kind != "Secret" => (&mut data, text),
            Ok(text) => (&mut data, encoded(text.as_bytes())),
            Err(error) if kind != "Secret" => (&mut binary, encoded(error.as_bytes())),
            Err(error) => (&mut data, encoded(error.as_bytes())),
        };
        if place.insert(key.clone(), value.into()).is_some() {
            return Err(Error::message(format!("configmap {name} illegally repeats the key `{key}`")));
        }
    }
    for (field, map) in [("data", data), ("binaryData", binary)] {
        if !map.is_empty() {
            object[field] = Value::Object(map);
        }
    }
    if common["immutable"] == true || own["immutable"] == true {
        object["immutable"] = json!(true);
    }
    let mut item = Item::new(object)?;
    let plain = |options: &Value| options["disableNameSuffixHash"] == true;
    item.hashed = !plain(common) && !plain(own);
    Ok(item)
}

fn encoded(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    if text.len() < LINE {
        return text;
    }
    text.as_bytes().chunks(LINE).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}

type Pairs = Vec<(String, Vec<u8>)>;

/// Keys and values of `envs`, `literals` and `files`.
fn pairs(file: &Kustomization, entry: &Value) -> Result<Pairs> {
    let texts = |field: &str| entry[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut found = Vec::new();
    for path in texts("envs").chain(entry["env"].as_str()) {
        for line in file::read(&file.locate(path, "envs")?)?.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once('=') {
                Some((key, value)) => found.push((key.to_owned(), value.as_bytes().to_vec())),
                // A name alone takes what the environment says.
                None => found.push((line.to_owned(), std::env::var(line).unwrap_or_default().into_bytes())),
            }
        }
    }
    for literal in texts("literals") {
        let Some((key, value)) = literal.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Error::message(format!("invalid literal source {literal}, expected key=value")));
        };
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        found.push((key.to_owned(), unquoted.unwrap_or(value).as_bytes().to_vec()));
    }
    for source in texts("files") {
        let (key, path) = match source.split_once('=') {
            Some((key, path)) => (key, path),
            None => (source.rsplit('/').next().unwrap_or(source), source),
        };
        found.push((key.to_owned(), file::bytes(&file.locate(path, "files")?)?));
    }
    Ok(found)
}

/// `create`, or `merge` into and `replace` of one that is there.
fn add(items: &mut Vec<Item>, made: Item, behavior: &str) -> Result<()> {
    if ["", "unspecified", "create"].contains(&behavior) {
        return items::append(items, made);
    }
    let same = |item: &&mut Item| {
        item.kind() == made.kind()
            && item.was_called(made.name())
            && (made.namespace().is_empty() || item.namespace() == made.namespace())
    };
    let Some(item) = items.iter_mut().find(same) else {
        return Err(Error::message(format!(
            "id {}.v1.[noGrp]/{} does not exist; cannot merge or replace",
            made.kind(),
            made.name()
        )));
    };
    item.hashed |= made.hashed;
    for field in ["labels", "annotations"] {
        for (key, value) in made.object["metadata"][field].as_object().into_iter().flatten() {
            item.object["metadata"][field][key] = value.clone();
        }
    }
    for field in ["data", "binaryData"] {
        if behavior == "replace"
            && let Some(object) = item.object.as_object_mut()
        {
            object.remove(field);
        }
        for (key, value) in made.object[field].as_object().into_iter().flatten() {
            item.object[field][key] = value.clone();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_broken_into_lines() {
        assert_eq!(encoded(b"abc"), "YWJj");
        let long = encoded(&[b'x'; 60]);
        assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [70, 10]);
        assert!(long.ends_with('\n'));
    }
}
