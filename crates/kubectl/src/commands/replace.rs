//! `kubectl replace`: put objects as files say, or delete and create them again.
use super::Command;
use crate::{
    Context, Error, Result,
    manifests::{self, Manifest},
    select::{self, Target, flag, text},
    write::{self, DryRun, Writer, remember_applied},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

pub struct Replace;

const POLL: Duration = Duration::from_millis(100);
/// How long `--force` waits for the old object to go when no timeout is given.
const PATIENCE: Duration = Duration::from_secs(300);

#[async_trait]
impl Command for Replace {
    fn words(&self) -> Words {
        let switch = |name: &'static str, help: &'static str| {
            crate::global::boolean(Arg::new(name).long(name)).default_value("false").help(help)
        };
        write::flags(Words::new("replace").about("Replace a resource by file name or stdin"))
            .arg(manifests::file_flag())
            .arg(write::validate_flag())
            .arg(switch("force", "If true, immediately remove resources from API and bypass graceful deletion."))
            .arg(switch("save-config", "If true, the configuration of current object will be saved in its annotation."))
            .arg(switch("wait", "If true, wait for resources to be gone before returning."))
            .arg(Arg::new("cascade").long("cascade").help("Must be \"background\", \"orphan\", or \"foreground\"."))
            .arg(
                Arg::new("grace-period")
                    .long("grace-period")
                    .allow_negative_numbers(true)
                    .value_parser(clap::value_parser!(i64))
                    .default_value("-1")
                    .help("Period of time in seconds given to the resource to terminate gracefully."),
            )
            .arg(
                crate::global::duration(Arg::new("timeout"))
                    .long("timeout")
                    .default_value("0s")
                    .help("The length of time to wait before giving up on a delete"),
            )
            .arg(Arg::new("raw").long("raw").help("Raw URI to PUT to the server."))
            .arg(
                Arg::new("subresource")
                    .long("subresource")
                    .help("If specified, replace will operate on the subresource of the requested object."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        if !manifests::given(matches) {
            return Err(Error::message("must specify one of -f and -k"));
        }
        let writer = Writer::new(context, matches, "kubectl-replace")?;
        let cascade = text(matches, "cascade");
        if !["", "orphan", "foreground", "background", "true", "false"].contains(&cascade.as_str()) {
            return Err(Error::message(format!(
                "invalid cascade value ({cascade}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
        let grace = matches.get_one::<i64>("grace-period").copied().unwrap_or(-1);
        if grace >= 0 && !flag(matches, "force") {
            return Err(Error::message("--grace-period must have --force specified"));
        }
        let raw = text(matches, "raw");
        let (manifests, mut errors) = manifests::read_sourced(context, matches).await?;
        if flag(matches, "force") && raw.is_empty() {
            return forced(&writer, matches, manifests).await;
        }
        for Manifest { source, mut object } in manifests {
            if !raw.is_empty() {
                context.print(context.api().await?.put_raw(&raw, serde_json::to_vec(&object)?).await?)?;
                continue;
            }
            if flag(matches, "save-config") {
                remember_applied(&mut object)?;
            }
            let replaced = replace(&writer, matches, object).await;
            errors.extend(replaced.err().map(|e| e.during("replacing", Some(&source))));
        }
        Error::collect(errors)
    }
}

/// Everything is deleted, and gone, before anything is created.
async fn forced(writer: &Writer<'_>, matches: &ArgMatches, manifests: Vec<Manifest>) -> Result<()> {
    let mut targets = Vec::new();
    for Manifest { source, mut object } in manifests {
        let target = select::of_object(writer.context, &object).await?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("uid");
        }
        if flag(matches, "save-config") {
            remember_applied(&mut object)?;
        }
        targets.push((target, object, source));
    }
    let mut waiting = Vec::new();
    for (target, ..) in targets.iter().filter(|_| writer.dry_run == DryRun::None) {
        if remove(writer, matches, target).await? {
            waiting.push(target);
        }
    }
    for target in waiting {
        gone(writer, matches, target).await?;
    }
    for (target, object, source) in targets {
        let created = writer.create(&target, &object).await.map_err(|e| e.during("creating", Some(&source)))?;
        writer.report(&target.resource, created, "replaced")?;
    }
    Ok(())
}

async fn replace(writer: &Writer<'_>, matches: &ArgMatches, mut object: Value) -> Result<()> {
    let target = select::of_object(writer.context, &object).await?;
    if writer.dry_run == DryRun::Client {
        return writer.report(&target.resource, object, "replaced");
    }
    let api = writer.context.api().await?;
    let subresource = text(matches, "subresource");
    let path = if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
    if object["metadata"]["resourceVersion"].is_null() {
        // Without a current object, the server says what is wrong.
        match api.get(&target.path()).await {
            Ok(current) => object["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone(),
            Err(Error::Server(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let replaced = api.put(&writer.path(&path), &object).await?;
    writer.report(&target.resource, replaced, "replaced")
}

/// Whether there was anything to delete.
async fn remove(writer: &Writer<'_>, matches: &ArgMatches, target: &Target) -> Result<bool> {
    let api = writer.context.api().await?;
    let grace = matches.get_one::<i64>("grace-period").copied().unwrap_or(-1).max(0);
    let policy = match text(matches, "cascade").as_str() {
        "orphan" => "Orphan",
        "foreground" => "Foreground",
        _ => "Background",
    };
    match api.delete(&target.path(), &json!({"gracePeriodSeconds": grace, "propagationPolicy": policy})).await {
        Err(error) if error.is_not_found() => return Ok(false),
        other => drop(other?),
    }
    let name = target.name.as_deref().unwrap_or_default();
    let kind = target.resource.object_name("");
    let place = target.namespace.as_ref().map(|n| format!(" from {n} namespace")).unwrap_or_default();
    writer.context.line(format!("{} \"{name}\" deleted{place}", kind.trim_end_matches('/')))?;
    Ok(true)
}

async fn gone(writer: &Writer<'_>, matches: &ArgMatches, target: &Target) -> Result<()> {
    let api = writer.context.api().await?;
    let patience = crate::global::span(matches, "timeout");
    let deadline = Instant::now() + if patience.is_zero() { PATIENCE } else { patience.length() };
    loop {
        match api.get(&target.path()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => drop(other?),
        }
        if Instant::now() > deadline {
            return Err(Error::message("timed out waiting for the condition"));
        }
        tokio::time::sleep(POLL).await;
    }
}
