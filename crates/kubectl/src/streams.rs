//! Standard streams of a container: `exec`, `attach` and `run -it`, over WebSocket.
use crate::{
    Context, Error, Result, pods,
    select::{self, flag},
};
use clap::ArgMatches;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess, TerminalSize},
};
use rustix::termios::{self, OptionalActions, Termios};
use serde_json::Value;
use std::time::Duration;
use tokio::{
    io::{AsyncWriteExt, copy},
    signal::unix::{SignalKind, signal},
};

const RECORDED: &str = "All commands and output from this session will be recorded in container logs, including \
    credentials and sensitive information passed through the command prompt.";

/// Which streams are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    pub stdin: bool,
    pub tty: bool,
}

impl Streams {
    /// `-t` needs `-i` and a terminal of our own; `quiet`: nothing is said when there is none.
    pub fn new(stdin: bool, tty: bool, quiet: bool) -> Self {
        if !stdin || !tty {
            return Streams { stdin, tty: false };
        }
        let tty = termios::isatty(std::io::stdin());
        if !tty && !quiet {
            eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        Streams { stdin, tty }
    }

    fn parameters(self, container: &str) -> AttachParams {
        let params = AttachParams::default().stdin(self.stdin).stdout(true).stderr(!self.tty).tty(self.tty);
        if container.is_empty() { params } else { params.container(container) }
    }
}

/// The terminal without line editing and echo, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(RawTerminal(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn refused(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code != 403 && status.code != 404 => {
            Error::message(format!("unable to upgrade connection: {}", status.message))
        }
        kube::Error::Api(status) => Error::Server(Box::new(crate::error::Status {
            code: status.code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            body: Value::Null,
        })),
        other => Error::message(other.to_string()),
    }
}

/// Run a command in a container.
///
/// # Errors
/// The server refuses, or the command ends with another code than 0.
pub async fn exec(
    context: &Context,
    namespace: &str,
    pod: &str,
    container: &str,
    command: &[String],
    streams: Streams,
) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(context.client().await?, namespace);
    let process = pods.exec(pod, command, &streams.parameters(container)).await.map_err(refused)?;
    connect(process, streams, false).await
}

/// Attach to a container's main process.
///
/// # Errors
/// As [`exec`].
pub async fn attach(context: &Context, namespace: &str, pod: &str, container: &str, streams: Streams) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(context.client().await?, namespace);
    let process = pods.attach(pod, &streams.parameters(container)).await.map_err(refused)?;
    connect(process, streams, true).await
}

/// Attach to a container of a pod as `kubectl attach` does: the container decides about the terminal, and what is to be
/// known is told unless `quiet`. `asked` may be empty: the default container.
///
/// # Errors
/// As [`exec`]; the pod has no such container.
pub async fn attach_to(context: &Context, pod: &Value, asked: &str, wanted: Streams, quiet: bool) -> Result<()> {
    pods::check_container(pod, asked).map_err(|e| e.prefixed("cannot attach to the container: "))?;
    if !quiet {
        pods::tell_default(pod, asked);
    }
    let name = pods::container(pod, asked);
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let find = |list: &str| pod["spec"][list].as_array().into_iter().flatten().find(|c| c["name"] == name.as_str());
    let has_terminal = lists.iter().find_map(|list| find(list)).is_some_and(|c| c["tty"] == true);
    if wanted.tty && !has_terminal && !quiet {
        eprintln!("error: Unable to use a TTY - container {name} did not allocate one");
    }
    let streams = Streams::new(wanted.stdin, has_terminal, quiet);
    if !quiet {
        eprintln!("{RECORDED}\nIf you don't see a command prompt, try pressing enter.");
    }
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let (namespace, pod_name) = (text("namespace"), text("name"));
    attach(context, namespace, pod_name, &name, streams).await?;
    if quiet || !streams.tty {
        return Ok(());
    }
    let again = format!("'kubectl attach {pod_name} -c {name} -n {namespace} -i -t'");
    context.line(match find("ephemeralContainers").is_some() {
        true => format!(
            "Session ended, the ephemeral container will not be restarted but may be reattached using {again} if it is \
             still running"
        ),
        false => format!("Session ended, resume using {again} command"),
    })
}

