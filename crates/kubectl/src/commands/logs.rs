//! `kubectl logs`.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    http::with_query,
    pods,
    select::{self, flag, text},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use serde_json::Value;
use std::time::Duration;

pub struct Logs;

/// What is said to a wrong number of arguments.
pub const USAGE: &str = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument \
    for the logs command";

#[async_trait]
impl Command for Logs {
    fn words(&self) -> Words {
        let switch = |name: &'static str| boolean(Arg::new(name).long(name)).default_value("false");
        Words::new("logs")
            .about("Print the logs for a container in a pod")
            .arg(Arg::new("pod").value_name("POD | TYPE/NAME"))
            .arg(Arg::new("container-word").value_name("CONTAINER"))
            .arg(Arg::new("container").short('c').long("container").help("Print the logs of this container"))
            .arg(
                Arg::new("follow")
                    .short('f')
                    .long("follow")
                    .action(ArgAction::SetTrue)
                    .help("Specify if the logs should be streamed."),
            )
            .arg(
                switch("previous")
                    .short('p')
                    .help("If true, print the logs for the previous instance of the container."),
            )
            .arg(switch("timestamps").help("Include timestamps on each line in the log output"))
            .arg(switch("all-containers").help("Get all containers' logs in the pod(s)."))
            .arg(switch("all-pods").help("Get logs from all pod(s)."))
            .arg(switch("prefix").help("Prefix each log line with the log source"))
            .arg(
                switch("ignore-errors")
                    .help("If watching / following pod logs, allow for any errors that occur to be non-fatal"),
            )
            .arg(switch("insecure-skip-tls-verify-backend").help("Skip verifying the identity of the kubelet."))
            .arg(
                Arg::new("tail")
                    .long("tail")
                    .allow_negative_numbers(true)
                    .value_parser(clap::value_parser!(i64))
                    .help("Lines of recent log file to display."),
            )
            .arg(
                crate::global::duration(Arg::new("since"))
                    .long("since")
                    .help("Only return logs newer than a relative duration like 5s, 2m, or 3h."),
            )
            .arg(Arg::new("since-time").long("since-time").help("Only return logs after a specific date (RFC3339)."))
            .arg(
                Arg::new("limit-bytes")
                    .long("limit-bytes")
                    .allow_negative_numbers(true)
                    .value_parser(clap::value_parser!(i64))
                    .help("Maximum bytes of logs to return."),
            )
            .arg(
                Arg::new("max-log-requests")
                    .long("max-log-requests")
                    .value_parser(clap::value_parser!(usize))
                    .default_value("5")
                    .help("Maximum number of concurrent logs to follow when using by a selector."),
            )
            .arg(select::selector())
            .arg(crate::global::pod_running_timeout("20s"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let (word, selector) = (text(matches, "pod"), text(matches, "selector"));
        match (word.is_empty(), selector.is_empty()) {
            (true, true) => return Err(Error::usage("logs", USAGE)),
            (false, false) => return Err(Error::usage("logs", "only a selector (-l) or a POD name is allowed")),
            _ => {}
        }
        let patience = crate::global::patience(matches)?;
        let found = if word.is_empty() {
            pods::by_labels(context, Some(&context.namespace().await?), &selector).await?
        } else {
            named(context, matches, &word, patience).await?
        };
        if found.is_empty() {
            eprintln!("No resources found in {} namespace.", context.namespace().await?);
            return Ok(());
        }
        let sources = sources(&found, matches)?;
        let follow = flag(matches, "follow");
        let at_most = matches.get_one::<usize>("max-log-requests").copied().unwrap_or(5);
        if follow && sources.len() > at_most {
            let count = sources.len();
            return Err(Error::message(format!(
                "you are attempting to follow {count} log streams, but maximum allowed concurrency is {at_most}, use --max-log-requests to increase the limit"
            )));
        }
        let query = Query::new(matches, !selector.is_empty())?;
        let prefix = flag(matches, "prefix") || flag(matches, "all-pods");
        if !follow {
            for source in &sources {
                copy(context, source, &query, prefix).await?;
            }
            return Ok(());
        }
        let copies = sources.iter().map(|source| copy(context, source, &query, prefix));
        futures::future::try_join_all(copies).await.map(drop)
    }
}

/// The pod that a word means, or all of them; which one of several was chosen is told.
async fn named(context: &Context, matches: &ArgMatches, word: &str, patience: Duration) -> Result<Vec<Value>> {
    let namespace = context.namespace().await?;
    let mut found = pods::some(context, word, "get the logs from", patience).await.map_err(|error| match error {
        Error::Server(status) => Error::message(format!(
            "error from server ({}): {} in namespace \"{namespace}\"",
            status.reason, status.message
        )),
        other => other,
    })?;
    if flag(matches, "all-pods") {
        return Ok(found);
    }
    pods::sort(&mut found);
    if let [first, _, ..] = found.as_slice() {
        let name = first["metadata"]["name"].as_str().unwrap_or_default();
        eprintln!("Found {} pods, using pod/{name}", found.len());
    }
    found.truncate(1);
    Ok(found)
}

/// One container's log.
struct Source {
    namespace: String,
    pod: String,
    container: String,
}

fn sources(found: &[Value], matches: &ArgMatches) -> Result<Vec<Source>> {
    let asked = match text(matches, "container") {
        empty if empty.is_empty() => text(matches, "container-word"),
        given => given,
    };
    if !text(matches, "container").is_empty() && !text(matches, "container-word").is_empty() {
        return Err(Error::message("only one of -c or an inline [CONTAINER] arg is allowed"));
    }
    if flag(matches, "all-containers") && !asked.is_empty() {
        return Err(Error::message(format!(
            "--all-containers=true should not be specified with container name {asked}"
        )));
    }
    let mut sources = Vec::new();
    for pod in found {
        let text_of = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let source = |container: String| Source { namespace: text_of("namespace"), pod: text_of("name"), container };
        if flag(matches, "all-containers") {
            for list in ["initContainers", "containers", "ephemeralContainers"] {
                let names = pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str());
                sources.extend(names.map(|name| source(name.to_owned())));
            }
        } else {
            pods::check_container(pod, &asked)?;
            pods::tell_default(pod, &asked);
            sources.push(source(pods::container(pod, &asked)));
        }
    }
    Ok(sources)
}

/// The parameters of a log request.
struct Query(Vec<(&'static str, String)>);

impl Query {
    fn new(matches: &ArgMatches, by_selector: bool) -> Result<Self> {
        let mut query = Vec::new();
        for (name, parameter) in [("follow", "follow"), ("previous", "previous"), ("timestamps", "timestamps")] {
            if flag(matches, name) {
                query.push((parameter, "true".to_owned()));
            }
        }
        let tail = matches.get_one::<i64>("tail").copied().or(by_selector.then_some(10)).unwrap_or(-1);
        if tail < -1 {
            return Err(Error::message("--tail must be greater than or equal to -1"));
        }
        if tail >= 0 {
            query.push(("tailLines", tail.to_string()));
        }
        if let Some(limit) = matches.get_one::<i64>("limit-bytes") {
            if *limit <= 0 {
                return Err(Error::message("--limit-bytes must be greater than 0"));
            }
            query.push(("limitBytes", limit.to_string()));
        }
        let (since, since_time) = (crate::global::span(matches, "since"), text(matches, "since-time"));
        if !since.is_zero() && !since_time.is_empty() {
            return Err(Error::message("at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        if since.is_below_zero() {
            return Err(Error::message("--since must be greater than 0"));
        }
        if !since.is_zero() {
            let seconds = (since.length() + Duration::from_millis(500)).as_secs();
            query.push(("sinceSeconds", seconds.to_string()));
        }
        if !since_time.is_empty() {
            if since_time.parse::<jiff::Timestamp>().is_err() {
                return Err(Error::message(format!(
                    "parsing time \"{since_time}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{since_time}\" as \
                     \"2006\""
                )));
            }
            query.push(("sinceTime", since_time));
        }
        Ok(Query(query))
    }
}

async fn copy(context: &Context, source: &Source, query: &Query, prefix: bool) -> Result<()> {
    let Source { namespace, pod, container } = source;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log");
    let mut pairs: Vec<(&str, &str)> = vec![("container", container)];
    pairs.extend(query.0.iter().map(|(name, value)| (*name, value.as_str())));
    let mut lines = context.api().await?.stream(&with_query(&path, &pairs), "*/*").await?;
    if prefix {
        while let Some(line) = lines.line().await? {
            let mut out = format!("[pod/{pod}/{container}] ").into_bytes();
            out.extend_from_slice(&line);
            out.push(b'\n');
            context.print(out)?;
        }
        return Ok(());
    }
    while let Some(chunk) = lines.chunk().await? {
        context.print(chunk)?;
    }
    Ok(())
}
