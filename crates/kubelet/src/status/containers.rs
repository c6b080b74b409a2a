//! Container statuses: state, last state, readiness, for the three lists of a pod.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, LinuxContainerUser, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::View;
use crate::labels::RUNTIME_SCHEME;
use crate::observed::{self, State};
use crate::probes::results::ProbeKind;
use crate::spec::{self, Kind};

/// The three lists.
pub struct Lists {
    pub main: Vec<ContainerStatus>,
    pub init: Vec<ContainerStatus>,
    pub ephemeral: Vec<ContainerStatus>,
}

/// The statuses of all containers of a pod, in the order of its spec.
pub fn statuses(view: &View<'_>) -> Lists {
    let list = |kind, containers: &[Container]| containers.iter().map(|c| one(view, kind, c)).collect();
    let ephemeral: Vec<Container> = spec::ephemeral_containers(view.pod).iter().map(spec::from_ephemeral).collect();
    Lists {
        main: list(Kind::Main, &spec::spec(view.pod).containers),
        init: list(Kind::Init, spec::init_containers(view.pod)),
        ephemeral: list(Kind::Ephemeral, &ephemeral),
    }
}

fn old_status<'a>(view: &View<'a>, kind: Kind, name: &str) -> Option<&'a ContainerStatus> {
    let old = view.old?;
    let list = match kind {
        Kind::Main => &old.container_statuses,
        Kind::Init => &old.init_container_statuses,
        Kind::Ephemeral => &old.ephemeral_container_statuses,
    };
    list.iter().flatten().find(|status| status.name == name)
}

fn one(view: &View<'_>, kind: Kind, container: &Container) -> ContainerStatus {
    let mut same_name = view.seen.containers.iter().filter(|c| c.name == container.name);
    let old = old_status(view, kind, &container.name);
    let mut status = match same_name.next() {
        Some(newest) => {
            let mut status = converted(view, container, newest);
            if let Some(before) = same_name.next() {
                let state = state_of(before);
                status.last_state = Some(state).filter(|state| state.terminated.is_some());
            }
            if status.last_state.is_none() && old.is_some_and(|o| o.restart_count == status.restart_count) {
                status.last_state = old.and_then(|o| o.last_state.clone());
            }
            status
        }
        None => absent(view, kind, container, old),
    };
    apply_waiting(view, kind, container, &mut status);
    set_readiness(view, kind, container, &mut status);
    if status.last_state.is_none() {
        status.last_state = Some(ContainerState::default());
    }
    status
}

/// No container of that name exists (any more).
fn absent(view: &View<'_>, kind: Kind, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let initializing = !spec::init_containers(view.pod).is_empty() && kind != Kind::Ephemeral;
    let reason = if initializing { "PodInitializing" } else { "ContainerCreating" };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(reason, "")),
        volume_mounts: mounts(container),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    let old_state = old.state.clone().unwrap_or_default();
    status.restart_count = old.restart_count;
    if old_state.terminated.is_some() && (kind == Kind::Init || view.terminal || spec::is_terminal(view.pod)) {
        return old.clone();
    }
    status.last_state.clone_from(&old.last_state);
    // A container whose turn never came is not lost: it goes on waiting, and shows what it waited for.
    let never_started = kind == Kind::Main && initializing && !initialized(view);
    if old_state.running.is_some() || (view.terminal && old_state.terminated.is_none() && !never_started) {
        // It ran, and is gone without a trace.
        let lost = ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            ..Default::default()
        };
        let lost = ContainerState { terminated: Some(lost), ..Default::default() };
        if view.terminal {
            status.state = Some(lost);
        } else if old_state.running.is_some() && view.pod.metadata.deletion_timestamp.is_none() {
            let message =
                "The container could not be located when the pod was deleted.  The container used to be Running";
            let lost = lost.terminated.map(|t| ContainerStateTerminated { message: Some(message.into()), ..t });
            status.last_state = Some(ContainerState { terminated: lost, ..Default::default() });
            status.restart_count += 1;
        }
    } else if old_state.terminated.is_some() {
        status.last_state = Some(old_state);
    }
    status
}

/// Whether all init containers have done their work, as far as the former status and the runtime tell.
fn initialized(view: &View<'_>) -> bool {
    spec::init_containers(view.pod).iter().all(|container| match view.seen.container(&container.name) {
        Some(seen) if spec::is_sidecar(container) => seen.started_at_ns > 0,
        Some(seen) => seen.state == State::Exited && seen.exit_code == 0,
        None => old_status(view, Kind::Init, &container.name).is_some_and(|status| status.ready),
    })
}

