//! `kubectl edit`, `create --edit` and `apply edit-last-applied`: objects in an editor until they are accepted.
//!
//! Several objects are edited as one list. What the server finds invalid opens the editor again, with the reasons above.
use super::{
    Command,
    editor::{self, Mode, Reason},
};
use crate::{
    Context, Error, Result, manifests,
    printers::{self, Format},
    select::{self, Target, flag, text},
    write::{self, LAST_APPLIED, Writer},
};
use apimachinery::{codec::yaml, patch, schema};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

pub struct Edit;

const CANCELLED: &str = "Edit cancelled, no valid changes were saved.";
const CHANGED_IDENTITY: &str = "At least one of apiVersion, kind and name was changed";

#[async_trait]
impl Command for Edit {
    fn words(&self) -> Words {
        write::flags(select::add(Words::new("edit").about("Edit a resource on the server")))
            .arg(write::validate_flag())
            .arg(
                crate::global::boolean(Arg::new("output-patch").long("output-patch"))
                    .default_value("false")
                    .help("Output the patch if the resource is edited."),
            )
            .arg(
                Arg::new("subresource")
                    .long("subresource")
                    .help("If specified, edit will operate on the subresource of the requested object."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-edit")?;
        if select::is_empty(matches) {
            return Err(Error::message(select::NOTHING_SELECTED));
        }
        let subresource = text(matches, "subresource");
        let mut originals = Vec::new();
        for target in select::each(context, matches).await? {
            let path = if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
            let mut object = context.api().await?.get(&path).await?;
            printers::strip_managed_fields(&mut object);
            originals.push(Original { target, path, object });
        }
        Session::new(&writer, matches, Mode::Live).run(&originals).await
    }
}

/// `kubectl apply edit-last-applied`.
///
/// # Errors
/// Nothing that is named was applied, or as `kubectl edit`.
pub async fn last_applied(context: &Context, matches: &ArgMatches) -> Result<()> {
    let writer = Writer::new(context, matches, "kubectl-client-side-apply")?;
    if select::is_empty(matches) {
        return Err(Error::message(select::NOTHING_SELECTED));
    }
    let mut originals = Vec::new();
    for target in select::each(context, matches).await? {
        let object = context.api().await?.get(&target.path()).await?;
        if let Some(applied) = object["metadata"]["annotations"][LAST_APPLIED].as_str() {
            originals.push(Original { path: target.path(), target, object: serde_json::from_str(applied)? });
        }
    }
    if originals.is_empty() {
        return Err(Error::message(
            "no last-applied-configuration annotation found on resources, to create the annotation, use command `kubectl apply \
             set-last-applied --create-annotation`",
        ));
    }
    Session::new(&writer, matches, Mode::LastApplied).run(&originals).await
}

/// `kubectl create --edit`: each object by itself.
///
/// # Errors
/// As `kubectl edit`.
pub async fn before_create(writer: &Writer<'_>, matches: &ArgMatches, objects: Vec<Value>) -> Result<()> {
    for object in objects {
        let target = select::of_object(writer.context, &object).await?;
        let original = Original { path: target.path(), target, object };
        Session::new(writer, matches, Mode::Create).run(&[original]).await?;
    }
    Ok(())
}

/// An object before it is edited.
struct Original {
    target: Target,
    /// Where a patch goes.
    path: String,
    object: Value,
}

struct Session<'a> {
    writer: &'a Writer<'a>,
    mode: Mode,
    show_patch: bool,
    as_json: bool,
}

/// What came of writing the objects.
#[derive(Default)]
struct Outcome {
    reasons: Vec<Reason>,
    retryable: bool,
    not_found: bool,
}

impl<'a> Session<'a> {
    fn new(writer: &'a Writer<'a>, matches: &ArgMatches, mode: Mode) -> Self {
        let as_json = matches!(writer.format, Format::Json);
        Session { writer, mode, show_patch: flag(matches, "output-patch"), as_json }
    }

