//! `kubectl apply`: client-side, by the last-applied annotation and a three-way merge; or passed on to the server.
//!
//! Source: "Declarative management of Kubernetes objects using configuration files".
use super::{Command, last_applied, prune};
use crate::{
    Context, Error, Result,
    global::boolean,
    manifests::{self, Manifest},
    select::{self, Target, flag, text},
    write::{self, DryRun, LAST_APPLIED, Writer, remember_applied},
};
use apimachinery::{patch, schema};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::time::Duration;

pub struct Apply;

/// Conflicts are tried again that often.
const ATTEMPTS: usize = 5;
/// How long `--force` waits until a deleted object is gone, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[async_trait]
impl Command for Apply {
    fn words(&self) -> Words {
        write::flags(Words::new("apply").about("Apply a configuration to a resource by file name or stdin"))
            .arg(manifests::file_flag())
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
            .args(prune::flags())
            .args_conflicts_with_subcommands(true)
            .subcommands(last_applied::words())
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        match matches.subcommand() {
            Some(("view-last-applied", inner)) => return last_applied::view(context, inner).await,
            Some(("set-last-applied", inner)) => return last_applied::set(context, inner).await,
            Some((_, inner)) => return super::edit::last_applied(context, inner).await,
            None => {}
        }
        if !manifests::given(matches) {
            return Err(Error::message("must specify one of -f and -k"));
        }
        let server_side = flag(matches, "server-side");
        check_flags(matches, server_side)?;
        let manager = if server_side { "kubectl" } else { "kubectl-client-side-apply" };
        let writer = Writer::new(context, matches, manager)?;
        let selector = text(matches, "selector");
        let selector = apimachinery::labels::Selector::parse(&selector).map_err(|e| Error::message(e.to_string()))?;
        let prune = match flag(matches, "prune") {
            true => Some(prune::Prune::new(matches)?),
            false => None,
        };
        let (mut manifests, unread) = manifests::read_sourced(context, matches).await?;
        manifests.retain(|m| selector.matches_with(|key: &str| m.object["metadata"]["labels"][key].as_str()));
        if manifests.is_empty() && unread.is_empty() {
            return Err(Error::message("no objects passed to apply"));
        }
        writer.gather();
        let mut errors = unread;
        let mut seen = prune::Seen::default();
        let force = Force { wanted: flag(matches, "force"), grace: grace(matches) };
        for manifest in manifests {
            let applied = match server_side {
                true => server(&writer, manifest, flag(matches, "force-conflicts")).await,
                false => client(&writer, manifest, force).await,
            };
            match applied {
                Ok((target, object)) => seen.add(&target, &object),
                Err(error) => errors.push(error),
            }
        }
        writer.print_gathered()?;
        Error::collect(errors)?;
        match prune {
            Some(prune) => prune.run(&writer, &seen).await,
            None => Ok(()),
        }
    }
}

/// # Errors
/// Flags that do not go together.
fn check_flags(matches: &ArgMatches, server_side: bool) -> Result<()> {
    let refused = if flag(matches, "force-conflicts") && !server_side {
        "--force-conflicts only works with --server-side"
    } else if text(matches, "dry-run") == "client" && server_side {
        "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)"
    } else if flag(matches, "force") && server_side {
        "--force cannot be used with --server-side"
    } else if !text(matches, "subresource").is_empty() && !server_side {
        "--subresource can only be specified for --server-side"
    } else {
        return Ok(());
    };
    Err(Error::message(refused))
}

/// `--grace-period`.
pub(super) fn grace(matches: &ArgMatches) -> i64 {
    matches.get_one::<i64>("grace-period").copied().unwrap_or(-1)
}

/// What was applied, and what the server made of it.
type Applied = (Target, Value);

async fn server(writer: &Writer<'_>, manifest: Manifest, force: bool) -> Result<Applied> {
    let target = manifests::target(writer.context, &manifest, writer.validates()).await?;
    let path = crate::http::with_query(&writer.path(&target.path()), &[("force", if force { "true" } else { "" })]);
    let api = writer.context.api().await?;
    let applied = api.patch(&path, "application/apply-patch+yaml", &manifest.object).await;
    let applied = applied.map_err(|error| match error {
        Error::Server(status) if status.code == 415 => {
            Error::message(format!("Server-side apply not available on the server: ({})", status.message))
        }
        other => other,
    })?;
    writer.report(&target.resource, applied.clone(), "serverside-applied")?;
    Ok((target, applied))
}

/// `--force`, and `--grace-period` for what it deletes.
#[derive(Clone, Copy)]
struct Force {
    wanted: bool,
    grace: i64,
}