/// Tie our own streams to the process's until it ends. `redraw`: it has begun already, and its screen is not known.
async fn connect(mut process: AttachedProcess, streams: Streams, redraw: bool) -> Result<()> {
    let raw = if streams.tty { RawTerminal::enter() } else { None };
    let status = process.take_status();
    if let Some(mut to) = process.stdin() {
        tokio::spawn(async move {
            // The end of our input is the end of the process's; when the process is gone first, nobody reads.
            let _ = copy(&mut tokio::io::stdin(), &mut to).await;
            let _ = to.shutdown().await;
        });
    }
    if let Some(sizes) = process.terminal_size() {
        tokio::spawn(follow_size(sizes, redraw));
    }
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let output = async {
        if let Some(mut from) = stdout {
            let mut out = tokio::io::stdout();
            let _ = copy(&mut from, &mut out).await;
            let _ = out.flush().await;
        }
    };
    let errors = async {
        if let Some(mut from) = stderr {
            let mut out = tokio::io::stderr();
            let _ = copy(&mut from, &mut out).await;
            let _ = out.flush().await;
        }
    };
    tokio::join!(output, errors);
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    drop(raw);
    ended(status)
}

/// Sizes to tell of when the terminal is of this one. What is attached to may be waiting at its prompt: it draws that
/// again when its size changes, so that it is first told of one that is too large.
fn first_sizes(rows: u16, columns: u16, redraw: bool) -> Vec<TerminalSize> {
    let size = |more: u16| TerminalSize { height: rows.saturating_add(more), width: columns.saturating_add(more) };
    if redraw { vec![size(1), size(0)] } else { vec![size(0)] }
}

/// Tell the process how large our terminal is, now and when that changes.
async fn follow_size(mut sizes: futures::channel::mpsc::Sender<TerminalSize>, mut redraw: bool) {
    use futures::SinkExt;
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok(size) = termios::tcgetwinsize(std::io::stdout()) {
            for size in first_sizes(size.ws_row, size.ws_col, std::mem::take(&mut redraw)) {
                if sizes.send(size).await.is_err() {
                    return;
                }
            }
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// What the end of a process means for us.
fn ended(status: Option<Status>) -> Result<()> {
    let Some(status) = status.filter(|status| status.status.as_deref() == Some("Failure")) else { return Ok(()) };
    let causes = status.details.as_ref().and_then(|d| d.causes.as_deref()).unwrap_or_default();
    let code = causes
        .iter()
        .find(|c| c.reason.as_deref() == Some("ExitCode"))
        .and_then(|c| c.message.as_deref()?.parse().ok());
    match code {
        Some(code) => {
            eprintln!("command terminated with exit code {code}");
            Err(Error::Exit(code))
        }
        None => Err(Error::message(status.message.unwrap_or_else(|| "the command failed".into()))),
    }
}

/// `kubectl run --attach`: wait for the pod, then attach; if it has ended already, its log says what it did.
///
/// # Errors
/// It does not run in time, or as [`attach`].
pub async fn attach_when_running(context: &Context, matches: &ArgMatches, pod: &Value) -> Result<()> {
    let target = select::of_object(context, pod).await?;
    let patience = crate::global::patience(matches).map_err(|error| error.with_usage("run"))?;
    let api = context.api().await?;
    let seen = async {
        loop {
            let pod = api.get(&target.path()).await?;
            let conditions = pod["status"]["conditions"].as_array();
            let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
            match pod["status"]["phase"].as_str() {
                Some("Succeeded" | "Failed") => return Ok::<_, Error>(pod),
                Some("Running") if ready => return Ok(pod),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let seen = tokio::time::timeout(patience, seen);
    let pod = seen.await.map_err(|_| Error::message("timed out waiting for the condition"))??;
    let log = async || context.print(api.get_raw(&format!("{}/log", target.path())).await?);
    if pod["status"]["phase"] != "Running" {
        return log().await;
    }
    let (quiet, wanted) =
        (flag(matches, "quiet"), Streams { stdin: flag(matches, "stdin"), tty: flag(matches, "tty") });
    match attach_to(context, &pod, "", wanted, quiet).await {
        Err(error @ (Error::Message(_) | Error::Server(_))) => {
            let name = target.name.as_deref().unwrap_or_default();
            eprintln!("warning: couldn't attach to pod/{name}, falling back to streaming logs: {}", error.bare());
            log().await
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_to_is_made_to_draw_itself_again() {
        let cases = [(false, vec![(24, 80)]), (true, vec![(25, 81), (24, 80)])];
        for (redraw, want) in cases {
            let sizes = first_sizes(24, 80, redraw);
            assert_eq!(sizes.iter().map(|size| (size.height, size.width)).collect::<Vec<_>>(), want);
        }
    }
}
