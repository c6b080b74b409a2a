//! `/containerLogs`: which instance of a container is meant, and its log as a body that is still being written.
use std::sync::Arc;

use bytes::Bytes;
use cri::v1;
use http::StatusCode;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, ContainerStatus, Pod};
use std::collections::HashMap;
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::query::Query;
use super::{Server, State};
use crate::logs::{self, Options, Refusal};
use crate::{labels, spec};

/// Chunks that are read ahead of the client; each is at most some 64 KiB.
const READ_AHEAD: usize = 4;

pub async fn answer(server: &Server, namespace: &str, pod_name: &str, container: &str, query: &Query) -> Answer {
    let options = match Options::parse(query, jiff::Timestamp::now()) {
        Ok(options) => options,
        Err(refusal @ Refusal::Undecodable) => return answer::text(StatusCode::BAD_REQUEST, refusal.to_string()),
        Err(refusal) => return answer::text(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()),
    };
    let Some(pod) = server.state.pods.find(namespace, pod_name) else {
        return answer::text(StatusCode::NOT_FOUND, format!("pod {pod_name:?} does not exist"));
    };
    if spec::find(&pod, container).is_none() {
        let why = format!("container {container:?} not found in pod {pod_name:?}");
        return answer::text(StatusCode::NOT_FOUND, why);
    }
    match find(&server.state, &pod, container, options.previous).await {
        Ok(found) => stream(server.state.clone(), found, options),
        Err(why) => answer::text(StatusCode::BAD_REQUEST, why),
    }
}

/// The log of one container.
struct Found {
    id: String,
    path: String,
}

async fn find(state: &State, pod: &Pod, container: &str, previous: bool) -> Result<Found, String> {
    let selector = HashMap::from([
        (labels::POD_UID.to_owned(), spec::uid(pod).to_owned()),
        (labels::CONTAINER_NAME.to_owned(), container.to_owned()),
    ]);
    let filter = v1::ContainerFilter { label_selector: selector, ..Default::default() };
    let mut instances = state.runtime.list_containers(filter).await.map_err(|error| error.to_string())?;
    instances.sort_by_key(|instance| std::cmp::Reverse(instance.created_at));
    let known: Vec<(&str, v1::ContainerState)> = instances.iter().map(|i| (i.id.as_str(), i.state())).collect();
    let id = choose(&known, status(pod, container), spec::name(pod), container, previous)?;
    let unavailable = || format!("unable to retrieve container logs for {}{id}", labels::RUNTIME_SCHEME);
    let answer = state.runtime.container_status(id, false).await.map_err(|_| unavailable())?;
    let path = answer.status.map(|status| status.log_path).filter(|path| !path.is_empty());
    Ok(Found { id: id.to_owned(), path: path.ok_or_else(unavailable)? })
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

/// Which instance (newest first) a reader means; a message as upstream's when there is none.
fn choose<'a>(
    instances: &[(&'a str, v1::ContainerState)],
    status: Option<&ContainerStatus>,
    pod: &str,
    container: &str,
    previous: bool,
) -> Result<&'a str, String> {
    use v1::ContainerState::{ContainerExited, ContainerRunning};
    let waiting = status.and_then(|status| status.state.as_ref()?.waiting.as_ref());
    // What was created and did not start has no log.
    let mut started = instances.iter().filter(|(_, state)| matches!(state, ContainerRunning | ContainerExited));
    if previous {
        let newest = started.next();
        // Between two instances the newest is already the one before.
        let found = match newest {
            Some(found @ (_, ContainerExited)) if waiting.is_some() => Some(found),
            _ => started.find(|(_, state)| *state == ContainerExited),
        };
        let missing = || format!("previous terminated container {container:?} in pod {pod:?} not found");
        return found.map(|(id, _)| *id).ok_or_else(missing);
    }
    started.next().map(|(id, _)| *id).ok_or_else(|| not_started(waiting, status, pod, container))
}

fn not_started(
    waiting: Option<&ContainerStateWaiting>,
    status: Option<&ContainerStatus>,
    pod: &str,
    container: &str,
) -> String {
    let state = status.and_then(|status| status.state.as_ref());
    if state.is_some_and(|state| state.terminated.is_some()) {
        return format!("container {container:?} in pod {pod:?} is terminated");
    }
    let what = match waiting.map(|waiting| waiting.reason.as_deref().unwrap_or_default()) {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) if !reason.is_empty() => reason,
        None if status.is_none() => return format!("container {container:?} in pod {pod:?} is not available"),
        _ => return format!("container {container:?} in pod {pod:?} is waiting to start - no logs yet"),
    };
    format!("container {container:?} in pod {pod:?} is waiting to start: {what}")
}

fn stream(state: Arc<State>, found: Found, options: Options) -> Answer {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::spawn(async move {
        let Found { id, path } = found;
        let stopped = || has_stopped(&state, &id);
        if let Err(error) = logs::read(path.as_ref(), &options, sender.clone(), stopped).await {
            tracing::debug!(path, %error, "reading a container's log failed");
            // The answer has begun; upstream also says it in the body.
            let why = format!("failed to try resolving symlinks in path {path:?}: {error}");
            let _ = sender.send(Bytes::from(why)).await;
        }
    });
    answer::stream(receiver)
}

async fn has_stopped(state: &State, id: &str) -> bool {
    match state.runtime.container_status(id, false).await {
        Ok(answer) => answer.status.is_none_or(|status| status.state() != v1::ContainerState::ContainerRunning),
        // A runtime that is away for a moment ends no one's log.
        Err(error) => error.is_not_found(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ContainerState;
    use v1::ContainerState::{ContainerCreated as C, ContainerExited as E, ContainerRunning as R};

    fn waiting(reason: &str) -> Option<ContainerStatus> {
        let waiting = Some(ContainerStateWaiting { reason: Some(reason.into()), message: None });
        Some(ContainerStatus { state: Some(ContainerState { waiting, ..Default::default() }), ..Default::default() })
    }

    #[test]
    fn the_instance_that_is_meant() {
        let back_off = || waiting("CrashLoopBackOff");
        for (instances, status, previous, wanted) in [
            (&[("b", R), ("a", E)][..], None, false, Ok("b")),
            (&[("b", R), ("a", E)], None, true, Ok("a")),
            (&[("b", C), ("a", E)], None, false, Ok("a")),
            (&[("b", E), ("a", E)], None, true, Ok("a")),
            (&[("b", E), ("a", E)], back_off(), true, Ok("b")),
            (&[("b", E)], back_off(), false, Ok("b")),
            (&[("b", R)], None, true, Err("previous terminated container \"c\" in pod \"p\" not found")),
            (&[], None, false, Err("container \"c\" in pod \"p\" is not available")),
            (
                &[("b", C)],
                waiting("ContainerCreating"),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
            ),
            (
                &[],
                waiting("ErrImagePull"),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
            ),
            (
                &[],
                waiting("ImagePullBackOff"),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"),
            ),
        ] {
            let chosen = choose(instances, status.as_ref(), "p", "c", previous);
            assert_eq!(chosen, wanted.map_err(str::to_owned), "{instances:?} {previous}");
        }
    }
}
