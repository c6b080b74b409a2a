//! Exec, attach, run and port-forward: finds the container or sandbox, asks the runtime for its stream, and hands
//! the request over. Errors are upstream's: 404 for a pod that does not exist, 500 for a container that does not run.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cri::v1;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use super::Server;
use super::answer::{self, Answer};
use super::query::{self, Query};
use crate::{labels, spec, streaming};

/// What a request's path names.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub uid: Option<&'a str>,
    /// Empty for port-forwarding.
    pub container: &'a str,
}

type Refused = Box<Answer>;

fn refused(status: StatusCode, why: impl Into<String>) -> Refused {
    Box::new(answer::text(status, why))
}

fn by_runtime(error: &cri::Error) -> Refused {
    Box::new(answer::runtime(error))
}

fn pod(server: &Server, target: Target<'_>) -> Result<Arc<Pod>, Refused> {
    let found = server.state.pods.find(target.namespace, target.pod);
    found.ok_or_else(|| refused(StatusCode::NOT_FOUND, "pod does not exist"))
}

/// The API knows a static pod by its mirror's uid, which is not the one it runs under.
fn is_of(pod: &Pod, uid: Option<&str>) -> bool {
    uid.is_none_or(|uid| uid == spec::uid(pod) || spec::is_static(pod) || spec::is_mirror(pod))
}

/// The newest running container of that name.
async fn running(server: &Server, pod: &Pod, target: Target<'_>) -> Result<Option<v1::Container>, Refused> {
    if !is_of(pod, target.uid) {
        return Ok(None);
    }
    let selector = HashMap::from([
        (labels::POD_UID.to_owned(), spec::uid(pod).to_owned()),
        (labels::CONTAINER_NAME.to_owned(), target.container.to_owned()),
    ]);
    let state = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning.into() };
    let filter = v1::ContainerFilter { state: Some(state), label_selector: selector, ..Default::default() };
    let found = server.state.runtime.list_containers(filter).await.map_err(|error| by_runtime(&error))?;
    Ok(found.into_iter().max_by_key(|container| container.created_at))
}

async fn container_of(server: &Server, target: Target<'_>) -> Result<v1::Container, Refused> {
    let pod = pod(server, target)?;
    let missing = || {
        let why = format!("container not found ({:?})", target.container);
        refused(StatusCode::INTERNAL_SERVER_ERROR, why)
    };
    running(server, &pod, target).await?.ok_or_else(missing)
}