    fn shown(&self, originals: &[Original]) -> String {
        let object = match originals {
            [one] => one.object.clone(),
            all => {
                let items: Vec<&Value> = all.iter().map(|original| &original.object).collect();
                json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
            }
        };
        if self.as_json { printers::json_string(&object) } else { yaml::to_string(&object) }
    }

    async fn run(&self, originals: &[Original]) -> Result<()> {
        let original = self.shown(originals);
        let extension = if self.as_json { "json" } else { "yaml" };
        let (mut body, mut reasons, mut last_file) = (original.clone(), Vec::new(), None::<PathBuf>);
        loop {
            let header = if self.as_json { String::new() } else { editor::header(self.mode, &reasons) };
            let failed = !reasons.is_empty();
            let edited = editor::edit(&format!("{header}{body}"), extension).await;
            let (file, edited) = edited.map_err(|error| kept(error, last_file.as_ref()))?;
            let edited = editor::plain(&edited);
            if failed && same(&edited, &body) {
                return Err(kept(Error::message(CANCELLED), Some(&file)));
            }
            if let Some(old) = last_file.replace(file.clone()) {
                let _ = fs::remove_file(old);
            }
            if let Err(why) = check(&edited) {
                if let [first, ..] = originals {
                    eprintln!("error: {} is invalid", named(&first.target));
                }
                reasons =
                    vec![Reason { head: format!("The edited file failed validation: {why}"), details: Vec::new() }];
                body = edited;
                continue;
            }
            if same(&edited, &original) {
                eprintln!("Edit cancelled, no changes made.");
                return Ok(fs::remove_file(file)?);
            }
            let outcome = self.write(originals, &edited).await.map_err(|error| kept(error, Some(&file)))?;
            if outcome.retryable {
                eprintln!("You can run `kubectl replace -f {}` to try this update again.", file.display());
                return Err(Error::Exit(1));
            }
            if outcome.not_found {
                eprintln!(
                    "The edits you made on deleted resources have been saved to {:?}",
                    file.display().to_string()
                );
                return Err(Error::Exit(1));
            }
            if outcome.reasons.is_empty() {
                return Ok(fs::remove_file(file)?);
            }
            (reasons, body) = (outcome.reasons, edited);
        }
    }

    /// Send what was edited; the server's refusals are told of and gathered.
    async fn write(&self, originals: &[Original], edited: &str) -> Result<Outcome> {
        let value = yaml::parse(edited).map_err(|e| Error::message(e.to_string()))?;
        let objects = match value["items"].as_array() {
            Some(items) if value["kind"] == "List" => items.clone(),
            _ => vec![value],
        };
        let mut outcome = Outcome::default();
        for object in objects {
            let written = match self.mode {
                Mode::Create => self.create(&object).await,
                _ => self.patch(originals, &object).await,
            };
            let Err(error) = written else { continue };
            let Error::Server(status) = error else { return Err(error) };
            let name = match originals.iter().find(|original| is_same(&original.object, &object)) {
                Some(original) => named(&original.target),
                None => return Err(Error::Server(status)),
            };
            match status.reason.as_str() {
                "Invalid" => {
                    eprintln!("error: {name} is invalid");
                    let causes = status.body["details"]["causes"].as_array().into_iter().flatten();
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let details = causes.map(|c| format!("{}: {}", text(&c["field"]), text(&c["message"]))).collect();
                    outcome.reasons.push(Reason { head: format!("{name} was not valid"), details });
                }
                "NotFound" => {
                    eprintln!("error: {name} could not be found on the server");
                    outcome.not_found = true;
                }
                _ => {
                    eprintln!("error: {name} could not be patched: {}", status.message);
                    outcome.retryable = true;
                }
            }
        }
        Ok(outcome)
    }

    async fn create(&self, object: &Value) -> Result<()> {
        let target = select::of_object(self.writer.context, object).await?;
        let created = self.writer.create(&target, object).await?;
        self.writer.report(&target.resource, created, "created")
    }

