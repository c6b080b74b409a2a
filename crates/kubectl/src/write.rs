//! Changing objects: dry runs, field validation, the last-applied annotation, and what is said afterwards.
use crate::{
    Context, Error, Result,
    global::boolean,
    http::with_query,
    mapper::Resource,
    printers::{self, Format},
    select::{self, Target, flag, text},
};
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where client-side apply remembers what it was given.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    None,
    Client,
    Server,
}

impl DryRun {
    /// What is added to "created", "configured", ….
    pub fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// `--dry-run`, `-o`, `--field-manager`.
pub fn flags(command: Words) -> Words {
    command
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .num_args(0..=1)
                .require_equals(true)
                .default_value("none")
                .default_missing_value("unchanged")
                .help("Must be \"none\", \"server\", or \"client\"."),
        )
        .arg(printers::output_flag())
        .arg(Arg::new("field-manager").long("field-manager").help("Name of the manager used to track field ownership."))
        .arg(
            boolean(Arg::new("show-managed-fields").long("show-managed-fields"))
                .default_value("false")
                .help("If true, keep the managedFields when printing objects in JSON or YAML format."),
        )
}

/// `--validate`, for commands that take manifests.
pub fn validate_flag() -> Arg {
    Arg::new("validate")
        .long("validate")
        .num_args(0..=1)
        .require_equals(true)
        .default_value("strict")
        .default_missing_value("strict")
        .help("Must be one of: strict (or true), warn, ignore (or false).")
}

/// How a command writes.
pub struct Writer<'a> {
    pub context: &'a Context,
    pub dry_run: DryRun,
    pub format: Format,
    validation: &'static str,
    manager: String,
    show_managed_fields: bool,
    /// What is printed together at the end, when several objects are one list.
    gathered: Mutex<Option<Vec<Value>>>,
}

impl<'a> Writer<'a> {
    /// `manager`: the default field manager, such as `kubectl-create`.
    ///
    /// # Errors
    /// A flag has a value that it cannot have.
    pub fn new(context: &'a Context, matches: &ArgMatches, manager: &str) -> Result<Self> {
        let dry_run = match text(matches, "dry-run").as_str() {
            "" | "none" | "false" => DryRun::None,
            "client" | "unchanged" | "true" => DryRun::Client,
            "server" => DryRun::Server,
            other => {
                return Err(Error::message(format!(
                    "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
                )));
            }
        };
        let validation = match text(matches, "validate").as_str() {
            "" => "",
            "strict" | "true" => "Strict",
            "warn" => "Warn",
            "ignore" | "false" => "Ignore",
            other => {
                return Err(Error::message(format!(
                    "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
                )));
            }
        };
        let given = text(matches, "field-manager");
        Ok(Writer {
            context,
            dry_run,
            format: Format::of(matches)?,
            validation,
            manager: if given.is_empty() { manager.to_owned() } else { given },
            show_managed_fields: flag(matches, "show-managed-fields"),
            gathered: Mutex::new(None),
        })
    }

    /// From now on, objects in formats that show all of them are kept for [`Self::print_gathered`].
    pub fn gather(&self) {
        if !self.format.is_table() && !matches!(self.format, Format::Name) {
            *self.gathered() = Some(Vec::new());
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Option<Vec<Value>>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One object as it is, several as a list.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn print_gathered(&self) -> Result<()> {
        let Some(mut objects) = self.gathered().take() else { return Ok(()) };
        match objects.len() {
            0 => Ok(()),
            1 => self.context.print(self.format.object(&objects.remove(0), None)?),
            _ => {
                let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects});
                let text = match self.format {
                    Format::Json => printers::json_list(&list),
                    _ => self.format.object(&list, None)?,
                };
                self.context.print(text)
            }
        }
    }

    /// Manifests are looked at before they are sent.
    pub fn validates(&self) -> bool {
        self.validation != "Ignore"
    }

    /// A path with the parameters of a write.
    pub fn path(&self, path: &str) -> String {
        let dry_run = if self.dry_run == DryRun::Server { "All" } else { "" };
        with_query(path, &[("dryRun", dry_run), ("fieldManager", &self.manager), ("fieldValidation", self.validation)])
    }

