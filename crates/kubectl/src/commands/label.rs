//! `kubectl label` and `kubectl annotate`: the same command over two maps.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    select::{self, flag, text, words},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Map, Value, json};

pub struct Label;
pub struct Annotate;

fn flags(command: Words) -> Words {
    write::flags(select::add(command))
        .arg(select::all_namespaces())
        .arg(select::field_selector())
        .arg(
            boolean(Arg::new("all").long("all"))
                .default_value("false")
                .help("Select all resources, in the namespace of the specified resource types"),
        )
        .arg(
            boolean(Arg::new("overwrite").long("overwrite"))
                .default_value("false")
                .help("If true, allow values to be overwritten"),
        )
        .arg(
            boolean(Arg::new("list").long("list"))
                .default_value("false")
                .help("If true, display the values for a given resource."),
        )
        .arg(
            boolean(Arg::new("local").long("local"))
                .default_value("false")
                .help("If true, will NOT contact api-server but run locally."),
        )
        .arg(
            Arg::new("resource-version").long("resource-version").help(
                "If non-empty, the update will only succeed if this is the current resource-version for the object.",
            ),
        )
}

#[async_trait]
impl Command for Label {
    fn words(&self) -> Words {
        flags(Words::new("label").about("Update the labels on a resource"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        change(context, matches, "label", "kubectl-label").await
    }
}

#[async_trait]
impl Command for Annotate {
    fn words(&self) -> Words {
        flags(Words::new("annotate").about("Update the annotations on a resource"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        change(context, matches, "annotation", "kubectl-annotate").await
    }
}

/// What stands before the first pair selects objects, the rest are pairs.
fn split(all: Vec<String>) -> (Vec<String>, Vec<String>) {
    let is_pair = |word: &String| word.contains('=') || word.ends_with('-');
    let first = all.iter().position(is_pair).unwrap_or(all.len());
    let mut selecting = all;
    let pairs = selecting.split_off(first);
    (selecting, pairs)
}

/// What is to happen to a map.
struct Change {
    /// `label` or `annotation`.
    singular: &'static str,
    set: Vec<(String, String)>,
    removed: Vec<String>,
    overwrite: bool,
}

impl Change {
    fn field(&self) -> &'static str {
        if self.singular == "label" { "labels" } else { "annotations" }
    }

    /// `labeled`, `annotated`.
    fn done(&self) -> &'static str {
        if self.singular == "label" { "labeled" } else { "annotated" }
    }

    fn check(&self) -> Result<()> {
        if self.set.iter().any(|(key, _)| self.removed.contains(key)) {
            let what = if self.singular == "label" { "a label" } else { "an annotation" };
            return Err(Error::message(format!("can not both modify and remove {what} in the same command")));
        }
        if self.singular == "label" {
            for (key, value) in &self.set {
                if let Some(why) = apimachinery::validation::is_valid_label_value(value).first() {
                    return Err(Error::message(format!("invalid label value: \"{key}={value}\": {why}")));
                }
            }
        }
        Ok(())
    }

    /// Change an object; the patch that does the same on the server, and the keys that were not there to remove.
    fn apply(&self, object: &mut Value) -> Result<(Value, Vec<String>)> {
        let field = self.field();
        let (mut patch, mut absent) = (Map::new(), Vec::new());
        let current = object["metadata"][field].as_object().cloned().unwrap_or_default();
        for (key, value) in &self.set {
            match current.get(key).and_then(Value::as_str) {
                Some(old) if !self.overwrite && (old != value || self.singular != "label") => {
                    let lead = match self.singular {
                        "label" => {
                            return Err(Error::message(format!(
                                "'{key}' already has a value ({old}), and --overwrite is false"
                            )));
                        }
                        _ => "--overwrite is false but found the following declared annotation(s)",
                    };
                    if old != value {
                        return Err(Error::message(format!("{lead}: '{key}' already has a value ({old})")));
                    }
                }
                _ => drop(patch.insert(key.clone(), json!(value))),
            }
        }
        for key in &self.removed {
            if !current.contains_key(key) {
                absent.push(key.clone());
            }
            patch.insert(key.clone(), Value::Null);
        }
        let patch = json!({"metadata": {field: patch}});
        apimachinery::patch::merge_patch(object, patch.clone());
        Ok((patch, absent))
    }

    /// Labels tell of keys that were not there; annotations do not.
    fn tell_absent(&self, context: &Context, absent: &[String]) -> Result<()> {
        let told = absent.iter().filter(|_| self.singular == "label");
        told.into_iter().try_for_each(|key| context.line(format!("label \"{key}\" not found.")))
    }
}

async fn change(context: &Context, matches: &ArgMatches, singular: &'static str, manager: &str) -> Result<()> {
    let writer = Writer::new(context, matches, manager)?;
    let (_, pairs) = split(words(matches, "words"));
    let (set, removed) = write::pairs(&pairs)?;
    let list = flag(matches, "list");
    if select::is_empty(matches) {
        return Err(Error::message(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    if pairs.is_empty() && !list {
        return Err(Error::message(format!("at least one {singular} update is required")));
    }
    let change = Change { singular, set, removed, overwrite: flag(matches, "overwrite") };
    change.check()?;
    if flag(matches, "local") {
        return local(context, matches, &writer, &change).await;
    }
    let unlabels = change.set.is_empty() && singular == "label";
    let mut errors = Vec::new();
    for target in select::each(context, matches).await? {
        let api = context.api().await?;
        let mut object = match api.get(&target.path()).await {
            Ok(object) => object,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let before = object["metadata"][change.field()].clone();
        let (mut patch, absent) = change.apply(&mut object)?;
        change.tell_absent(context, &absent)?;
        let version = text(matches, "resource-version");
        if !version.is_empty() {
            patch["metadata"]["resourceVersion"] = json!(version);
        }
        let same = object["metadata"][change.field()] == before;
        // A list shows what would be, and writes nothing.
        if list {
            for (key, value) in object["metadata"][change.field()].as_object().into_iter().flatten() {
                context.line(format!("{key}={}", value.as_str().unwrap_or_default()))?;
            }
            continue;
        }
        if same && singular == "label" {
            writer.report(&target.resource, object, "not labeled")?;
            continue;
        }
        if writer.dry_run != DryRun::Client {
            object = writer.patch(&target, "application/merge-patch+json", &patch).await?;
        }
        let done = if unlabels { "unlabeled" } else { change.done() };
        writer.report(&target.resource, object, done)?;
    }
    Error::collect(errors)
}

/// `--local`: what files say, changed and printed.
async fn local(context: &Context, matches: &ArgMatches, writer: &Writer<'_>, change: &Change) -> Result<()> {
    for mut object in crate::manifests::read(context, matches).await? {
        let (_, absent) = change.apply(&mut object)?;
        change.tell_absent(context, &absent)?;
        let text = match writer.format.is_table() {
            true => format!(
                "{}/{} {}\n",
                object["kind"].as_str().unwrap_or_default().to_lowercase(),
                object["metadata"]["name"].as_str().unwrap_or_default(),
                change.done()
            ),
            false => writer.format.object(&object, None)?,
        };
        context.print(text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_follow_names() {
        let all = ["pods", "web", "a=b", "c-"].map(str::to_owned).to_vec();
        let (selecting, pairs) = split(all);
        assert_eq!((selecting.len(), pairs.len()), (2, 2));
    }

    #[test]
    fn a_value_is_not_overwritten_by_accident() {
        let mut object = json!({"metadata": {"labels": {"a": "1"}}});
        let mut change =
            Change { singular: "label", set: vec![("a".into(), "2".into())], removed: Vec::new(), overwrite: false };
        let error = change.apply(&mut object).expect_err("refused").text();
        assert_eq!(error, "error: 'a' already has a value (1), and --overwrite is false");
        change.overwrite = true;
        change.apply(&mut object).expect("overwritten");
        assert_eq!(object["metadata"]["labels"]["a"], "2");
    }
}