    async fn patch(&self, originals: &[Original], object: &Value) -> Result<()> {
        let found = match originals {
            [one] => Some(one),
            all => all.iter().find(|original| is_same(&original.object, object)),
        };
        let Some(original) = found else {
            return Err(Error::message(format!("no original object found for {object}")));
        };
        let resource = &original.target.resource;
        if original.object == *object {
            return self.writer.report(resource, object.clone(), "skipped");
        }
        let (kind, patch) = match self.mode {
            Mode::LastApplied => {
                let applied = format!("{}\n", serde_json::to_string(object)?);
                let patch = json!({"metadata": {"annotations": {LAST_APPLIED: applied}}});
                ("application/merge-patch+json", patch)
            }
            _ => difference(&original.target, &original.object, object)?,
        };
        if self.show_patch {
            self.writer.context.line(format!("Patch: {patch}"))?;
        }
        let path = self.writer.path(&original.path);
        let edited = self.writer.context.api().await?.patch(&path, kind, &patch).await?;
        self.writer.report(resource, edited, "edited")
    }
}

/// Say where the file is that the user has worked on.
fn kept(error: Error, file: Option<&PathBuf>) -> Error {
    if let Some(file) = file.filter(|file| file.exists()) {
        eprintln!("A copy of your changes has been stored to {:?}", file.display().to_string());
    }
    error
}

/// `configmaps "a"`, `deployments.apps "web"`.
fn named(target: &Target) -> String {
    format!("{} {:?}", target.resource.qualified(), target.name.as_deref().unwrap_or_default())
}

/// Whether two texts mean the same.
fn same(one: &str, other: &str) -> bool {
    match (yaml::parse(one), yaml::parse(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// What is seen without asking the server.
fn check(edited: &str) -> std::result::Result<(), String> {
    let value = yaml::parse(edited).map_err(|e| e.to_string())?;
    if !value.is_object() {
        return Err("invalid object to validate".into());
    }
    manifests::type_of(&value).map(drop).map_err(|e| e.bare())
}

/// Whether an edited object is this one: by its uid, or by its name where there is none yet.
fn is_same(original: &Value, edited: &Value) -> bool {
    let (before, after) = (&original["metadata"], &edited["metadata"]);
    match before["uid"].is_string() {
        true => before["uid"] == after["uid"],
        false => before["name"] == after["name"] && original["kind"] == edited["kind"],
    }
}

/// The patch from one state to the other, and its content type.
fn difference(target: &Target, before: &Value, after: &Value) -> Result<(&'static str, Value)> {
    if manifests::type_of(before)? != manifests::type_of(after)?
        || before["metadata"]["name"] != after["metadata"]["name"]
    {
        return Err(Error::message(CHANGED_IDENTITY));
    }
    Ok(match schema::of(&target.resource.group, &target.resource.version, &target.resource.kind) {
        Some(schema) => {
            let patch = patch::two_way_strategic(before, after, schema).map_err(|e| Error::message(e.to_string()))?;
            ("application/strategic-merge-patch+json", patch)
        }
        None => ("application/merge-patch+json", patch::merge_diff(before, after)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_edit_means() {
        let original = "a: 1\nb: 2\n";
        assert!(same("b: 2\na: 1\n", original) && !same("a: 2\nb: 2\n", original));
        assert_eq!(check("apiVersion: v1\nkind: Pod\n"), Ok(()));
        for wrong in ["", "a: [\n", "apiVersion: v1\n", "- a\n"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn objects_are_told_apart() {
        let object = |uid: Value, name: &str| json!({"kind": "Pod", "metadata": {"uid": uid, "name": name}});
        assert!(is_same(&object(json!("u"), "a"), &object(json!("u"), "b")));
        assert!(!is_same(&object(json!("u"), "a"), &object(json!("v"), "a")));
        assert!(is_same(&object(Value::Null, "a"), &object(Value::Null, "a")));
    }
}
