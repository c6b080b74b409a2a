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
        change(context, matches, "labels", "label", "kubectl-label").await
    }
}

#[async_trait]
impl Command for Annotate {
    fn words(&self) -> Words {
        flags(Words::new("annotate").about("Update the annotations on a resource"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        change(context, matches, "annotations", "annotation", "kubectl-annotate").await
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

fn apply(
    object: &mut Value,
    field: &str,
    singular: &str,
    set: &[(String, String)],
    removed: &[String],
    overwrite: bool,
) -> Result<Map<String, Value>> {
    let mut patch = Map::new();
    let current = object["metadata"][field].as_object().cloned().unwrap_or_default();
    for (key, value) in set {
        match current.get(key).and_then(Value::as_str) {
            Some(old) if old != value && !overwrite => {
                return Err(Error::message(format!("'{key}' already has a value ({old}), and --overwrite is false")));
            }
            _ => drop(patch.insert(key.clone(), json!(value))),
        }
    }
    for key in removed {
        if !current.contains_key(key) {
            eprintln!("{singular} \"{key}\" not found.");
        }
        patch.insert(key.clone(), Value::Null);
    }
    apimachinery::patch::merge_patch(object, json!({"metadata": {field: patch}}));
    Ok(patch)
}

async fn change(context: &Context, matches: &ArgMatches, field: &str, singular: &str, manager: &str) -> Result<()> {
    let writer = Writer::new(context, matches, manager)?;
    let (_, pairs) = split(words(matches, "words"));
    let (set, removed) = write::pairs(&pairs)?;
    let overwrite = flag(matches, "overwrite");
    let list = flag(matches, "list");
    if pairs.is_empty() && !list {
        return Err(Error::message(format!("at least one {singular} update is required")));
    }
    let unlabels = set.is_empty() && singular == "label";
    let done = if unlabels { "unlabeled".to_owned() } else { past(singular) };
    if flag(matches, "local") {
        for mut object in crate::manifests::read(&words(matches, "filename"), flag(matches, "recursive"))? {
            apply(&mut object, field, singular, &set, &removed, overwrite)?;
            let text = match writer.format.is_table() {
                true => format!(
                    "{}/{} {}\n",
                    object["kind"].as_str().unwrap_or_default().to_lowercase(),
                    object["metadata"]["name"].as_str().unwrap_or_default(),
                    past(singular)
                ),
                false => writer.format.object(&object, None)?,
            };
            context.print(text)?;
        }
        return Ok(());
    }
    for target in select::each(context, matches).await? {
        let api = context.api().await?;
        let mut object = api.get(&target.path()).await?;
        if list {
            for (key, value) in object["metadata"][field].as_object().into_iter().flatten() {
                context.line(format!("{key}={}", value.as_str().unwrap_or_default()))?;
            }
            continue;
        }
        let before = object["metadata"][field].clone();
        let mut patch = json!({"metadata": {field: apply(&mut object, field, singular, &set, &removed, overwrite)?}});
        let version = text(matches, "resource-version");
        if !version.is_empty() {
            patch["metadata"]["resourceVersion"] = json!(version);
        }
        if object["metadata"][field] == before {
            writer.report(&target.resource, object, &format!("not {}", past(singular)))?;
            continue;
        }
        if writer.dry_run != DryRun::Client {
            object = writer.patch(&target, "application/merge-patch+json", &patch).await?;
        }
        writer.report(&target.resource, object, &done)?;
    }
    Ok(())
}

fn past(singular: &str) -> String {
    if singular == "label" { "labeled".into() } else { "annotated".into() }
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
        let set = [("a".to_owned(), "2".to_owned())];
        let error = apply(&mut object, "labels", "label", &set, &[], false).expect_err("refused").text();
        assert_eq!(error, "error: 'a' already has a value (1), and --overwrite is false");
        apply(&mut object, "labels", "label", &set, &[], true).expect("overwritten");
        assert_eq!(object["metadata"]["labels"]["a"], "2");
    }
}