/// A container that is to be started and cannot be shows as waiting, with the reason.
fn apply_waiting(view: &View<'_>, kind: Kind, container: &Container, status: &mut ContainerStatus) {
    if view.terminal {
        return;
    }
    let Some((reason, message)) = view.waiting.get(&container.name) else { return };
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return;
    }
    if let Some(ended) = &state.terminated {
        let again = match kind {
            Kind::Main => crate::plan::restarts_after(view.pod, container, ended.exit_code),
            Kind::Init => spec::is_sidecar(container) || ended.exit_code != 0,
            Kind::Ephemeral => false,
        };
        if !again {
            return;
        }
        status.last_state = Some(state);
    }
    status.state = Some(waiting(reason, message));
}

fn set_readiness(view: &View<'_>, kind: Kind, container: &Container, status: &mut ContainerStatus) {
    let state = status.state.clone().unwrap_or_default();
    if kind == Kind::Ephemeral {
        return;
    }
    let id = status.container_id.as_deref().and_then(|id| id.strip_prefix(RUNTIME_SCHEME)).unwrap_or_default();
    let running = state.running.is_some();
    let verdict = |probe, kind| match probe {
        true => view.probes.get(id, kind) == Some(true),
        false => true,
    };
    let started = running && verdict(container.startup_probe.is_some(), ProbeKind::Startup);
    status.started = Some(started);
    status.ready = if kind == Kind::Init && !spec::is_sidecar(container) {
        state.terminated.is_some_and(|t| t.exit_code == 0)
    } else {
        started && verdict(container.readiness_probe.is_some(), ProbeKind::Readiness)
    };
}

/// A waiting state.
pub fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = Some(message.to_owned()).filter(|m| !m.is_empty());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    }
}

/// As upstream, a container that never ran has started when Unix time did.
fn time(ns: i64) -> Option<Time> {
    Timestamp::from_second(ns / 1_000_000_000).ok().map(Time)
}

fn state_of(seen: &observed::Container) -> ContainerState {
    match seen.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(seen.started_at_ns) }),
            ..Default::default()
        },
        State::Created => ContainerState { waiting: Some(ContainerStateWaiting::default()), ..Default::default() },
        State::Exited => {
            let text = |s: &str| Some(s.to_owned()).filter(|s| !s.is_empty());
            let fallback = if seen.exit_code == 0 { "Completed" } else { "Error" };
            ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: seen.exit_code,
                    reason: text(&seen.reason).or_else(|| text(fallback)),
                    message: text(&seen.message),
                    started_at: time(seen.started_at_ns),
                    finished_at: time(seen.finished_at_ns),
                    container_id: Some(format!("{RUNTIME_SCHEME}{}", seen.id)),
                    signal: None,
                }),
                ..Default::default()
            }
        }
        State::Unknown => ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".into()),
                message: Some("The container could not be located when the pod was terminated".into()),
                ..Default::default()
            }),
            ..Default::default()
        },
    }
}

fn converted(view: &View<'_>, container: &Container, seen: &observed::Container) -> ContainerStatus {
    let running = seen.state == State::Running;
    let resources = container.resources.clone();
    ContainerStatus {
        name: container.name.clone(),
        image: if seen.image.is_empty() { container.image.clone().unwrap_or_default() } else { seen.image.clone() },
        image_id: seen.image_id.clone(),
        container_id: Some(format!("{RUNTIME_SCHEME}{}", seen.id)),
        restart_count: i32::try_from(seen.restarts).unwrap_or(i32::MAX),
        state: Some(state_of(seen)),
        allocated_resources: resources.as_ref().and_then(|r| r.requests.clone()).filter(|r| running && !r.is_empty()),
        resources: running.then(|| view.allocation.applied(&seen.id).cloned().or(resources).unwrap_or_default()),
        volume_mounts: mounts(container),
        user: seen.user.as_ref().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: Some(user.supplemental_groups.clone()).filter(|g| !g.is_empty()),
            }),
        }),
        ..Default::default()
    }
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let list = container.volume_mounts.as_ref().filter(|list| !list.is_empty())?;
    let one = |mount: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|ro| *ro),
        recursive_read_only: mount.read_only.filter(|ro| *ro).map(|_| "Disabled".to_owned()),
        volume_status: None,
    };
    Some(list.iter().map(one).collect())
}
