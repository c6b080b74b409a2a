//! `kubectl exec` and `kubectl attach`.
use super::Command;
use crate::{
    Context, Error, Result, pods,
    select::{flag, text, words},
    streams::{self, Streams},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};

pub struct Exec;
pub struct Attach;

fn flags(words: Words) -> Words {
    words
        .arg(
            Arg::new("container")
                .short('c')
                .long("container")
                .help("Container name. If omitted, use the default container, or the first one."),
        )
        .arg(Arg::new("stdin").short('i').long("stdin").action(ArgAction::SetTrue).help("Pass stdin to the container"))
        .arg(Arg::new("tty").short('t').long("tty").action(ArgAction::SetTrue).help("Stdin is a TTY"))
        .arg(
            crate::global::boolean(Arg::new("quiet").short('q').long("quiet"))
                .default_value("false")
                .help("Only print output from the remote session"),
        )
        .arg(crate::global::pod_running_timeout("1m0s"))
}

#[async_trait]
impl Command for Exec {
    fn words(&self) -> Words {
        flags(Words::new("exec").about("Execute a command in a container"))
            .arg(Arg::new("pod").required_unless_present("filename").value_name("POD | TYPE/NAME"))
            .arg(crate::manifests::file_flag())
            .arg(Arg::new("command").num_args(0..).last(true))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let command = words(matches, "command");
        let patience = crate::global::patience(matches).map_err(|error| error.with_usage("exec"))?;
        if command.is_empty() {
            return Err(Error::message("you must specify at least one command for the container"));
        }
        let word = match crate::manifests::read(context, matches).await?.first() {
            Some(object) => {
                let target = crate::select::of_object(context, object).await?;
                format!("{}/{}", target.resource.qualified(), target.name.unwrap_or_default())
            }
            None => text(matches, "pod"),
        };
        let pod = pods::one(context, &word, patience).await?;
        if let Some(phase @ ("Succeeded" | "Failed")) = pod["status"]["phase"].as_str() {
            return Err(Error::message(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            )));
        }
        let asked = text(matches, "container");
        pods::check_container(&pod, &asked)?;
        if !flag(matches, "quiet") {
            pods::tell_default(&pod, &asked);
        }
        let streams = Streams::new(flag(matches, "stdin"), flag(matches, "tty"), flag(matches, "quiet"));
        let (namespace, name) = place(&pod);
        streams::exec(context, namespace, name, &pods::container(&pod, &asked), &command, streams).await
    }
}

#[async_trait]
impl Command for Attach {
    fn words(&self) -> Words {
        flags(Words::new("attach").about("Attach to a running container"))
            .arg(Arg::new("words").num_args(0..).value_name("POD | TYPE/NAME"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let given = words(matches, "words");
        let word = match given.as_slice() {
            [] => return Err(Error::message("at least 1 argument is required for attach")),
            [word] => word.clone(),
            [kind, name] => format!("{kind}/{name}"),
            _ => {
                return Err(Error::message(format!(
                    "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {}: [{}]",
                    given.len(),
                    given.join(" ")
                )));
            }
        };
        let patience = crate::global::patience(matches).map_err(|error| error.with_usage("attach"))?;
        let pod = pods::one(context, &word, patience).await?;
        let asked = text(matches, "container");
        if let Some(phase @ ("Succeeded" | "Failed")) = pod["status"]["phase"].as_str() {
            return Err(Error::message(format!(
                "cannot attach a container in a completed pod; current phase is {phase}"
            )));
        }
        let wanted = Streams { stdin: flag(matches, "stdin"), tty: flag(matches, "tty") };
        streams::attach_to(context, &pod, &asked, wanted, flag(matches, "quiet")).await
    }
}

fn place(pod: &serde_json::Value) -> (&str, &str) {
    let metadata = &pod["metadata"];
    (metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default())
}
