//! `kubectl apply`: client-side, by the last-applied annotation and a three-way merge; or passed on to the server.
//!
//! Source: "Declarative management of Kubernetes objects using configuration files".
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    manifests,
    select::{self, Target, flag, text, words},
    write::{self, DryRun, LAST_APPLIED, Writer, remember_applied},
};
use apimachinery::{patch, schema};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Apply;

/// Conflicts are tried again that often.
const ATTEMPTS: usize = 5;

#[async_trait]
impl Command for Apply {
    fn words(&self) -> Words {
        write::flags(Words::new("apply").about("Apply a configuration to a resource by file name or stdin"))
            .arg(manifests::file_flag())
            .arg(manifests::recursive_flag())
            .arg(select::selector())
            .arg(write::validate_flag())
            .arg(
                boolean(Arg::new("overwrite").long("overwrite"))
                    .default_value("true")
                    .help("Automatically resolve conflicts between the modified and live configuration"),
            )
            .arg(
                boolean(Arg::new("server-side").long("server-side"))
                    .default_value("false")
                    .help("If true, apply runs in the server instead of the client."),
            )
            .arg(
                boolean(Arg::new("force-conflicts").long("force-conflicts"))
                    .default_value("false")
                    .help("If true, server-side apply will force the changes against conflicts."),
            )
            .arg(
                boolean(Arg::new("prune").long("prune"))
                    .default_value("false")
                    .help("Automatically delete resource objects that do not appear in the configs"),
            )
            .arg(
                Arg::new("kustomize")
                    .short('k')
                    .long("kustomize")
                    .action(ArgAction::Append)
                    .help("Process a kustomization directory."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        for missing in ["prune"] {
            if flag(matches, missing) {
                return Err(Error::message(format!("apply --{missing} is not implemented")));
            }
        }
        if !words(matches, "kustomize").is_empty() {
            return Err(Error::message("apply --kustomize is not implemented"));
        }
        let files = words(matches, "filename");
        if files.is_empty() {
            return Err(Error::message("must specify one of -f and -k"));
        }
        let server_side = flag(matches, "server-side");
        let manager = if server_side { "kubectl" } else { "kubectl-client-side-apply" };
        let writer = Writer::new(context, matches, manager)?;
        let selector = text(matches, "selector");
        let selector = apimachinery::labels::Selector::parse(&selector).map_err(|e| Error::message(e.to_string()))?;
        let mut errors = Vec::new();
        for object in manifests::read(&files, flag(matches, "recursive"))? {
            let label = |key: &str| object["metadata"]["labels"][key].as_str();
            if !selector.matches_with(label) {
                continue;
            }
            let force = flag(matches, "force-conflicts");
            let applied =
                if server_side { server(&writer, object, force).await } else { client(&writer, object).await };
            errors.extend(applied.err());
        }
        Error::collect(errors)
    }
}

async fn server(writer: &Writer<'_>, object: Value, force: bool) -> Result<()> {
    let target = select::of_object(writer.context, &object).await?;
    let path = crate::http::with_query(&writer.path(&target.path()), &[("force", if force { "true" } else { "" })]);
    let api = writer.context.api().await?;
    let applied = api.patch(&path, "application/apply-patch+yaml", &object).await?;
    writer.report(&target.resource, applied, "serverside-applied")
}

async fn client(writer: &Writer<'_>, mut object: Value) -> Result<()> {
    let target = select::of_object(writer.context, &object).await?;
    if object["metadata"]["generateName"].is_string() && target.name.is_none() {
        return Err(Error::message(format!(
            "from {}: cannot use generate name with apply",
            object["metadata"]["generateName"].as_str().unwrap_or_default()
        )));
    }
    remember_applied(&mut object)?;
    let api = writer.context.api().await?;
    for _ in 0..ATTEMPTS {
        let current = match api.get(&target.path()).await {
            Ok(current) => current,
            Err(error) if error.is_not_found() => {
                let created = writer.create(&target, &object).await?;
                return writer.report(&target.resource, created, "created");
            }
            Err(error) => return Err(error),
        };
        match update(writer, &target, &object, current).await {
            Err(error) if error.is_conflict() => {}
            done => return done,
        }
    }
    Err(Error::message(format!("{}: the object keeps changing", target.name.as_deref().unwrap_or_default())))
}

/// Bring an object that exists to what the file says.
async fn update(writer: &Writer<'_>, target: &Target, object: &Value, current: Value) -> Result<()> {
    let annotation = current["metadata"]["annotations"][LAST_APPLIED].as_str();
    if annotation.is_none() {
        eprintln!(
            "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply \
             should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The \
             missing annotation will be patched automatically.",
            target.resource.plural,
            target.name.as_deref().unwrap_or_default()
        );
    }
    let (kind, patch) = three_way(target, object, &current)?;
    if patch.as_object().is_none_or(serde_json::Map::is_empty) {
        return writer.report(&target.resource, current, "unchanged");
    }
    if writer.dry_run == DryRun::Client {
        return writer.report(&target.resource, object.clone(), "configured");
    }
    let applied = writer.patch(target, kind, &patch).await?;
    writer.report(&target.resource, applied, "configured")
}

/// The patch, and its content type, that brings an object to what a file says.
pub(super) fn three_way(target: &Target, object: &Value, current: &Value) -> Result<(&'static str, Value)> {
    let annotation = current["metadata"]["annotations"][LAST_APPLIED].as_str();
    let original: Value = annotation.map(serde_json::from_str).transpose()?.unwrap_or_else(|| json!({}));
    let refused = |e: &dyn std::fmt::Display| Error::message(format!("creating patch: {e}"));
    Ok(match schema::of(&target.resource.group, &target.resource.version, &target.resource.kind) {
        Some(schema) => {
            let patch = patch::three_way_strategic(&original, object, current, schema).map_err(|e| refused(&e))?;
            ("application/strategic-merge-patch+json", patch)
        }
        None => ("application/merge-patch+json", patch::three_way_merge(&original, object, current)),
    })
}
