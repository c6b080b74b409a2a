//! `kubectl cordon`, `uncordon` and `drain`: nodes that take no new pods, and lose those they have.
use super::Command;
use crate::{
    Context, Error, Result,
    http::with_query,
    select::{self, Target, flag, text, words},
    write::{DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

pub struct Cordon;
pub struct Uncordon;
pub struct Drain;

/// A disruption budget that refuses is asked again after that.
const REFUSED: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(500);

fn flags(words: Words) -> Words {
    words.arg(Arg::new("words").num_args(0..).value_name("NODE")).arg(select::selector()).arg(
        Arg::new("dry-run")
            .long("dry-run")
            .num_args(0..=1)
            .require_equals(true)
            .default_value("none")
            .default_missing_value("client")
            .help("Must be \"none\", \"server\", or \"client\"."),
    )
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    crate::global::boolean(Arg::new(name).long(name)).default_value("false").help(help)
}

async fn nodes(context: &Context, matches: &ArgMatches, command: &str) -> Result<Vec<Target>> {
    let (names, labels) = (words(matches, "words"), text(matches, "selector"));
    if names.is_empty() && labels.is_empty() {
        return Err(Error::usage(command, format!("USAGE: {command} NODE [flags]")));
    }
    if !names.is_empty() && !labels.is_empty() {
        return Err(Error::message("error: cannot specify both a node name and a --selector option"));
    }
    let resource = context.mapper().await?.resource("nodes")?.clone();
    let target = |name: &str| Target { resource: resource.clone(), name: Some(name.to_owned()), namespace: None };
    if !names.is_empty() {
        return Ok(names.iter().map(|n| target(n.strip_prefix("node/").unwrap_or(n))).collect());
    }
    let list = context.api().await?.get(&with_query(&resource.collection(None), &[("labelSelector", &labels)])).await?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|n| n["metadata"]["name"].as_str()).map(target).collect())
}

/// Let a node take pods, or not.
async fn cordon(writer: &Writer<'_>, target: &Target, cordoned: bool) -> Result<()> {
    let node = writer.context.api().await?.get(&target.path()).await?;
    let word = if cordoned { "cordoned" } else { "uncordoned" };
    let name = target.resource.object_name(target.name.as_deref().unwrap_or_default());
    if (node["spec"]["unschedulable"] == true) == cordoned {
        return writer.context.line(format!("{name} already {word}{}", writer.dry_run.suffix()));
    }
    if writer.dry_run != DryRun::Client {
        let patch = json!({"spec": {"unschedulable": if cordoned { json!(true) } else { Value::Null }}});
        writer.patch(target, "application/strategic-merge-patch+json", &patch).await?;
    }
    writer.context.line(format!("{name} {word}{}", writer.dry_run.suffix()))
}

