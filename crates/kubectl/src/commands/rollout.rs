//! `kubectl rollout`: status, history, undo, restart, pause and resume.
use super::{Command, revisions};
use crate::{
    Context, Error, Result,
    http::with_query,
    select::{self, Target, flag, text},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct Rollout;

/// Where a deployment and its replica sets note their revision.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";

#[async_trait]
impl Command for Rollout {
    fn words(&self) -> Words {
        let form = |name: &'static str, about: &'static str| write::flags(select::add(Words::new(name).about(about)));
        let revision = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_parser(clap::value_parser!(i64)).default_value("0").help(help)
        };
        Words::new("rollout")
            .about("Manage the rollout of a resource")
            .subcommand_required(true)
            .subcommand(
                form("status", "Show the status of the rollout")
                    .arg(
                        crate::global::boolean(Arg::new("watch").short('w').long("watch"))
                            .default_value("true")
                            .help("Watch the status of the rollout until it's done."),
                    )
                    .arg(revision("revision", "Pin to a specific revision for showing its status."))
                    .arg(
                        crate::global::duration(Arg::new("timeout"))
                            .long("timeout")
                            .default_value("0s")
                            .help("The length of time to wait before ending watch, zero means never."),
                    ),
            )
            .subcommand(
                form("history", "View rollout history")
                    .arg(revision("revision", "See the details, including podTemplate of the revision specified")),
            )
            .subcommand(
                form("undo", "Undo a previous rollout")
                    .arg(revision("to-revision", "The revision to rollback to. Default to 0 (last revision).")),
            )
            .subcommand(form("restart", "Restart a resource"))
            .subcommand(form("pause", "Mark the provided resource as paused"))
            .subcommand(form("resume", "Resume a paused resource"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let Some((name, inner)) = matches.subcommand() else { return Err(Error::Exit(1)) };
        let writer = Writer::new(context, inner, "kubectl-rollout")?;
        if select::is_empty(inner) {
            return Err(Error::message("required resource not specified"));
        }
        if let Some(revision) = inner.try_get_one::<i64>("revision").ok().flatten().filter(|revision| **revision < 0) {
            return Err(Error::message(format!("revision must be a positive integer: {revision}")));
        }
        let mut errors = Vec::new();
        let targets = named(context, inner).await?;
        if targets.is_empty() && !["history", "undo"].contains(&name) {
            eprintln!("No resources found in {} namespace.", context.namespace().await?);
        }
        for target in targets {
            let done = match name {
                "status" => status(context, inner, &target).await,
                "history" => revisions::history(&writer, inner, &target).await,
                "undo" => revisions::undo(&writer, inner, &target).await,
                "restart" => restart(&writer, &target).await,
                "pause" => pause(&writer, &target, true).await,
                _ => pause(&writer, &target, false).await,
            };
            errors.extend(done.err());
        }
        Error::collect(errors)
    }
}

/// A type without names is all of its objects.
async fn named(context: &Context, matches: &ArgMatches) -> Result<Vec<Target>> {
    let mut found = Vec::new();
    for target in select::targets(context, matches).await? {
        if target.name.is_some() {
            found.push(target);
            continue;
        }
        let labels = text(matches, "selector");
        let path = with_query(&target.path(), &[("labelSelector", labels.as_str())]);
        for item in context.api().await?.get(&path).await?["items"].as_array().into_iter().flatten() {
            let field = |name: &str| item["metadata"][name].as_str().map(str::to_owned);
            found.push(Target { name: field("name"), namespace: field("namespace"), ..target.clone() });
        }
    }
    Ok(found)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// What the state of a workload means: a message, and whether the rollout is done.
fn progress(object: &Value, revision: i64) -> Result<(String, bool)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let (spec, status) = (&object["spec"], &object["status"]);
    let seen = number(&object["metadata"]["generation"]) <= number(&status["observedGeneration"]);
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => {
            let current =
                object["metadata"]["annotations"][REVISION].as_str().and_then(|r| r.parse().ok()).unwrap_or(0);
            if revision > 0 && revision != current {
                return Err(Error::message(format!(
                    "desired revision ({revision}) is different from the running revision ({current})"
                )));
            }
            if !seen {
                return Ok(("Waiting for deployment spec update to be observed...\n".into(), false));
            }
            let conditions = status["conditions"].as_array().into_iter().flatten();
            if conditions.into_iter().any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded") {
                return Err(Error::message(format!("deployment \"{name}\" exceeded its progress deadline")));
            }
            let (wanted, updated) = (spec["replicas"].as_i64().unwrap_or(1), number(&status["updatedReplicas"]));
            let (all, available) = (number(&status["replicas"]), number(&status["availableReplicas"]));
            let waiting =
                |what: String| (format!("Waiting for deployment \"{name}\" rollout to finish: {what}...\n"), false);
            Ok(if updated < wanted {
                waiting(format!("{updated} out of {wanted} new replicas have been updated"))
            } else if all > updated {
                waiting(format!("{} old replicas are pending termination", all - updated))
            } else if available < updated {
                waiting(format!("{available} of {updated} updated replicas are available"))
            } else {
                (format!("deployment \"{name}\" successfully rolled out\n"), true)
            })
        }
        "DaemonSet" => {
            if !seen {
                return Ok(("Waiting for daemon set spec update to be observed...\n".into(), false));
            }
            let (wanted, updated) =
                (number(&status["desiredNumberScheduled"]), number(&status["updatedNumberScheduled"]));
            let available = number(&status["numberAvailable"]);
            Ok(if updated < wanted {
                (
                    format!(
                        "Waiting for daemon set \"{name}\" rollout to finish: {updated} out of {wanted} new pods have been updated...\n"
                    ),
                    false,
                )
            } else if available < wanted {
                (
                    format!(
                        "Waiting for daemon set \"{name}\" rollout to finish: {available} of {wanted} updated pods are available...\n"
                    ),
                    false,
                )
            } else {
                (format!("daemon set \"{name}\" successfully rolled out\n"), true)
            })
        }
        "StatefulSet" => {
            if spec["updateStrategy"]["type"] != "RollingUpdate" {
                return Err(Error::message("rollout status is only available for RollingUpdate strategy type"));
            }
            if !seen {
                return Ok(("Waiting for statefulset spec update to be observed...\n".into(), false));
            }
            let (wanted, ready) = (spec["replicas"].as_i64().unwrap_or(1), number(&status["readyReplicas"]));
            if ready < wanted {
                return Ok((format!("Waiting for {} pods to be ready...\n", wanted - ready), false));
            }
            let partition = &spec["updateStrategy"]["rollingUpdate"];
            if partition.is_object() {
                let updated = number(&status["updatedReplicas"]);
                let all = wanted - number(&partition["partition"]);
                return Ok(match updated < all {
                    true => (
                        format!(
                            "Waiting for partitioned roll out to finish: {updated} out of {all} new pods have been \
                             updated...\n"
                        ),
                        false,
                    ),
                    false => {
                        (format!("partitioned roll out complete: {updated} new pods have been updated...\n"), true)
                    }
                });
            }
            if status["updateRevision"] != status["currentRevision"] {
                let updated = number(&status["updatedReplicas"]);
                return Ok((
                    format!(
                        "waiting for statefulset rolling update to complete {updated} pods at revision {}...\n",
                        status["updateRevision"].as_str().unwrap_or_default()
                    ),
                    false,
                ));
            }
            let current = number(&status["currentReplicas"]);
            let revision = status["currentRevision"].as_str().unwrap_or_default();
            Ok((format!("statefulset rolling update complete {current} pods at revision {revision}...\n"), true))
        }
        kind => Err(Error::message(format!("no status viewer has been implemented for {kind}"))),
    }
}

