//! `kubectl rollout`: status, history, undo, restart, pause and resume.
use super::Command;
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

const REVISION: &str = "deployment.kubernetes.io/revision";
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const HASH: &str = "pod-template-hash";

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
                        Arg::new("timeout")
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
        for target in select::each(context, inner).await? {
            match name {
                "status" => status(context, inner, &target).await?,
                "history" => history(context, inner, &target).await?,
                "undo" => undo(&writer, inner, &target).await?,
                "restart" => restart(&writer, &target).await?,
                "pause" => pause(&writer, &target, true).await?,
                _ => pause(&writer, &target, false).await?,
            }
        }
        Ok(())
    }
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
    let timeout =
        apimachinery::duration::parse(&text(matches, "timeout")).map_err(|e| Error::message(e.to_string()))?;
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

/// A deployment's replica sets with their revisions, the oldest first.
async fn revisions(context: &Context, target: &Target, deployment: &Value) -> Result<Vec<(i64, Value)>> {
    if target.resource.kind != "Deployment" {
        return Err(Error::message(format!(
            "rollout history and undo of a {} are not implemented",
            target.resource.kind
        )));
    }
    let resource = context.mapper().await?.resource("replicasets.apps")?.clone();
    let mut list = context.api().await?.get(&resource.collection(target.namespace.as_deref())).await?;
    let uid = &deployment["metadata"]["uid"];
    let mut found: Vec<(i64, Value)> = Vec::new();
    if let Value::Array(items) = list["items"].take() {
        for set in items {
            let owners = set["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            if owners.into_iter().any(|o| o["uid"] == *uid && o["controller"] == true)
                && let Some(revision) = set["metadata"]["annotations"][REVISION].as_str().and_then(|r| r.parse().ok())
            {
                found.push((revision, set));
            }
        }
    }
    found.sort_by_key(|(revision, _)| *revision);
    Ok(found)
}

async fn history(context: &Context, matches: &ArgMatches, target: &Target) -> Result<()> {
    let object = context.api().await?.get(&target.path()).await?;
    let found = revisions(context, target, &object).await?;
    let wanted = matches.get_one::<i64>("revision").copied().unwrap_or(0);
    let name = target.resource.object_name(target.name.as_deref().unwrap_or_default());
    if wanted > 0 {
        return match found.iter().find(|(revision, _)| *revision == wanted) {
            Some((_, set)) => {
                context.line(format!("{name} with revision #{wanted}"))?;
                context.print(apimachinery::codec::yaml::to_string(&set["spec"]["template"]))
            }
            None => Err(Error::message(format!("unable to find the specified revision {wanted} in history"))),
        };
    }
    if found.is_empty() {
        return context.print(format!("{name} \nNo rollout history found.\n"));
    }
    let mut writer = crate::printers::tabwriter::TabWriter::describing();
    writer.line("REVISION\tCHANGE-CAUSE");
    for (revision, set) in &found {
        writer.line(&format!(
            "{revision}\t{}",
            set["metadata"]["annotations"][CHANGE_CAUSE].as_str().unwrap_or("<none>")
        ));
    }
    context.print(format!("{name} \n{}\n", writer.take()))
}

async fn undo(writer: &Writer<'_>, matches: &ArgMatches, target: &Target) -> Result<()> {
    let context = writer.context;
    let object = context.api().await?.get(&target.path()).await?;
    let name = target.name.as_deref().unwrap_or_default();
    if object["spec"]["paused"] == true {
        return Err(Error::message(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
        ));
    }
    let found = revisions(context, target, &object).await?;
    let wanted = matches.get_one::<i64>("to-revision").copied().unwrap_or(0);
    let chosen =
        if wanted > 0 { found.iter().find(|(revision, _)| *revision == wanted) } else { found.iter().rev().nth(1) };
    let Some((revision, set)) = chosen else {
        return Err(Error::message(if wanted > 0 {
            format!("unable to find specified revision {wanted} in history")
        } else {
            format!("no rollout history found for deployment \"{name}\"")
        }));
    };
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    if template == object["spec"]["template"] {
        return writer.report(
            &target.resource,
            object,
            &format!("skipped rollback (current template already matches revision {revision})"),
        );
    }
    if writer.dry_run == DryRun::Client {
        return writer.report(&target.resource, object, "rolled back");
    }
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    let done = writer.patch(target, "application/json-patch+json", &patch).await?;
    writer.report(&target.resource, done, "rolled back")
}

async fn restart(writer: &Writer<'_>, target: &Target) -> Result<()> {
    let object = writer.context.api().await?.get(&target.path()).await?;
    if object["spec"]["paused"] == true {
        return Err(Error::message("can't restart paused deployment (run rollout resume first)"));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    let done = match writer.dry_run {
        DryRun::Client => object,
        _ => writer.patch(target, "application/strategic-merge-patch+json", &patch).await?,
    };
    writer.report(&target.resource, done, "restarted")
}

async fn pause(writer: &Writer<'_>, target: &Target, paused: bool) -> Result<()> {
    if target.resource.kind != "Deployment" {
        return Err(Error::message(format!(
            "{}.{} \"{}\" pausing is not supported",
            target.resource.plural,
            target.resource.group,
            target.name.as_deref().unwrap_or_default()
        )));
    }
    let object = writer.context.api().await?.get(&target.path()).await?;
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
    writer.report(&target.resource, done, word)
}
