//! `patches`, `patchesStrategicMerge` and `patchesJson6902`.
use super::{
    file::{self, Kustomization},
    items::Item,
};
use crate::{Error, Result};
use apimachinery::{labels::Selector, patch, schema};
use regex::Regex;
use serde_json::{Value, json};

/// Strategic merge patches, and patches of either form.
pub fn run(file: &Kustomization, items: &mut Vec<Item>) -> Result<()> {
    for entry in file.items("patchesStrategicMerge") {
        let text = entry.as_str().unwrap_or_default();
        // A patch may stand in the list itself.
        let documents =
            if text.contains('\n') { parsed(text)? } else { parsed(&file::read(&file.locate(text, "patches")?)?)? };
        for document in documents {
            merge(items, document, &Value::Null, &Value::Null)?;
        }
    }
    for entry in file.items("patches") {
        let (text, target) = (source(file, entry)?, &entry["target"]);
        let documents = parsed(&text)?;
        match documents.as_slice() {
            [Value::Array(operations)] => json(items, operations, target)?,
            _ => {
                for document in documents {
                    merge(items, document, target, &entry["options"])?;
                }
            }
        }
    }
    Ok(())
}

/// The older form of JSON patches.
pub fn run_json(file: &Kustomization, items: &mut [Item]) -> Result<()> {
    for entry in file.items("patchesJson6902") {
        match parsed(&source(file, entry)?)?.as_slice() {
            [Value::Array(operations)] => json(items, operations, &entry["target"])?,
            _ => return Err(Error::message("patchesJson6902: a list of operations is expected")),
        }
    }
    Ok(())
}

fn source(file: &Kustomization, entry: &Value) -> Result<String> {
    match (entry["path"].as_str(), entry["patch"].as_str()) {
        (Some(path), None) => file::read(&file.locate(path, "patches")?),
        (None, Some(text)) => Ok(text.to_owned()),
        (Some(_), Some(_)) => Err(Error::message("patch and path can't be set at the same time")),
        (None, None) => Err(Error::message("must specify one of patch and path")),
    }
}

fn parsed(text: &str) -> Result<Vec<Value>> {
    file::core_yaml(text).map_err(|e| Error::message(format!("unable to parse SM or JSON patch from [{text}]: {e}")))
}

/// Which objects a patch is for.
struct Target {
    fields: Vec<(&'static str, Regex)>,
    labels: Selector,
    annotations: Selector,
}

impl Target {
    fn new(target: &Value) -> Result<Target> {
        let mut fields = Vec::new();
        for field in ["group", "version", "kind", "name", "namespace"] {
            if let Some(text) = target[field].as_str().filter(|text| !text.is_empty()) {
                let regex =
                    Regex::new(&format!("^(?:{text})$")).map_err(|e| Error::message(format!("target.{field}: {e}")))?;
                fields.push((field, regex));
            }
        }
        let selector = |field: &str| {
            Selector::parse(target[field].as_str().unwrap_or_default()).map_err(|e| Error::message(e.to_string()))
        };
        Ok(Target { fields, labels: selector("labelSelector")?, annotations: selector("annotationSelector")? })
    }

    fn matches(&self, item: &Item) -> bool {
        let metadata = &item.object["metadata"];
        let fits = |(field, regex): &(&str, Regex)| match *field {
            "group" => regex.is_match(item.group()),
            "version" => regex.is_match(item.version()),
            "kind" => regex.is_match(item.kind()),
            "name" => item.names.iter().any(|name| regex.is_match(name)),
            _ => item.namespaces.iter().any(|namespace| regex.is_match(namespace)),
        };
        self.fields.iter().all(fits)
            && self.labels.matches_with(|key: &str| metadata["labels"][key].as_str())
            && self.annotations.matches_with(|key: &str| metadata["annotations"][key].as_str())
    }
}

fn json(items: &mut [Item], operations: &[Value], target: &Value) -> Result<()> {
    if target.is_null() {
        return Err(Error::message("must specify a target for JSON patch"));
    }
    let target = Target::new(target)?;
    let text = json!(operations).to_string();
    for item in items.iter_mut().filter(|item| target.matches(item)) {
        patch::json_patch(&mut item.object, text.as_bytes()).map_err(|e| Error::message(e.to_string()))?;
        renamed(item);
    }
    Ok(())
}

/// A patch may give a new name; references follow it.
fn renamed(item: &mut Item) {
    let name = item.name().to_owned();
    if item.names.last() != Some(&name) {
        item.names.push(name);
    }
}

/// Without a target, the patch itself says what it is for.
fn merge(items: &mut Vec<Item>, mut patch: Value, target: &Value, options: &Value) -> Result<()> {
    let own = target.is_null().then(|| Item::new(patch.clone())).transpose()?;
    let target = Target::new(target)?;
    let is_for = |item: &Item| match &own {
        Some(own) => {
            let near =
                own.namespace().is_empty() || item.namespaces.iter().any(|namespace| namespace == own.namespace());
            item.kind() == own.kind() && item.group() == own.group() && item.was_called(own.name()) && near
        }
        None => target.matches(item),
    };
    if let Some(own) = &own
        && !items.iter().any(is_for)
    {
        let namespace = if own.namespace().is_empty() { "[noNs]" } else { own.namespace() };
        let group = if own.group().is_empty() { "[noGrp]" } else { own.group() };
        return Err(Error::message(format!(
            "no resource matches strategic merge patch \"{}.{}.{group}/{}.{namespace}\": no matches for Id \
             {}.{}.{group}/{}.{namespace}; failed to find unique target for patch {}.{}.{group}/{}.{namespace}",
            own.kind(),
            own.version(),
            own.name(),
            own.kind(),
            own.version(),
            own.name(),
            own.kind(),
            own.version(),
            own.name()
        )));
    }
    let deletes = patch["$patch"] == "delete";
    if deletes {
        items.retain(|item| !is_for(item));
        return Ok(());
    }
    // A target of another version is patched all the same.
    if let Some(map) = patch.as_object_mut() {
        map.remove("apiVersion");
    }
    for item in items.iter_mut().filter(|item| is_for(item)) {
        let (name, namespace, kind, version) = (
            item.object["metadata"]["name"].clone(),
            item.object["metadata"]["namespace"].clone(),
            item.object["kind"].clone(),
            item.object["apiVersion"].clone(),
        );
        let schema = schema::of(item.group(), item.version(), item.kind());
        match schema {
            Some(schema) => {
                item.object = patch::strategic_merge_patch(item.object.take(), patch.clone(), schema)
                    .map_err(|e| Error::message(e.to_string()))?;
            }
            None => patch::merge_patch(&mut item.object, patch.clone()),
        }
        item.object["apiVersion"] = version;
        if options["allowKindChange"] != true {
            item.object["kind"] = kind;
        }
        if options["allowNameChange"] == true {
            renamed(item);
        } else {
            item.object["metadata"]["name"] = name;
        }
        if let Some(metadata) = item.object["metadata"].as_object_mut() {
            match namespace {
                Value::Null => drop(metadata.remove("namespace")),
                namespace => drop(metadata.insert("namespace".into(), namespace)),
            }
        }
    }
    Ok(())
}
