//! Kustomizations: resources gathered, generated and changed as a `kustomization.yaml` says.
//!
//! What is not here (remote resources, plugins, Helm charts, `replacements`, `vars`, …) is refused by its field's
//! name. Source: kustomize's documentation of its file, and what the official one builds.
mod file;
mod generators;
mod images;
mod items;
mod labels;
mod names;
mod order;
mod patches;

use crate::{Error, Result};
use file::Kustomization;
use items::Item;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Bases deeper than this stand in a circle.
const MAX_DEPTH: usize = 32;

/// The objects of a folder, in the order in which the official one prints them.
///
/// `restrict`: files outside of a kustomization's folder are refused. `legacy`: what others need comes first, unless
/// the kustomization says otherwise.
///
/// # Errors
/// A file is not there or malformed, a patch does not fit, or a field is not supported.
pub fn build(folder: &Path, restrict: bool, legacy: bool) -> Result<Vec<Value>> {
    let root = folder.canonicalize().map_err(|error| {
        let absolute = std::env::current_dir().unwrap_or_default().join(folder);
        let why = crate::printers::go_text(&error);
        Error::Plain(format!(
            "must build at directory: not a valid directory: evalsymlink failure on '{}' : lstat {}: {why}",
            folder.display(),
            absolute.display()
        ))
    })?;
    if !root.is_dir() {
        return Err(Error::Plain(format!("must build at directory: '{}': file is not directory", folder.display())));
    }
    let file = Kustomization::load(&root, restrict)?;
    let legacy = file.order().map_or(legacy, |order| order == "legacy");
    let mut items = accumulate(&file, Vec::new(), &mut vec![root])?;
    names::add_hashes(&mut items);
    names::fix(&mut items);
    if legacy {
        order::legacy(&mut items);
    }
    Ok(items.into_iter().map(Item::finished).collect())
}

/// What one kustomization makes of its own resources, and of `items`, which are those that a component is given.
fn accumulate(file: &Kustomization, mut items: Vec<Item>, path: &mut Vec<PathBuf>) -> Result<Vec<Item>> {
    for entry in file.list("resources")? {
        let place = file.locate(&entry, "resources")?;
        if !place.is_dir() {
            for object in file::objects(&place)? {
                items::append(&mut items, Item::new(object)?)?;
            }
            continue;
        }
        for item in nested(file, &place, Vec::new(), path)? {
            items::append(&mut items, item)?;
        }
    }
    generators::run(file, &mut items)?;
    for entry in file.list("components")? {
        let place = file.locate(&entry, "components")?;
        items = nested(file, &place, items, path)?;
    }
    transform(file, &mut items)?;
    Ok(items)
}

fn nested(file: &Kustomization, place: &Path, given: Vec<Item>, path: &mut Vec<PathBuf>) -> Result<Vec<Item>> {
    let folder = place.canonicalize()?;
    if path.contains(&folder) || path.len() > MAX_DEPTH {
        return Err(Error::Plain(format!(
            "cycle detected: candidate root '{}' contains visited root",
            folder.display()
        )));
    }
    path.push(folder.clone());
    let items = accumulate(&Kustomization::load(&folder, file.restrict)?, given, path);
    path.pop();
    items
}

/// Every change, in the order that the official one makes them.
fn transform(file: &Kustomization, items: &mut Vec<Item>) -> Result<()> {
    patches::run(file, items)?;
    if let Some(namespace) = file.text("namespace") {
        names::set_namespace(items, namespace);
    }
    names::affix(items, file.text("namePrefix").unwrap_or_default(), file.text("nameSuffix").unwrap_or_default());
    labels::run(file, items)?;
    patches::run_json(file, items)?;
    images::replicas(file, items)?;
    images::run(file, items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::codec::yaml;

    fn built(files: &[(&str, &str)], folder: &str) -> Result<String> {
        let place = tempfile::tempdir()?;
        for (name, text) in files {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(place.path()))?;
            std::fs::write(path, text)?;
        }
        let objects = build(&place.path().join(folder), true, true)?;
        Ok(objects.iter().map(yaml::to_string).collect::<Vec<_>>().join("---\n"))
    }

    /// The expected text is what the official one prints.
    #[test]
    fn names_change_and_references_follow() {
        let files = [
            (
                "base/kustomization.yaml",
                "resources: [pod.yaml]\nconfigMapGenerator: [{name: c, literals: [a=b]}]\n\
                 secretGenerator: [{name: s, literals: [a=b]}]\n",
            ),
            (
                "base/pod.yaml",
                "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: c\n    image: nginx:1\n    \
                 envFrom: [{configMapRef: {name: c}}, {secretRef: {name: s}}]\n",
            ),
            (
                "over/kustomization.yaml",
                "resources: [../base]\nnamePrefix: p-\nnamespace: dev\nimages: [{name: nginx, newTag: '2'}]\npatches:\n- patch: |-\n    \
                 {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, tty: true}]}}\n",
            ),
        ];
        let want = "apiVersion: v1\ndata:\n  a: b\nkind: ConfigMap\nmetadata:\n  name: p-c-4h2mbtbbt6\n  namespace: dev\n---\n\
                    apiVersion: v1\ndata:\n  a: Yg==\nkind: Secret\nmetadata:\n  name: p-s-k695gkmbtk\n  namespace: dev\ntype: Opaque\n---\n\
                    apiVersion: v1\nkind: Pod\nmetadata:\n  name: p-web\n  namespace: dev\nspec:\n  containers:\n  - envFrom:\n    \
                    - configMapRef:\n        name: p-c-4h2mbtbbt6\n    - secretRef:\n        name: p-s-k695gkmbtk\n    image: nginx:2\n    \
                    name: c\n    tty: true\n";
        assert_eq!(built(&files, "over").expect("built"), want);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let cases = [
            ("replacements: []\n", "\"replacements\" is not implemented"),
            ("nothing: 1\n", "unknown field \"nothing\""),
            ("resources: [https://example.com/x]\n", "remote locations are not implemented"),
            ("resources: [.]\n", "cycle detected"),
        ];
        for (text, want) in cases {
            let error = built(&[("kustomization.yaml", text)], ".").expect_err(text).text();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