pub async fn exec(
    server: &Server,
    target: Target<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Refused> {
    let options = query::streams(query).map_err(|why| refused(StatusCode::BAD_REQUEST, why))?;
    let container = container_of(server, target).await?;
    let asked = v1::ExecRequest {
        container_id: container.id,
        cmd: query::every(query, "command").map(str::to_owned).collect(),
        tty: options.tty,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    let url = server.state.runtime.exec(asked).await.map_err(|error| by_runtime(&error))?;
    Ok(answer::relayed(streaming::exec(request, url, options).await))
}

pub async fn attach(
    server: &Server,
    target: Target<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Refused> {
    let mut options = query::streams(query).map_err(|why| refused(StatusCode::BAD_REQUEST, why))?;
    let pod = pod(server, target)?;
    let missing = || {
        let full_name = format!("{}_{}", target.pod, target.namespace);
        let why = format!("container {} not found in pod {full_name}", target.container);
        refused(StatusCode::INTERNAL_SERVER_ERROR, why)
    };
    let container = running(server, &pod, target).await?.ok_or_else(missing)?;
    let (_, specified) = spec::find(&pod, target.container).ok_or_else(missing)?;
    // Whether there is a terminal was settled when the container was created.
    options.tty = specified.tty == Some(true);
    options.stderr &= !options.tty;
    let asked = v1::AttachRequest {
        container_id: container.id,
        stdin: options.stdin,
        tty: options.tty,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    let url = server.state.runtime.attach(asked).await.map_err(|error| by_runtime(&error))?;
    Ok(answer::relayed(streaming::attach(request, url, options).await))
}

/// Runs a command and answers with its output.
pub async fn run(server: &Server, target: Target<'_>, query: &Query) -> Result<Answer, Refused> {
    let container = container_of(server, target).await?;
    // This older call takes one parameter, split at spaces.
    let command: Vec<String> = query::first(query, "cmd").unwrap_or_default().split(' ').map(str::to_owned).collect();
    let failed = |why: String| refused(StatusCode::INTERNAL_SERVER_ERROR, why);
    let ran = server.state.runtime.exec_sync(&container.id, &command, Duration::ZERO).await;
    let ran = ran.map_err(|error| failed(error.to_string()))?;
    if ran.exit_code != 0 {
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        return Err(failed(format!("command '{}' exited with {}: {stderr}", command.join(" "), ran.exit_code)));
    }
    let mut output = ran.stdout;
    output.extend_from_slice(&ran.stderr);
    Ok(answer::of(StatusCode::OK, "application/json", output))
}

pub async fn port_forward(
    server: &Server,
    target: Target<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Refused> {
    let ports = query::ports(query).map_err(|why| refused(StatusCode::BAD_REQUEST, why))?;
    let pod = pod(server, target)?;
    if !is_of(&pod, target.uid) {
        return Err(refused(StatusCode::NOT_FOUND, "pod not found"));
    }
    let dialer = match spec::host_network(&pod) {
        true => streaming::PodNamespace::host(),
        false => namespace(server, &pod, target).await?,
    };
    Ok(answer::relayed(streaming::port_forward(request, Arc::new(dialer), ports).await))
}

/// The network namespace of the pod's newest ready sandbox.
async fn namespace(server: &Server, pod: &Pod, target: Target<'_>) -> Result<streaming::PodNamespace, Refused> {
    let runtime = &server.state.runtime;
    let failed = |why: String| refused(StatusCode::INTERNAL_SERVER_ERROR, why);
    let selector = HashMap::from([(labels::POD_UID.to_owned(), spec::uid(pod).to_owned())]);
    let state = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() };
    let filter = v1::PodSandboxFilter { state: Some(state), label_selector: selector, ..Default::default() };
    let sandboxes = runtime.list_pod_sandbox(filter).await.map_err(|error| by_runtime(&error))?;
    let newest = sandboxes.into_iter().max_by_key(|sandbox| sandbox.created_at);
    let missing = || failed(format!("pod not found (\"{}_{}\")", target.pod, target.namespace));
    let sandbox = newest.ok_or_else(missing)?;
    let status = runtime.pod_sandbox_status(&sandbox.id, true).await.map_err(|error| by_runtime(&error))?;
    let details = status.info.get("info").map(String::as_str).unwrap_or_default();
    match network(details) {
        Some(Network::Path(path)) => Ok(streaming::PodNamespace::of_path(path.into())),
        Some(Network::Process(pid)) => Ok(streaming::PodNamespace::of_pid(pid)),
        None => {
            Err(failed(format!("the container runtime does not tell the network namespace of sandbox {}", sandbox.id)))
        }
    }
}

/// Where a sandbox's network namespace is found.
#[derive(Debug, PartialEq, Eq)]
enum Network {
    Path(String),
    Process(u32),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    pid: u32,
    runtime_spec: Option<RuntimeSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuntimeSpec {
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

/// Reads the JSON that containerd and CRI-O give with a verbose sandbox status.
fn network(details: &str) -> Option<Network> {
    let details: Details = serde_json::from_str(details).ok()?;
    let namespaces = details.runtime_spec.and_then(|spec| spec.linux).unwrap_or_default().namespaces;
    let path = namespaces.into_iter().find(|namespace| namespace.kind == "network").map(|namespace| namespace.path);
    match path.filter(|path| !path.is_empty()) {
        Some(path) => Some(Network::Path(path)),
        None => Some(Network::Process(details.pid)).filter(|_| details.pid != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandboxs_network() {
        let path = r#"{"pid": 7, "x": 1, "runtimeSpec": {"linux": {"namespaces": [{"type": "pid"},
            {"type": "network", "path": "/var/run/netns/cni-1"}]}}}"#;
        assert_eq!(network(path), Some(Network::Path("/var/run/netns/cni-1".into())));
        let own = r#"{"pid": 7, "runtimeSpec": {"linux": {"namespaces": [{"type": "network"}]}}}"#;
        assert_eq!(network(own), Some(Network::Process(7)));
        assert_eq!(network(r#"{"pid": 7}"#), Some(Network::Process(7)));
        for nothing in ["", "{}", r#"{"pid": 0, "runtimeSpec": null}"#] {
            assert_eq!(network(nothing), None, "{nothing}");
        }
    }
}
