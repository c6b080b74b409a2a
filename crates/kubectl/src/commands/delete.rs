//! `kubectl delete`: by name, selector or file; waits until the objects are gone.
use super::Command;
use crate::{
    Context, Error, Result,
    http::{Api, with_query},
    manifests,
    printers::Format,
    select::{self, Target, flag, text},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub struct Delete;

#[async_trait]
impl Command for Delete {
    fn words(&self) -> Words {
        let boolean = |name: &'static str, default: &'static str, help: &'static str| {
            crate::global::boolean(Arg::new(name).long(name)).default_value(default).help(help)
        };
        select::add(Words::new("delete").about("Delete resources by file names, stdin, resources and names, or by resources and label selector"))
            .arg(select::all_namespaces())
            .arg(select::field_selector())
            .arg(boolean("all", "false", "Delete all resources, in the namespace of the specified resource types."))
            .arg(Arg::new("cascade").long("cascade").num_args(0..=1).require_equals(true).default_value("background").default_missing_value("background").help("Selects the deletion cascading strategy for the dependents."))
            .arg(boolean("force", "false", "If true, immediately remove resources from API and bypass graceful deletion."))
            .arg(Arg::new("grace-period").long("grace-period").allow_negative_numbers(true).value_parser(clap::value_parser!(i64)).default_value("-1").help("Period of time in seconds given to the resource to terminate gracefully."))
            .arg(boolean("ignore-not-found", "false", "Treat \"resource not found\" as a successful delete."))
            .arg(boolean("now", "false", "If true, resources are signaled for immediate shutdown (same as --grace-period=1)."))
            .arg(boolean("wait", "true", "If true, wait for resources to be gone before returning."))
            .arg(crate::global::duration(Arg::new("timeout")).long("timeout").default_value("0s").help("The length of time to wait before giving up on a delete, zero means determine a timeout from the size of the object"))
            .arg(Arg::new("dry-run").long("dry-run").num_args(0..=1).require_equals(true).default_value("none").default_missing_value("client").value_parser(["none", "server", "client"]).help("Must be \"none\", \"server\", or \"client\"."))
            .arg(Arg::new("output").short('o').long("output").help("Output mode. Use \"-o name\" for shorter output (resource/name)."))
            .arg(Arg::new("raw").long("raw").help("Raw URI to DELETE to the server."))
            .arg(Arg::new("interactive").short('i').long("interactive").action(ArgAction::SetTrue).help("If true, delete resource only when user confirms."))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let raw = text(matches, "raw");
        let api = context.api().await?;
        if !raw.is_empty() {
            let answer = api.delete_raw(&raw).await?;
            return context.print(answer);
        }
        if select::is_empty(matches) {
            if flag(matches, "all") || !text(matches, "selector").is_empty() {
                return Err(Error::message("at least one resource must be specified to use a selector"));
            }
            return Err(Error::message(select::NOTHING_SELECTED));
        }
        let call = Call::new(context, matches, api)?;
        let mut deleted = Vec::new();
        // Selectors and `--all` become names: each deletion is told of.
        let mut targets: Vec<(Target, Option<String>)> = Vec::new();
        let (manifests, unread) = manifests::read_sourced(context, matches).await?;
        for manifest in manifests {
            targets.push((manifests::target(context, &manifest, false).await?, Some(manifest.source)));
        }
        if !manifests::given(matches) {
            let selects = flag(matches, "all") || !text(matches, "selector").is_empty();
            let words = select::words(matches, "words");
            if flag(matches, "all") && !text(matches, "selector").is_empty() {
                return Err(Error::message("setting 'all' parameter but found a non empty selector. "));
            }
            if selects && (words.len() > 1 || words.iter().any(|word| word.contains('/'))) {
                return Err(Error::message("name cannot be provided when a selector is specified"));
            }
            targets.extend(select::each(context, matches).await?.into_iter().map(|target| (target, None)));
        }
        if context.global.namespace.is_some() && targets.iter().any(|(target, _)| !target.resource.namespaced) {
            eprintln!("Warning: deleting cluster-scoped resources, not scoped to the provided namespace");
        }
        let mut errors = Vec::new();
        for (target, source) in targets {
            match call.delete(&target).await {
                Ok(object) => deleted.push((target, object)),
                Err(error) if error.is_not_found() && call.ignore_not_found => {}
                Err(error) => errors.push(error.during("deleting", source.as_deref())),
            }
        }
        // What could be read is deleted before anything is said of the rest.
        errors.extend(unread);
        if deleted.is_empty() && errors.is_empty() && !call.ignore_not_found {
            context.line("No resources found")?;
        }
        if flag(matches, "wait") && call.dry_run == "none" && !call.force {
            for (target, object) in &deleted {
                call.gone(target, object).await?;
            }
        }
        Error::collect(errors)
    }
}

