//! Kubeconfig files: writing one of our own, and merging a context into the user's.
//!
//! Source: `client.config.k8s.io` v1 (`kubectl config view`). What we do not know in a user's file stays as it is.
use crate::Error;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::path::Path;

/// One cluster, one user and the context that joins them.
pub struct Entry<'a> {
    /// The name of all three.
    pub name: &'a str,
    pub server: &'a str,
    pub ca_pem: &'a str,
    pub cert_pem: &'a str,
    pub key_pem: &'a str,
}

impl Entry<'_> {
    fn cluster(&self) -> Value {
        json!({"name": self.name, "cluster": {
            "certificate-authority-data": STANDARD.encode(self.ca_pem), "server": self.server}})
    }

    fn user(&self) -> Value {
        json!({"name": self.name, "user": {
            "client-certificate-data": STANDARD.encode(self.cert_pem), "client-key-data": STANDARD.encode(self.key_pem)}})
    }

    fn context(&self) -> Value {
        json!({"name": self.name, "context": {"cluster": self.name, "user": self.name}})
    }

    /// The whole file as YAML.
    pub fn to_yaml(&self) -> String {
        render(&json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": self.name,
            "clusters": [self.cluster()], "users": [self.user()], "contexts": [self.context()],
        }))
    }
}

fn render(value: &Value) -> String {
    // JSON values of strings, lists and maps always serialise.
    serde_saphyr::to_string(value).unwrap_or_default()
}

/// Write a kubeconfig of its own, mode 0600.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, entry: &Entry<'_>) -> Result<(), Error> {
    crate::write_private(path, entry.to_yaml().as_bytes())
}

fn read(path: &Path) -> Result<Value, Error> {
    let refused = |why: String| Error::Kubeconfig { path: path.to_owned(), why };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(Error::File { path: path.to_owned(), source }),
    };
    if text.trim().is_empty() {
        return Ok(json!({"apiVersion": "v1", "kind": "Config", "preferences": {}}));
    }
    let value: Value = serde_saphyr::from_str(&text).map_err(|e| refused(e.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(refused("not a mapping".into())) }
}

/// Drop the entry called `name` from a list, then add `with`.
fn replace(config: &mut Value, list: &str, name: &str, with: Option<Value>) {
    let Some(config) = config.as_object_mut() else { return };
    let slot = config.entry(list).or_insert(Value::Null);
    if !slot.is_array() {
        *slot = json!([]);
    }
    if let Some(items) = slot.as_array_mut() {
        items.retain(|item| item["name"] != name);
        items.extend(with);
    }
}

/// Add (or renew) `entry` in the file at `path` and make it the current context; everything else stays.
///
/// # Errors
/// The file is not a kubeconfig, or cannot be written.
pub fn merge(path: &Path, entry: &Entry<'_>) -> Result<(), Error> {
    let mut config = read(path)?;
    replace(&mut config, "clusters", entry.name, Some(entry.cluster()));
    replace(&mut config, "users", entry.name, Some(entry.user()));
    replace(&mut config, "contexts", entry.name, Some(entry.context()));
    config["current-context"] = json!(entry.name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| Error::File { path: parent.to_owned(), source })?;
    }
    rewrite(path, &config)
}

/// That [`merge`] can read what is at `path`, and write it.
///
/// # Errors
/// The file is not a kubeconfig, or cannot be read, or nothing can be written where it is.
pub fn check(path: &Path) -> Result<(), Error> {
    read(path)?;
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    // Asked of the kernel by doing it: who we are and how it is mounted both count.
    let probe = folder.join(format!(".kubeconfig.{}", std::process::id()));
    let wrote = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    wrote.and_then(|_| std::fs::remove_file(&probe)).map_err(|source| Error::File { path, source })
}

/// In place of what is there, behind a link too, and its owner's as before: a user's file stays one when root changes it.
fn rewrite(path: &Path, config: &Value) -> Result<(), Error> {
    use std::os::unix::fs::{MetadataExt, chown};
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let wrap = |source| Error::File { path: path.clone(), source };
    let text =
        serde_saphyr::to_string(config).map_err(|e| Error::Kubeconfig { path: path.clone(), why: e.to_string() })?;
    let before = std::fs::metadata(&path).ok();
    crate::write_private(&path, text.as_bytes())?;
    let (Some(before), now) = (before, std::fs::metadata(&path).map_err(wrap)?) else { return Ok(()) };
    if (before.uid(), before.gid()) == (now.uid(), now.gid()) {
        return Ok(());
    }
    chown(&path, Some(before.uid()), Some(before.gid())).map_err(wrap)
}

/// Take the entry called `name` out again; a file that is not there is no error.
///
/// # Errors
/// The file is not a kubeconfig, or cannot be written.
pub fn remove(path: &Path, name: &str) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let mut config = read(path)?;
    for list in ["clusters", "users", "contexts"] {
        replace(&mut config, list, name, None);
    }
    if config["current-context"] == name {
        config["current-context"] = json!("");
    }
    rewrite(path, &config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry<'_> {
        Entry { name, server: "https://127.0.0.1:6443", ca_pem: "ca", cert_pem: "cert", key_pem: "key" }
    }

    #[test]
    fn merging_keeps_what_was_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("sub/config");
        merge(&path, &entry("one")).expect("a new file");
        merge(&path, &entry("two")).expect("a second context");
        merge(&path, &entry("two")).expect("again");
        let config = read(&path).expect("readable");
        let names: Vec<_> = config["contexts"].as_array().expect("list").iter().map(|c| c["name"].clone()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(config["current-context"], "two");
        remove(&path, "two").expect("removed");
        let config = read(&path).expect("readable");
        assert_eq!(config["users"].as_array().expect("list").len(), 1);
        assert_eq!(config["current-context"], "");
    }

    #[test]
    fn a_link_stays_one_and_the_owner_too() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let dir = tempfile::tempdir().expect("tempdir");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        merge(&real, &entry("one")).expect("a new file");
        // Only root can give a file away.
        let owner = if chown(&real, Some(12345), Some(12345)).is_ok() {
            12345
        } else {
            std::fs::metadata(&real).expect("there").uid()
        };
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        merge(&link, &entry("two")).expect("merged");
        assert!(std::fs::symlink_metadata(&link).expect("there").is_symlink());
        let found = std::fs::metadata(&real).expect("there");
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (owner, 0o600));
        assert_eq!(read(&real).expect("readable")["contexts"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("config");
        std::fs::write(&path, "- just\n- a list\n").expect("written");
        assert!(matches!(merge(&path, &entry("one")), Err(Error::Kubeconfig { .. })));
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "- just\n- a list\n");
    }
}
