//! Kubeconfig files as `kubectl config` reads and changes them: plain documents, so that nothing in them is lost.
use crate::{Context, Error, Result};
use serde_json::{Map, Value, json};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// A list of a kubeconfig: clusters, users or contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    pub plural: &'static str,
    pub singular: &'static str,
}

pub const CLUSTERS: Section = Section { plural: "clusters", singular: "cluster" };
pub const USERS: Section = Section { plural: "users", singular: "user" };
pub const CONTEXTS: Section = Section { plural: "contexts", singular: "context" };
pub const SECTIONS: [Section; 3] = [CLUSTERS, USERS, CONTEXTS];

/// One file and what it says.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub content: Value,
}

/// The files, those that do not exist as empty ones.
///
/// # Errors
/// One cannot be read.
pub fn files(context: &Context) -> Result<Vec<File>> {
    context.kubeconfig_paths().into_iter().map(File::read).collect()
}

/// All files as one; the first to say a thing wins.
///
/// # Errors
/// As [`files`].
pub fn merged(context: &Context) -> Result<Value> {
    let mut whole = json!({"apiVersion": "v1", "kind": "Config", "current-context": "",
        "clusters": null, "contexts": null, "users": null});
    for file in files(context)? {
        for section in SECTIONS {
            for entry in file.content[section.plural].as_array().into_iter().flatten() {
                if find(&whole, section, entry["name"].as_str().unwrap_or_default()).is_none() {
                    push(&mut whole, section, entry.clone());
                }
            }
        }
        if whole["current-context"] == "" && file.content["current-context"].is_string() {
            whole["current-context"] = file.content["current-context"].clone();
        }
        if let Some(preferences) = file.content["preferences"].as_object().filter(|p| !p.is_empty()) {
            whole["preferences"] = json!(preferences);
        }
    }
    for section in SECTIONS {
        if let Some(list) = whole[section.plural].as_array_mut() {
            list.sort_by_key(|entry| entry["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(whole)
}

/// The entry of a name.
pub fn find<'a>(config: &'a Value, section: Section, name: &str) -> Option<&'a Value> {
    config[section.plural].as_array()?.iter().find(|entry| entry["name"] == name)
}

fn push(config: &mut Value, section: Section, entry: Value) {
    match config[section.plural].as_array_mut() {
        Some(list) => list.push(entry),
        None => config[section.plural] = json!([entry]),
    }
}

impl File {
    fn read(path: PathBuf) -> Result<File> {
        let content = match fs::read_to_string(&path) {
            Ok(text) => apimachinery::codec::yaml::parse(&text)
                .map_err(|e| Error::message(format!("error loading config file \"{}\": {e}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
            Err(error) => return Err(Error::message(format!("open {}: {error}", path.display()))),
        };
        let content = if content.is_object() { content } else { json!({"apiVersion": "v1", "kind": "Config"}) };
        Ok(File { path, content })
    }

    /// The entry of a name, made when there is none; and whether there was one.
    pub fn entry(&mut self, section: Section, name: &str) -> (&mut Map<String, Value>, bool) {
        let existed = find(&self.content, section, name).is_some();
        if !existed {
            push(&mut self.content, section, json!({"name": name, section.singular: {}}));
        }
        if let Some(list) = self.content[section.plural].as_array_mut() {
            list.sort_by_key(|entry| entry["name"].as_str().unwrap_or_default().to_owned());
        }
        let list = self.content[section.plural].as_array_mut();
        let at = list.into_iter().flatten().find(|entry| entry["name"] == name);
        let body = at.map(|entry| {
            let body = &mut entry[section.singular];
            if !body.is_object() {
                *body = json!({});
            }
            body
        });
        (body.and_then(Value::as_object_mut).expect("the entry was just made"), existed)
    }

    /// Take an entry out; whether there was one.
    pub fn remove(&mut self, section: Section, name: &str) -> bool {
        let Some(list) = self.content[section.plural].as_array_mut() else { return false };
        let before = list.len();
        list.retain(|entry| entry["name"] != name);
        list.len() < before
    }

    /// Write the file, readable by its owner alone, in one step.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&mut self) -> Result<()> {
        for section in SECTIONS {
            let list = &mut self.content[section.plural];
            if list.as_array().is_some_and(Vec::is_empty) {
                *list = Value::Null;
            }
        }
        if self.content["current-context"].is_null() {
            self.content["current-context"] = json!("");
        }
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(apimachinery::codec::yaml::to_string(&self.content).as_bytes())?;
        new.persist(&self.path).map_err(|e| Error::message(e.to_string()))?;
        Ok(())
    }
}

/// The file that an entry stands in, or the one that new entries go to.
///
/// # Errors
/// As [`files`].
pub fn file_of(context: &Context, is_it: impl Fn(&Value) -> bool) -> Result<File> {
    let mut all = files(context)?;
    if all.is_empty() {
        return Err(Error::message("there is no home folder for a kubeconfig; use --kubeconfig"));
    }
    let at = all.iter().position(|file| is_it(&file.content));
    let at = at.or_else(|| all.iter().position(|file| file.path.exists())).unwrap_or(all.len() - 1);
    Ok(all.swap_remove(at))
}

/// Hide what is secret or long.
pub fn redact(config: &mut Value) {
    for section in SECTIONS {
        for entry in config[section.plural].as_array_mut().into_iter().flatten() {
            let Some(body) = entry[section.singular].as_object_mut() else { continue };
            for (key, value) in body.iter_mut() {
                match key.as_str() {
                    "token" | "password" => *value = json!("REDACTED"),
                    _ if key.ends_with("-data") => *value = json!("DATA+OMITTED"),
                    _ => {}
                }
            }
        }
    }
}

/// Keep only what the current context needs.
///
/// # Errors
/// There is no current context.
pub fn minify(config: &mut Value) -> Result<()> {
    let name = config["current-context"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Error::message("current-context must exist in order to minify"));
    }
    let Some(context) = find(config, CONTEXTS, &name).cloned() else {
        return Err(Error::message(format!("cannot locate context {name}")));
    };
    for (section, wanted) in
        [(CLUSTERS, &context["context"]["cluster"]), (USERS, &context["context"]["user"]), (CONTEXTS, &json!(name))]
    {
        if let Some(list) = config[section.plural].as_array_mut() {
            list.retain(|entry| entry["name"] == *wanted);
        }
    }
    Ok(())
}

/// Put the content of files in place of their paths.
///
/// # Errors
/// A file cannot be read.
pub fn flatten(config: &mut Value) -> Result<()> {
    for section in SECTIONS {
        for entry in config[section.plural].as_array_mut().into_iter().flatten() {
            let Some(body) = entry[section.singular].as_object_mut() else { continue };
            for key in ["certificate-authority", "client-certificate", "client-key"] {
                if let Some(path) = body.get(key).and_then(Value::as_str).filter(|p| !p.is_empty()).map(str::to_owned) {
                    body.insert(format!("{key}-data"), json!(embedded(&path)?));
                    body.remove(key);
                }
            }
        }
    }
    Ok(())
}

/// A file's content in base64.
///
/// # Errors
/// It cannot be read.
pub fn embedded(path: &str) -> Result<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes = fs::read(path).map_err(|e| Error::message(format!("error reading {path}: {e}")))?;
    Ok(STANDARD.encode(bytes))
}