struct Call<'a> {
    context: &'a Context,
    matches: &'a ArgMatches,
    api: Api,
    dry_run: String,
    ignore_not_found: bool,
    force: bool,
    options: Value,
    deadline: Option<Instant>,
}

impl<'a> Call<'a> {
    fn new(context: &'a Context, matches: &'a ArgMatches, api: Api) -> Result<Self> {
        let force = flag(matches, "force");
        let mut grace = matches.get_one::<i64>("grace-period").copied().unwrap_or(-1);
        if flag(matches, "now") {
            if grace != -1 {
                return Err(Error::message("--now and --grace-period cannot be specified together"));
            }
            grace = 1;
        }
        if grace == 0 && !force {
            // The official one waits a second rather than risk what --force risks.
            grace = 1;
        }
        if force {
            if grace > 0 {
                return Err(Error::message("--force and --grace-period greater than 0 cannot be specified together"));
            }
            grace = 0;
            eprintln!(
                "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
            );
        }
        let policy = match text(matches, "cascade").as_str() {
            "orphan" | "false" => "Orphan",
            "foreground" => "Foreground",
            "background" | "true" => "Background",
            other => {
                return Err(Error::message(format!(
                    "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
                )));
            }
        };
        let mut options = json!({"propagationPolicy": policy});
        if grace >= 0 {
            options["gracePeriodSeconds"] = json!(grace);
        }
        let timeout = crate::global::span(matches, "timeout");
        Ok(Call {
            context,
            matches,
            api,
            dry_run: text(matches, "dry-run"),
            ignore_not_found: flag(matches, "ignore-not-found"),
            force,
            options,
            deadline: (!timeout.is_zero()).then(|| Instant::now() + timeout.length()),
        })
    }

    async fn delete(&self, target: &Target) -> Result<Value> {
        let answer = match self.dry_run.as_str() {
            "client" => self.api.get(&target.path()).await?,
            "server" => {
                let mut options = self.options.clone();
                options["dryRun"] = json!(["All"]);
                self.api.delete(&target.path(), &options).await?
            }
            _ => self.api.delete(&target.path(), &self.options).await?,
        };
        let name = target.name.as_deref().unwrap_or_default();
        if text(self.matches, "output") == "name" {
            self.context.print(Format::Name.object(&json!({"metadata": {"name": name}}), Some(&target.resource))?)?;
            return Ok(answer);
        }
        let how = if self.force { "force deleted" } else { "deleted" };
        let mode = match self.dry_run.as_str() {
            "client" => " (dry run)",
            "server" => " (server dry run)",
            _ => "",
        };
        let kind = target.resource.object_name("");
        let kind = kind.trim_end_matches('/');
        let place = target.namespace.as_ref().map(|n| format!(" from {n} namespace")).unwrap_or_default();
        self.context.line(format!("{kind} \"{name}\" {how}{place}{mode}"))?;
        Ok(answer)
    }

    /// Wait until the object is gone, or is another one of the same name.
    async fn gone(&self, target: &Target, deleted: &Value) -> Result<()> {
        // A `Status` answer carries the uid in its details.
        let uid =
            deleted["metadata"]["uid"].as_str().or(deleted["details"]["uid"].as_str()).unwrap_or_default().to_owned();
        loop {
            let object = match self.api.get(&target.path()).await {
                Err(error) if error.is_not_found() => return Ok(()),
                other => other?,
            };
            if !uid.is_empty() && object["metadata"]["uid"] != uid.as_str() {
                return Ok(());
            }
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                let name = target.name.as_deref().unwrap_or_default();
                return Err(Error::message(format!(
                    "timed out waiting for the condition on {}/{name}",
                    target.resource.plural
                )));
            }
            self.next_event(target, &object).await?;
        }
    }

    /// Sleep until the object changes.
    async fn next_event(&self, target: &Target, object: &Value) -> Result<()> {
        let only = format!("metadata.name={}", target.name.as_deref().unwrap_or_default());
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let collection = Target { name: None, ..target.clone() };
        let query = [("watch", "true"), ("fieldSelector", only.as_str()), ("resourceVersion", version)];
        let patience = match self.deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
            None => Duration::from_secs(60),
        };
        let wait = async {
            let mut events = self.api.stream(&with_query(&collection.path(), &query), crate::http::JSON).await?;
            events.event().await.map(drop)
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(done) => done,
            Err(_) => Ok(()),
        }
    }
}