async fn status(context: &Context, matches: &ArgMatches, target: &Target) -> Result<()> {
    let timeout = crate::global::span(matches, "timeout").length();
    let revision = matches.get_one::<i64>("revision").copied().unwrap_or(0);
    let follow = async {
        let api = context.api().await?;
        let only = format!("metadata.name={}", target.name.as_deref().unwrap_or_default());
        let collection = Target { name: None, ..target.clone() };
        loop {
            let mut object = api.get(&target.path()).await?;
            let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            let query = [("watch", "true"), ("fieldSelector", only.as_str()), ("resourceVersion", version.as_str())];
            let mut events = api.stream(&with_query(&collection.path(), &query), crate::http::JSON).await?;
            loop {
                let (message, done) = progress(&object, revision)?;
                context.print(&message)?;
                if done || !flag(matches, "watch") {
                    return Ok(());
                }
                match events.event().await? {
                    Some(event) if event["type"] == "DELETED" => return Err(Error::message("object has been deleted")),
                    Some(mut event) if event["type"] != "ERROR" => object = event["object"].take(),
                    _ => break,
                }
            }
        }
    };
    if timeout.is_zero() {
        return follow.await;
    }
    tokio::time::timeout(timeout, follow)
        .await
        .unwrap_or_else(|_| Err(Error::message("timed out waiting for the condition")))
}

async fn restart(writer: &Writer<'_>, target: &Target) -> Result<()> {
    let object = writer.context.api().await?.get(&target.path()).await?;
    let name = target.name.as_deref().unwrap_or_default();
    let qualified = target.resource.qualified();
    if !["Deployment", "DaemonSet", "StatefulSet"].contains(&target.resource.kind.as_str()) {
        return Err(Error::message(format!("{qualified} \"{name}\" restarting is not supported")));
    }
    if object["spec"]["paused"] == true {
        return Err(Error::message(format!(
            "{qualified} \"{name}\" can't restart paused deployment (run rollout resume first)"
        )));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    if object["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] == now.as_str() {
        return Err(Error::message(format!(
            "failed to create patch for {name}: if restart has already been triggered within the past second, please wait before \
             attempting to trigger another"
        )));
    }
    let patch =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    let done = match writer.dry_run {
        DryRun::Client => object,
        _ => writer.patch(target, "application/strategic-merge-patch+json", &patch).await?,
    };
    writer.report_typed(&target.resource, done, "restarted")
}

async fn pause(writer: &Writer<'_>, target: &Target, paused: bool) -> Result<()> {
    let object = writer.context.api().await?.get(&target.path()).await?;
    if target.resource.kind != "Deployment" {
        return Err(Error::message(format!(
            "{}.{} \"{}\" pausing is not supported",
            target.resource.plural,
            target.resource.group,
            target.name.as_deref().unwrap_or_default()
        )));
    }
    let word = if paused { "paused" } else { "resumed" };
    if (object["spec"]["paused"] == true) == paused {
        let state = if paused { "already paused" } else { "not paused" };
        let name = target.resource.qualified();
        return Err(Error::message(format!("{name} \"{}\" is {state}", target.name.as_deref().unwrap_or_default())));
    }
    let patch = json!({"spec": {"paused": if paused { json!(true) } else { Value::Null }}});
    let done = match writer.dry_run {
        DryRun::Client => object,
        _ => writer.patch(target, "application/merge-patch+json", &patch).await?,
    };
    writer.report_typed(&target.resource, done, word)
}
