//! `kubectl diff`: what `apply` would change, shown by an external program.
use super::{Command, apply};
use crate::{
    Context, Error, Result, manifests, printers,
    select::{self, Target, flag, text},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;
use std::{fs, path::Path};

pub struct Diff;

#[async_trait]
impl Command for Diff {
    fn words(&self) -> Words {
        let switch = |name: &'static str, help: &'static str| {
            crate::global::boolean(Arg::new(name).long(name)).default_value("false").help(help)
        };
        Words::new("diff")
            .about("Diff the live version against a would-be applied version")
            .arg(manifests::file_flag())
            .arg(select::selector())
            .arg(switch("server-side", "If true, apply runs in the server instead of the client."))
            .arg(switch("force-conflicts", "If true, server-side apply will force the changes against conflicts."))
            .arg(switch("show-managed-fields", "If true, include managed fields in the diff."))
            .arg(
                Arg::new("field-manager")
                    .long("field-manager")
                    .default_value("kubectl-client-side-apply")
                    .help("Name of the manager used to track field ownership."),
            )
    }

    /// 1 is a difference; trouble of any kind is more than that, as with the program `diff`.
    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        match diff(context, matches).await {
            Err(Error::Exit(code)) => Err(Error::Exit(code)),
            Err(error) => {
                error.report();
                Err(Error::Exit(2))
            }
            Ok(()) => Ok(()),
        }
    }
}

async fn diff(context: &Context, matches: &ArgMatches) -> Result<()> {
    if !manifests::given(matches) {
        return Err(Error::message("must specify one of -f and -k"));
    }
    let selector =
        apimachinery::labels::Selector::parse(&text(matches, "selector")).map_err(|e| Error::message(e.to_string()))?;
    let live = tempfile::Builder::new().prefix("LIVE-").tempdir()?;
    let merged = tempfile::Builder::new().prefix("MERGED-").tempdir()?;
    for object in manifests::read(context, matches).await? {
        if !selector.matches_with(|key| object["metadata"]["labels"][key].as_str()) {
            continue;
        }
        let target = select::of_object(context, &object).await?;
        let name = file_name(&target);
        let (mut before, mut after) = both(context, matches, &target, object).await?;
        if target.resource.kind == "Secret" {
            mask(before.as_mut(), after.as_mut());
        }
        for (folder, object) in [(&live, before), (&merged, after)] {
            write(&folder.path().join(&name), object, flag(matches, "show-managed-fields"))?;
        }
    }
    let code = run(live.path(), merged.path()).await?;
    if code == 0 { Ok(()) } else { Err(Error::Exit(code)) }
}

fn file_name(target: &Target) -> String {
    let resource = &target.resource;
    let group = if resource.group.is_empty() { String::new() } else { format!("{}.", resource.group) };
    format!(
        "{group}{}.{}.{}.{}",
        resource.version,
        resource.kind,
        target.namespace.as_deref().unwrap_or_default(),
        target.name.as_deref().unwrap_or_default()
    )
}

/// The object as it is, and as it would be.
async fn both(
    context: &Context,
    matches: &ArgMatches,
    target: &Target,
    mut object: Value,
) -> Result<(Option<Value>, Option<Value>)> {
    let api = context.api().await?;
    let live = match api.get(&target.path()).await {
        Ok(live) => Some(live),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let manager = text(matches, "field-manager");
    let query = |path: &str| crate::http::with_query(path, &[("dryRun", "All"), ("fieldManager", manager.as_str())]);
    if flag(matches, "server-side") {
        let force = if flag(matches, "force-conflicts") { "true" } else { "" };
        let path = crate::http::with_query(&query(&target.path()), &[("force", force)]);
        let merged = api.patch(&path, "application/apply-patch+yaml", &object).await?;
        return Ok((live, Some(merged)));
    }
    // What is remembered stays as it is: the annotation is no part of the comparison.
    let annotations = &mut object["metadata"]["annotations"];
    match annotations.as_object_mut() {
        Some(annotations) => drop(annotations.remove(crate::write::LAST_APPLIED)),
        None => *annotations = Value::Object(serde_json::Map::new()),
    }
    let merged = match &live {
        Some(live) => {
            let (kind, patch) = apply::three_way(target, &object, live)?;
            match patch.as_object().is_none_or(serde_json::Map::is_empty) {
                true => live.clone(),
                false => api.patch(&query(&target.path()), kind, &patch).await?,
            }
        }
        None => api.post(&query(&target.resource.collection(target.namespace.as_deref())), &object).await?,
    };
    Ok((live, Some(merged)))
}

/// The file of an object; an empty one for what is not there.
fn write(path: &Path, object: Option<Value>, managed: bool) -> Result<()> {
    let Some(mut object) = object else { return Ok(fs::write(path, "")?) };
    if !managed {
        printers::strip_managed_fields(&mut object);
    }
    Ok(fs::write(path, apimachinery::codec::yaml::to_string(&object))?)
}

/// Of a secret's values only whether they differ is shown.
fn mask(mut before: Option<&mut Value>, mut after: Option<&mut Value>) {
    let data = |object: &Option<&mut Value>| object.as_ref().map(|o| o["data"].clone()).unwrap_or_default();
    let (old, new) = (data(&before), data(&after));
    let hide = |object: &mut Option<&mut Value>, other: &Value, what: &str| {
        let Some(map) = object.as_mut().and_then(|object| object["data"].as_object_mut()) else { return };
        for (key, value) in map {
            let differs = !other[key].is_null() && other[key] != *value;
            *value = if differs { format!("*** ({what})") } else { "***".to_owned() }.into();
        }
    };
    hide(&mut before, &new, "before");
    hide(&mut after, &old, "after");
}

/// Run the program on both folders; its exit code, 1 for differences.
async fn run(live: &Path, merged: &Path) -> Result<i32> {
    let given = std::env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_default();
    let words: Vec<&str> = given.split_whitespace().collect();
    let (program, arguments) = match words.split_first() {
        Some((program, arguments)) => (*program, arguments.to_vec()),
        None => ("diff", vec!["-u", "-N"]),
    };
    let status = tokio::process::Command::new(program).args(arguments).arg(live).arg(merged).status().await;
    let status = status.map_err(|e| {
        let why = match e.kind() {
            std::io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
            _ => printers::go_text(&e),
        };
        Error::message(format!("failed to run {program:?}: {why}"))
    })?;
    match status.code() {
        Some(code @ (0 | 1)) => Ok(code),
        Some(code) => Err(Error::message(format!("failed to run {program:?}: exit status {code}"))),
        None => Err(Error::message(format!("failed to run {program:?}: it was killed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_secrets_are_hidden() {
        let (mut before, mut after) =
            (json!({"data": {"a": "1", "b": "2"}}), json!({"data": {"a": "1", "b": "3", "c": "4"}}));
        mask(Some(&mut before), Some(&mut after));
        assert_eq!(before["data"], json!({"a": "***", "b": "*** (before)"}));
        assert_eq!(after["data"], json!({"a": "***", "b": "*** (after)", "c": "***"}));
    }
}