async fn client(writer: &Writer<'_>, manifest: Manifest, force: Force) -> Result<Applied> {
    let target = manifests::target(writer.context, &manifest, writer.validates()).await?;
    let Manifest { source, mut object } = manifest;
    if object["metadata"]["generateName"].is_string() && target.name.is_none() {
        return Err(Error::message(format!(
            "from {}: cannot use generate name with apply",
            object["metadata"]["generateName"].as_str().unwrap_or_default()
        )));
    }
    if let Some(namespace) = &target.namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    remember_applied(&mut object)?;
    let api = writer.context.api().await?;
    for _ in 0..ATTEMPTS {
        let current = match api.get(&target.path()).await {
            Ok(current) => current,
            Err(error) if error.is_not_found() => {
                let created = writer.create(&target, &object).await;
                let created = created.map_err(|e| e.during("creating", Some(&source)))?;
                writer.report(&target.resource, created.clone(), "created")?;
                return Ok((target, created));
            }
            Err(error) => return Err(error.prefixed(&retrieving(&target, &source))),
        };
        match update(writer, &target, &object, current, &source, force).await {
            Err(error) if error.is_conflict() => {}
            done => return done.map(|object| (target, object)),
        }
    }
    Err(Error::message(format!("{}: the object keeps changing", target.name.as_deref().unwrap_or_default())))
}

/// Bring an object that exists to what the file says.
async fn update(
    writer: &Writer<'_>,
    target: &Target,
    object: &Value,
    current: Value,
    source: &str,
    force: Force,
) -> Result<Value> {
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
        writer.report(&target.resource, current.clone(), "unchanged")?;
        return Ok(current);
    }
    if writer.dry_run == DryRun::Client {
        let merged = super::patch::patched(current, kind, &patch, &target.resource)?;
        writer.report(&target.resource, merged.clone(), "configured")?;
        return Ok(merged);
    }
    let applied = match writer.patch(target, kind, &patch).await {
        Err(Error::Server(status)) if force.wanted && ["Conflict", "Invalid"].contains(&status.reason.as_str()) => {
            replace(writer, target, object, &current, force.grace).await?
        }
        Err(error) if error.is_conflict() => return Err(error),
        applied => applied
            .map_err(|error| error.during("patching", Some(source)).prefixed(&refusal(target, &patch, source)))?,
    };
    writer.report(&target.resource, applied.clone(), "configured")?;
    Ok(applied)
}

/// How `--force` and `--prune` delete; a negative time leaves it to the object.
pub(super) fn deletion(grace: i64) -> Value {
    let mut options = json!({"propagationPolicy": "Background"});
    if grace >= 0 {
        options["gracePeriodSeconds"] = json!(grace);
    }
    options
}

/// `--force`: delete the object and create it as the file says; what was there comes back when that fails.
async fn replace(writer: &Writer<'_>, target: &Target, object: &Value, current: &Value, grace: i64) -> Result<Value> {
    let api = writer.context.api().await?;
    api.delete(&target.path(), &deletion(grace)).await?;
    let gone = async {
        while api.get(&target.path()).await.is_ok() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // A finalizer may hold it for as long as it likes.
    let waited = tokio::time::timeout(PATIENCE, gone).await;
    waited.map_err(|_| Error::message("timed out waiting for the condition"))?;
    match writer.create(target, object).await {
        Ok(created) => Ok(created),
        Err(refused) => {
            let mut before = current.clone();
            for field in ["resourceVersion", "uid", "creationTimestamp", "generation"] {
                if let Some(metadata) = before["metadata"].as_object_mut() {
                    metadata.remove(field);
                }
            }
            match writer.create(target, &before).await {
                Ok(_) => Err(refused),
                Err(error) => Err(Error::message(format!(
                    "An error occurred force-replacing the existing object with the newly provided one:\n\n{}.\n\n\
                     Additionally, an error occurred attempting to restore the original object:\n\n{}",
                    refused.bare(),
                    error.bare()
                ))),
            }
        }
    }
}

/// What stands before the reason why an object cannot be looked at.
fn retrieving(target: &Target, source: &str) -> String {
    format!("error when retrieving current configuration of:\n{}\nfrom server for: \"{source}\": ", described(target))
}

/// What stands before the reason why a patch was refused.
fn refusal(target: &Target, patch: &Value, source: &str) -> String {
    format!("error when applying patch:\n{patch}\nto:\n{}\nfor: \"{source}\": ", described(target))
}

/// Resource, kind, name and namespace, as errors tell of them.
fn described(target: &Target) -> String {
    let resource = &target.resource;
    let version = if resource.group.is_empty() { format!("/{}", resource.version) } else { resource.group_version() };
    let (name, namespace) =
        (target.name.as_deref().unwrap_or_default(), target.namespace.as_deref().unwrap_or_default());
    format!(
        "Resource: \"{version}, Resource={}\", GroupVersionKind: \"{version}, Kind={}\"\nName: \"{name}\", Namespace: \
         \"{namespace}\"",
        resource.plural, resource.kind
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_is_for_what_is_deleted() {
        let cases = [(-1, Value::Null), (0, json!(0)), (5, json!(5))];
        for (given, want) in cases {
            let words = ["apply".to_owned(), "-f=x".to_owned(), format!("--grace-period={given}")];
            let matches = super::super::command().no_binary_name(true).get_matches_from(words);
            assert_eq!(super::super::refused(&matches), None);
            let apply = matches.subcommand_matches("apply").expect("apply");
            assert_eq!(deletion(grace(apply))["gracePeriodSeconds"], want);
        }
    }
}
