//! Objects from files, folders, standard input: `-f`.
use crate::{Error, Result};
use clap::{Arg, ArgAction};
use serde_json::Value;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Larger input is no manifest.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
const MAX_DEPTH: usize = 32;

pub fn file_flag() -> Arg {
    Arg::new("filename")
        .short('f')
        .long("filename")
        .action(ArgAction::Append)
        .value_delimiter(',')
        .help("Filename, directory, or - for standard input")
}

pub fn recursive_flag() -> Arg {
    Arg::new("recursive")
        .short('R')
        .long("recursive")
        .action(ArgAction::SetTrue)
        .help("Process the directory used in -f, --filename recursively.")
}

/// `apiVersion` and `kind` of an object.
///
/// # Errors
/// One of them is missing.
pub fn type_of(object: &Value) -> Result<(String, String)> {
    let text = |field: &str| object[field].as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    match (text("apiVersion"), text("kind")) {
        (Some(version), Some(kind)) => Ok((version, kind)),
        (None, None) => Err(Error::message("error validating data: [apiVersion not set, kind not set]")),
        (_, None) => Err(Error::message("error validating data: kind not set")),
        (None, _) => Err(Error::message("error validating data: apiVersion not set")),
    }
}

/// What is the matter with a manifest before any server has seen it, said as the official one says it.
///
/// # Errors
/// It has no type, or one that the server does not know.
pub async fn target(context: &crate::Context, manifest: &Manifest, validate: bool) -> Result<crate::select::Target> {
    let Manifest { source, object } = manifest;
    let (api_version, kind) = type_of(object).map_err(|error| match validate {
        true => Error::message(format!(
            "error validating \"{source}\": {}; if you choose to ignore these errors, turn validation off with \
             --validate=false",
            error.bare()
        )),
        false => error,
    })?;
    if context.mapper().await?.kind(&api_version, &kind).is_err() {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        return Err(Error::message(format!(
            "resource mapping not found for name: \"{}\" namespace: \"{}\" from \"{source}\": no matches for kind \
             \"{kind}\" in version \"{api_version}\"\nensure CRDs are installed first",
            text("name"),
            text("namespace")
        )));
    }
    crate::select::of_object(context, object).await
}

/// An object, and the name of the file that it came from.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub source: String,
    pub object: Value,
}

/// All objects of all files, lists unfolded, in order.
///
/// # Errors
/// A file cannot be read or parsed; the message names it.
pub fn read(files: &[String], recursive: bool) -> Result<Vec<Value>> {
    Ok(read_sourced(files, recursive)?.into_iter().map(|manifest| manifest.object).collect())
}

/// As [`read`], with where each object came from.
///
/// # Errors
/// As [`read`].
pub fn read_sourced(files: &[String], recursive: bool) -> Result<Vec<Manifest>> {
    let mut objects = Vec::new();
    for file in files {
        if file == "-" {
            let mut text = String::new();
            std::io::stdin().take(MAX_BYTES).read_to_string(&mut text)?;
            parse(&text, "STDIN", &mut objects)?;
            continue;
        }
        if file.starts_with("http://") || file.starts_with("https://") {
            return Err(Error::message(format!("{file}: reading manifests from URLs is not implemented")));
        }
        let path = Path::new(file);
        if !path.exists() {
            return Err(Error::message(format!("the path \"{file}\" does not exist")));
        }
        for path in expand(path, recursive, 0)? {
            let size = fs::metadata(&path).map(|m| m.len()).unwrap_or(0);
            if size > MAX_BYTES {
                return Err(Error::message(format!("{}: larger than {MAX_BYTES} bytes", path.display())));
            }
            let text =
                fs::read_to_string(&path).map_err(|e| Error::message(format!("open {}: {e}", path.display())))?;
            parse(&text, &path.display().to_string(), &mut objects)?;
        }
    }
    Ok(objects)
}

fn expand(path: &Path, recursive: bool, depth: usize) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if depth > MAX_DEPTH {
        return Err(Error::message(format!("{}: folders nested too deeply", path.display())));
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)?.flatten().map(|e| e.path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                found.extend(expand(&entry, recursive, depth + 1)?);
            }
        } else if entry.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml") {
            found.push(entry);
        }
    }
    Ok(found)
}

fn parse(text: &str, name: &str, objects: &mut Vec<Manifest>) -> Result<()> {
    let refused = |e: String| Error::message(format!("error parsing {name}: {e}"));
    let documents = apimachinery::codec::yaml::parse_all(text).map_err(|e| refused(e.to_string()))?;
    for document in documents {
        if document.is_null() {
            continue;
        }
        if !document.is_object() {
            return Err(refused("not an object".into()));
        }
        unfold(document, name, objects);
    }
    Ok(())
}

/// A `List` is its items.
fn unfold(object: Value, source: &str, objects: &mut Vec<Manifest>) {
    let is_list = object["kind"].as_str().is_some_and(|k| k.ends_with("List")) && object["items"].is_array();
    match object {
        Value::Object(mut map) if is_list => {
            if let Some(Value::Array(items)) = map.remove("items") {
                items.into_iter().for_each(|item| unfold(item, source, objects));
            }
        }
        object => objects.push(Manifest { source: source.to_owned(), object }),
    }
}