    /// Create an object, or only pretend; what the server made of it.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn create(&self, target: &Target, object: &Value) -> Result<Value> {
        if self.dry_run == DryRun::Client {
            return Ok(object.clone());
        }
        let collection = target.resource.collection(target.namespace.as_deref());
        self.context.api().await?.post(&self.path(&collection), object).await
    }

    /// # Errors
    /// The server refuses it.
    pub async fn patch(&self, target: &Target, kind: &str, patch: &Value) -> Result<Value> {
        self.context.api().await?.patch(&self.path(&target.path()), kind, patch).await
    }

    /// Say what happened, in the format asked for.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn report(&self, resource: &Resource, object: Value, what: &str) -> Result<()> {
        self.tell(resource, object, &format!("{what}{}", self.dry_run.suffix()))
    }

    /// As [`Self::report`], without a word about dry runs.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn tell(&self, resource: &Resource, mut object: Value, what: &str) -> Result<()> {
        if !self.show_managed_fields {
            printers::strip_managed_fields(&mut object);
        }
        if let Some(gathered) = self.gathered().as_mut() {
            gathered.push(object);
            return Ok(());
        }
        printers::changed(self.context, &self.format, resource, &object, what)
    }

    /// As [`Self::report`], for commands that know the object's type: its JSON has the order of Go's structures.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn report_typed(&self, resource: &Resource, mut object: Value, what: &str) -> Result<()> {
        if !self.show_managed_fields {
            printers::strip_managed_fields(&mut object);
        }
        match self.format {
            Format::Json | Format::Kyaml => self.context.print(self.format.typed_object(&object, Some(resource))?),
            _ => self.report(resource, object, what),
        }
    }

    /// An object that a command made up: created and told of. `--dry-run=client` needs no server at all.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn create_generated(&self, mut object: Value) -> Result<Value> {
        if self.dry_run == DryRun::Client {
            if let Some(namespace) = self.context.global.namespace.as_ref().filter(|_| is_namespaced(&object)) {
                object["metadata"]["namespace"] = namespace.clone().into();
            }
            let (api_version, kind) = crate::manifests::type_of(&object)?;
            let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
            let resource = Resource { group: group.into(), version: version.into(), kind, ..Resource::default() };
            self.report_typed(&resource, object.clone(), "created")?;
            return Ok(object);
        }
        let (target, created) = self.create_made(&object).await?;
        self.report_typed(&target.resource, created.clone(), "created")?;
        Ok(created)
    }

    /// As [`Self::create_generated`], on the server and without a word.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn create_made(&self, object: &Value) -> Result<(Target, Value)> {
        let target = select::of_object(self.context, object).await?;
        let created = self.create(&target, object).await.map_err(|error| explain(error, object))?;
        Ok((target, created))
    }
}

/// Failures to create what a command made up carry its kind: `failed to create deployment: …`.
fn explain(error: Error, object: &Value) -> Error {
    let Error::Server(status) = error else { return error };
    let kind = object["kind"].as_str().unwrap_or_default();
    if ["Namespace", "Role", "ClusterRole", "Pod"].contains(&kind) {
        return Error::Server(status);
    }
    let what = match kind {
        "Secret" => return Error::message(format!("failed to create secret {}", status.message)),
        "Service" => format!("{} service", object["spec"]["type"].as_str().unwrap_or("ClusterIP")),
        "ResourceQuota" => "quota".to_owned(),
        "PodDisruptionBudget" => "poddisruptionbudgets".to_owned(),
        other => other.to_lowercase(),
    };
    Error::message(format!("failed to create {what}: {}", status.message))
}

/// Kinds that `create` makes and that stand in no namespace.
fn is_namespaced(object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    !["Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass", "PersistentVolume", "StorageClass"]
        .contains(&kind)
}

/// Write down the object as it was given, for the next apply.
///
/// # Errors
/// The object cannot be serialised.
pub fn remember_applied(object: &mut Value) -> Result<()> {
    let mut plain = object.clone();
    if let Some(annotations) = plain["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    // The official one always writes the annotations, be they empty.
    if plain["metadata"]["annotations"].is_null() {
        plain["metadata"]["annotations"] = serde_json::json!({});
    }
    let mut text = serde_json::to_string(&plain)?;
    text.push('\n');
    object["metadata"]["annotations"][LAST_APPLIED] = text.into();
    Ok(())
}

/// As [`remember_applied`], for an object that a command made: it has the order of Go's structures, and no annotations
/// that nobody gave it.
pub fn remember_made(object: &mut Value) {
    let text = printers::compact_typed(object);
    object["metadata"]["annotations"][LAST_APPLIED] = format!("{text}\n").into();
}

/// What to set, and what to remove.
pub type Pairs = (Vec<(String, String)>, Vec<String>);

/// Add or remove labels or annotations: `a=b`, `a-`.
///
/// # Errors
/// A word is neither.
pub fn pairs(words: &[String]) -> Result<Pairs> {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => set.push((key.to_owned(), value.to_owned())),
            (None, Some(key)) if !key.is_empty() => removed.push(key.to_owned()),
            _ => return Err(Error::message(format!("unknown pair spec: {word}"))),
        }
    }
    Ok((set, removed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_made_is_remembered_in_the_order_of_go() {
        let mut object = json!({"apiVersion": "v1", "data": {"b": "1", "a": "<"}, "kind": "ConfigMap", "metadata": {
            "labels": {"x": "y"}, "name": "cm"}});
        remember_made(&mut object);
        assert_eq!(
            object["metadata"]["annotations"][LAST_APPLIED],
            "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"cm\",\"labels\":{\"x\":\"y\"}},\
             \"data\":{\"a\":\"\\u003c\",\"b\":\"1\"}}\n"
        );
    }
}
