//! `kustomization.yaml`: found, read, and held against the fields that are known.
use crate::{Error, Result};
use apimachinery::codec::yaml;
use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
};

const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
const MAX_BYTES: u64 = 64 * 1024 * 1024;

const DONE: [&str; 21] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "bases",
    "components",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "images",
    "replicas",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "sortOptions",
];

/// Fields of the format that are refused here.
const MISSING: [&str; 11] = [
    "configurations",
    "crds",
    "buildMetadata",
    "generators",
    "helmCharts",
    "helmChartInflationGenerator",
    "helmGlobals",
    "openapi",
    "replacements",
    "transformers",
    "validators",
];

#[derive(Debug)]
pub struct Kustomization {
    pub folder: PathBuf,
    /// Files outside of the folder are refused.
    pub restrict: bool,
    fields: Map<String, Value>,
}

impl Kustomization {
    /// # Errors
    /// There is no such file, or it has fields that are unknown or not supported.
    pub fn load(folder: &Path, restrict: bool) -> Result<Kustomization> {
        let found: Vec<PathBuf> = NAMES.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect();
        let path = match found.as_slice() {
            [one] => one,
            [] => {
                return Err(Error::Plain(format!(
                    "error: unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{}'",
                    folder.display()
                )));
            }
            _ => return Err(Error::message(format!("Found multiple kustomization files under: {}", folder.display()))),
        };
        let value = yaml::parse(&read(path)?).map_err(|e| Error::message(format!("{}: {e}", path.display())))?;
        let Value::Object(fields) = value else {
            return Err(Error::message(format!("kustomization.yaml is empty: {}", path.display())));
        };
        for name in fields.keys() {
            if MISSING.contains(&name.as_str()) || name == "vars" {
                return Err(Error::message(format!("{}: the field \"{name}\" is not implemented", path.display())));
            }
            if !DONE.contains(&name.as_str()) {
                return Err(Error::message(format!("invalid Kustomization: json: unknown field \"{name}\"")));
            }
        }
        Ok(Kustomization { folder: folder.to_owned(), restrict, fields })
    }

    pub fn get(&self, field: &str) -> &Value {
        self.fields.get(field).unwrap_or(&Value::Null)
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        self.get(field).as_str().filter(|text| !text.is_empty())
    }

    pub fn order(&self) -> Option<&str> {
        match self.get("sortOptions")["order"].as_str() {
            None => None,
            other => other,
        }
    }

    /// The items of a list, none when it is not there.
    pub fn items(&self, field: &str) -> &[Value] {
        self.get(field).as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// A list of texts; `resources` takes those of its old name `bases`, too.
    ///
    /// # Errors
    /// An item is no text.
    pub fn list(&self, field: &str) -> Result<Vec<String>> {
        let old = if field == "resources" { self.items("bases") } else { &[] };
        let texts = self.items(field).iter().chain(old).map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<_>>().ok_or_else(|| Error::message(format!("{field}: a path is expected")))
    }

    /// A file or folder that the kustomization names.
    ///
    /// # Errors
    /// It is not there, or a file stands outside of the folder.
    pub fn locate(&self, entry: &str, field: &str) -> Result<PathBuf> {
        if entry.contains("://") || entry.starts_with("github.com/") || entry.starts_with("git@") {
            return Err(Error::message(format!("{field}: {entry}: remote locations are not implemented")));
        }
        let path = self.folder.join(entry);
        let place = path.canonicalize().map_err(|error| {
            let why = crate::printers::go_text(&error);
            let verb = if field == "resources" { "accumulating resources" } else { field };
            Error::message(format!("{verb}: accumulation err='accumulating resources from '{entry}': {why}'"))
        })?;
        let inside = place.starts_with(self.folder.canonicalize()?);
        if self.restrict && !inside && !place.is_dir() {
            return Err(Error::message(format!(
                "security; file '{}' is not in or below '{}'",
                place.display(),
                self.folder.display()
            )));
        }
        Ok(place)
    }
}

/// Documents as YAML 1.2 reads them: `y` and `off` are texts.
///
/// # Errors
/// In the parser's words.
pub fn core_yaml(text: &str) -> std::result::Result<Vec<Value>, String> {
    let options = serde_saphyr::options! { strict_booleans: true, legacy_octal_numbers: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|e| e.to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// # Errors
/// It cannot be read, is too large, or is no text.
pub fn read(path: &Path) -> Result<String> {
    String::from_utf8(bytes(path)?).map_err(|_| Error::message(format!("{}: not UTF-8", path.display())))
}

/// # Errors
/// It cannot be read, or is too large.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let refused =
        |e: &std::io::Error| Error::message(format!("open {}: {}", path.display(), crate::printers::go_text(e)));
    let size = fs::metadata(path).map_err(|e| refused(&e))?.len();
    if size > MAX_BYTES {
        return Err(Error::message(format!("{}: larger than {MAX_BYTES} bytes", path.display())));
    }
    fs::read(path).map_err(|e| refused(&e))
}

/// The documents of a file, lists unfolded.
///
/// # Errors
/// It cannot be read or parsed.
pub fn objects(path: &Path) -> Result<Vec<Value>> {
    let documents = core_yaml(&read(path)?)
        .map_err(|e| Error::message(format!("accumulating resources from '{}': {e}", path.display())))?;
    let mut found = Vec::new();
    for mut document in documents {
        let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => found.extend(items),
            _ => found.push(document),
        }
    }
    Ok(found)
}