#[async_trait]
impl Command for Cordon {
    fn words(&self) -> Words {
        flags(Words::new("cordon").about("Mark node as unschedulable"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-cordon")?;
        for target in nodes(context, matches, "cordon").await? {
            cordon(&writer, &target, true).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Command for Uncordon {
    fn words(&self) -> Words {
        flags(Words::new("uncordon").about("Mark node as schedulable"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-uncordon")?;
        for target in nodes(context, matches, "uncordon").await? {
            cordon(&writer, &target, false).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Command for Drain {
    fn words(&self) -> Words {
        flags(Words::new("drain").about("Drain node in preparation for maintenance"))
            .arg(switch("ignore-daemonsets", "Ignore DaemonSet-managed pods."))
            .arg(switch("delete-emptydir-data", "Continue even if there are pods using emptyDir (local data that will be deleted when the node is drained)."))
            .arg(switch("force", "Continue even if there are pods that do not declare a controller."))
            .arg(switch("disable-eviction", "Force drain to use delete, even if eviction is supported."))
            .arg(Arg::new("grace-period").long("grace-period").allow_negative_numbers(true).value_parser(clap::value_parser!(i64)).default_value("-1").help("Period of time in seconds given to each pod to terminate gracefully."))
            .arg(crate::global::duration(Arg::new("timeout")).long("timeout").default_value("0s").help("The length of time to wait before giving up, zero means infinite"))
            .arg(Arg::new("pod-selector").long("pod-selector").help("Label selector to filter pods on the node"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-drain")?;
        let patience = crate::global::span(matches, "timeout");
        let deadline = (!patience.is_zero()).then(|| Instant::now() + patience.length());
        let targets = nodes(context, matches, "drain").await?;
        for target in &targets {
            cordon(&writer, target, true).await?;
        }
        let (mut errors, mut remaining) = (Vec::new(), Vec::new());
        for target in &targets {
            let name = target.name.as_deref().unwrap_or_default();
            match drain(&writer, matches, name, deadline).await {
                Ok(()) => {
                    let object = target.resource.object_name(name);
                    context.line(format!("{object} drained{}", writer.dry_run.suffix()))?;
                }
                Err(error) => {
                    remaining.push(name);
                    let why = bare(&error);
                    eprintln!("error: unable to drain node \"{name}\" due to error: {why}, continuing command...");
                    eprintln!("There are pending nodes to be drained:");
                    remaining.iter().for_each(|name| eprintln!(" {name}"));
                    match error {
                        Error::Many(all) => errors.extend(all),
                        // Told of as one of several, even when it is the only one.
                        Error::Message(text) => errors.push(Error::Plain(text)),
                        one => errors.push(one),
                    }
                }
            }
        }
        Error::collect(errors)
    }
}

/// Several at once stand between brackets.
fn bare(error: &Error) -> String {
    if let Error::Many(all) = error {
        return format!("[{}]", all.iter().map(bare).collect::<Vec<_>>().join(", "));
    }
    let text = error.text();
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// What draining does with a pod.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Evict,
    /// Evicted, and told of.
    Warn(&'static str),
    Stay,
    /// Left, and told of.
    Ignore(&'static str),
    /// The drain does not start.
    Refuse(&'static str),
}

fn fate(pod: &Value, force: bool, ignore_daemon_sets: bool, delete_local: bool) -> Fate {
    let metadata = &pod["metadata"];
    let ended = pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    if metadata["annotations"]["kubernetes.io/config.mirror"].is_string() {
        return Fate::Stay;
    }
    let owners = metadata["ownerReferences"].as_array();
    let controller = owners.into_iter().flatten().find(|o| o["controller"] == true);
    if controller.is_some_and(|c| c["kind"] == "DaemonSet") && !ended {
        return match ignore_daemon_sets {
            true => Fate::Ignore("ignoring DaemonSet-managed Pods"),
            false => Fate::Refuse("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"),
        };
    }
    let local = pod["spec"]["volumes"].as_array().into_iter().flatten().any(|v| v["emptyDir"].is_object());
    if local && !ended && !delete_local {
        return Fate::Refuse("cannot delete Pods with local storage (use --delete-emptydir-data to override)");
    }
    if controller.is_none() && !ended {
        return match force {
            true => Fate::Warn("deleting Pods that declare no controller"),
            false => Fate::Refuse("cannot delete Pods that declare no controller (use --force to override)"),
        };
    }
    Fate::Evict
}

async fn drain(writer: &Writer<'_>, matches: &ArgMatches, node: &str, deadline: Option<Instant>) -> Result<()> {
    let api = writer.context.api().await?;
    let only = format!("spec.nodeName={node}");
    let labels = text(matches, "pod-selector");
    let query = [("fieldSelector", only.as_str()), ("labelSelector", labels.as_str())];
    let list = api.get(&with_query("/api/v1/pods", &query)).await?;
    let (mut evicted, mut refused, mut warned) = (Vec::new(), Vec::new(), Vec::new());
    let [force, ignore, local] = ["force", "ignore-daemonsets", "delete-emptydir-data"].map(|name| flag(matches, name));
    for pod in list["items"].as_array().into_iter().flatten() {
        let [namespace, name] =
            ["namespace", "name"].map(|f| pod["metadata"][f].as_str().unwrap_or_default().to_owned());
        let place = format!("{namespace}/{name}");
        match fate(pod, force, ignore, local) {
            Fate::Stay => continue,
            Fate::Ignore(why) => {
                warned.push((why, place));
                continue;
            }
            Fate::Refuse(why) => {
                refused.push((why, place));
                continue;
            }
            Fate::Warn(why) => warned.push((why, place)),
            Fate::Evict => {}
        }
        evicted.push((namespace, name, pod["metadata"]["uid"].clone()));
    }
    if !refused.is_empty() {
        return Error::collect(by_reason(&refused).into_iter().map(Error::Message).collect());
    }
    if !warned.is_empty() {
        eprintln!("Warning: {}", by_reason(&warned).join("; "));
    }
    let delete = flag(matches, "disable-eviction");
    for (namespace, name, _) in &evicted {
        let word = if delete { "deleting" } else { "evicting" };
        writer.context.line(format!("{word} pod {namespace}/{name}{}", writer.dry_run.suffix()))?;
        if writer.dry_run != DryRun::Client {
            let grace = matches.get_one::<i64>("grace-period").copied().unwrap_or(-1);
            evict(writer, namespace, name, grace, delete, deadline).await?;
        }
    }
    if writer.dry_run != DryRun::None {
        return Ok(());
    }
    for (namespace, name, uid) in &evicted {
        gone(writer, namespace, name, uid, deadline).await?;
        writer.context.line(format!("pod/{name} {}", if delete { "deleted" } else { "evicted" }))?;
    }
    Ok(())
}

fn by_reason(pods: &[(&'static str, String)]) -> Vec<String> {
    let mut reasons: Vec<&str> = pods.iter().map(|(why, _)| *why).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let lines = reasons.into_iter().map(|reason| {
        let names: Vec<&str> = pods.iter().filter(|(why, _)| *why == reason).map(|(_, name)| name.as_str()).collect();
        format!("{reason}: {}", names.join(", "))
    });
    lines.collect()
}

async fn evict(
    writer: &Writer<'_>,
    namespace: &str,
    name: &str,
    grace: i64,
    delete: bool,
    deadline: Option<Instant>,
) -> Result<()> {
    let api = writer.context.api().await?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let mut options = json!({});
    if grace >= 0 {
        options["gracePeriodSeconds"] = json!(grace);
    }
    if writer.dry_run == DryRun::Server {
        options["dryRun"] = json!(["All"]);
    }
    loop {
        let answer = if delete {
            api.delete(&path, &options).await
        } else {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}, "deleteOptions": options});
            api.post(&format!("{path}/eviction"), &eviction).await
        };
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(Error::Server(status)) if status.code == 429 => {
                if deadline.is_some_and(|d| Instant::now() + REFUSED > d) {
                    return Err(Error::message("global timeout reached: drain did not complete in time"));
                }
                eprintln!(
                    "error when evicting pods/\"{name}\" -n \"{namespace}\" (will retry after 5s): {}",
                    status.message
                );
                tokio::time::sleep(REFUSED).await;
            }
            Err(Error::Server(status)) if is_namespace_terminating(&status) => {
                // The pod goes with its namespace; until it is marked so, evicting it is tried again.
                match api.get(&path).await {
                    Ok(pod) if pod["metadata"]["deletionTimestamp"].is_null() => {
                        tokio::time::sleep(REFUSED).await;
                    }
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => return Ok(()),
                }
            }
            Err(error) => {
                let text = bare(&error);
                return Err(Error::message(format!("error when evicting pods/\"{name}\" -n \"{namespace}\": {text}")));
            }
        }
    }
}

fn is_namespace_terminating(status: &crate::error::Status) -> bool {
    let causes = status.body["details"]["causes"].as_array().into_iter().flatten();
    status.code == 403 && causes.into_iter().any(|cause| cause["reason"] == "NamespaceTerminating")
}

async fn gone(writer: &Writer<'_>, namespace: &str, name: &str, uid: &Value, deadline: Option<Instant>) -> Result<()> {
    let api = writer.context.api().await?;
    loop {
        match api.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await {
            Err(error) if error.is_not_found() => return Ok(()),
            Ok(pod) if pod["metadata"]["uid"] != *uid => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        if deadline.is_some_and(|d| Instant::now() > d) {
            return Err(Error::message(format!(
                "error when waiting for pod \"{name}\" in namespace \"{namespace}\" to terminate: global timeout reached"
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_pods() {
        let owned =
            |kind: &str| json!({"metadata": {"ownerReferences": [{"controller": true, "kind": kind}]}, "spec": {}});
        assert_eq!(fate(&owned("ReplicaSet"), false, false, false), Fate::Evict);
        assert!(matches!(fate(&owned("DaemonSet"), false, false, false), Fate::Refuse(_)));
        assert!(matches!(fate(&owned("DaemonSet"), false, true, false), Fate::Ignore(_)));
        let bare = json!({"metadata": {}, "spec": {"volumes": [{"emptyDir": {}}]}});
        assert!(matches!(fate(&bare, true, false, false), Fate::Refuse(_)));
        assert!(matches!(fate(&bare, true, false, true), Fate::Warn(_)));
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        assert_eq!(fate(&mirror, false, false, false), Fate::Stay);
    }
}
