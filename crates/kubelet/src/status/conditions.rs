//! A pod's conditions.
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{View, named, whole_seconds};
use crate::spec;

/// The types the kubelet owns; all others are kept as they are.
pub const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Types the kubelet shows only while they hold (KEP-1287).
pub const RESIZE_PENDING: &str = "PodResizePending";
pub const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// Shown by whoever disrupts a pod (KEP-3329), the kubelet when it evicts.
const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// Whether only the kubelet says what a condition of that type says.
pub fn is_ours(type_: &str) -> bool {
    OWNED.contains(&type_) || type_ == RESIZE_PENDING || type_ == RESIZE_IN_PROGRESS
}

struct Outcome {
    good: bool,
    reason: &'static str,
    message: String,
}

impl Outcome {
    fn good() -> Outcome {
        Outcome { good: true, reason: "", message: String::new() }
    }

    fn bad(reason: &'static str, message: String) -> Outcome {
        Outcome { good: false, reason, message }
    }
}

/// All conditions for a status whose other parts are done.
pub fn all(view: &View<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let old = view.old.and_then(|old| old.conditions.as_deref()).unwrap_or_default();
    let mut conditions: Vec<PodCondition> = old.iter().filter(|c| !is_ours(&c.type_)).cloned().collect();
    let phase = status.phase.as_deref().unwrap_or_default();
    let containers = containers_ready(view, status, phase);
    let ready = ready(view, &containers, &conditions);
    let sandbox = view.seen.ready_sandbox().is_some_and(|s| spec::host_network(view.pod) || !s.ips.is_empty());
    let outcomes = [
        Outcome { good: sandbox, reason: "", message: String::new() },
        initialized(view, status, phase),
        ready,
        containers,
        Outcome::good(),
    ];
    let resize = [
        (RESIZE_PENDING, view.allocation.pending.as_ref().map(|p| (p.reason(), p.message.clone()))),
        (RESIZE_IN_PROGRESS, in_progress(view)),
    ];
    let resize = resize.into_iter().filter_map(|(type_, told)| {
        let (reason, message) = told?;
        Some((type_, Outcome { good: true, reason, message }))
    });
    let disruption = view.verdict.and_then(|verdict| verdict.ending.disruption.clone());
    if disruption.is_some() {
        conditions.retain(|c| c.type_ != DISRUPTION_TARGET);
    }
    let disruption =
        disruption.map(|message| (DISRUPTION_TARGET, Outcome { good: true, reason: "TerminationByKubelet", message }));
    for (type_, outcome) in OWNED.into_iter().zip(outcomes).chain(resize).chain(disruption) {
        let word = if outcome.good { "True" } else { "False" };
        let before = old.iter().find(|c| c.type_ == type_);
        let transition = before.filter(|c| c.status == word).and_then(|c| c.last_transition_time.clone());
        conditions.push(PodCondition {
            type_: type_.to_owned(),
            status: word.to_owned(),
            reason: Some(outcome.reason.to_owned()).filter(|r| !r.is_empty()),
            message: Some(outcome.message).filter(|m| !m.is_empty()),
            last_transition_time: transition.or(Some(Time(whole_seconds(view.now)))),
            last_probe_time: None,
            observed_generation: view.pod.metadata.generation,
        });
    }
    conditions
}

fn in_progress(view: &View<'_>) -> Option<(&'static str, String)> {
    match &view.allocation.failure {
        Some(message) => Some(("Error", message.clone())),
        None => view.allocation.is_in_progress().then(Default::default),
    }
}

fn list(kind: &str, names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("containers with {kind} status: [{}]", names.join(" ")))
}

fn join(parts: [Option<String>; 2]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn initialized(view: &View<'_>, status: &PodStatus, phase: &str) -> Outcome {
    let containers = spec::init_containers(view.pod);
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in containers {
        match named(&status.init_container_statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(found) => {
                let done = if spec::is_sidecar(container) { found.started == Some(true) } else { found.ready };
                if !done {
                    incomplete.push(container.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Outcome { good: true, reason: "PodCompleted", message: String::new() };
    }
    let ran = |s: &ContainerStatus| {
        let last = s.last_state.as_ref().is_some_and(|l| l.terminated.is_some());
        last || s.state.as_ref().is_some_and(|st| st.running.is_some() || st.terminated.is_some())
    };
    // Once main containers ran, a sidecar that restarts does not undo the initialization.
    if status.container_statuses.iter().flatten().any(ran) {
        return Outcome::good();
    }
    match join([list("unknown", &unknown), list("incomplete", &incomplete)]) {
        message if message.is_empty() => Outcome::good(),
        message => Outcome::bad("ContainersNotInitialized", message),
    }
}

fn containers_ready(view: &View<'_>, status: &PodStatus, phase: &str) -> Outcome {
    match phase {
        "Succeeded" => return Outcome::bad("PodCompleted", String::new()),
        "Failed" => return Outcome::bad("PodFailed", String::new()),
        _ => {}
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = spec::init_containers(view.pod).iter().filter(|c| spec::is_sidecar(c));
    let all = sidecars
        .map(|c| (c, &status.init_container_statuses))
        .chain(spec::spec(view.pod).containers.iter().map(|c| (c, &status.container_statuses)));
    for (container, statuses) in all {
        match named(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(found) if !found.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    match join([list("unknown", &unknown), list("unready", &unready)]) {
        message if message.is_empty() => Outcome::good(),
        message => Outcome::bad("ContainersNotReady", message),
    }
}

fn ready(view: &View<'_>, containers: &Outcome, foreign: &[PodCondition]) -> Outcome {
    if !containers.good {
        return Outcome::bad(containers.reason, containers.message.clone());
    }
    let mut missing = Vec::new();
    for gate in spec::spec(view.pod).readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match foreign.iter().find(|c| &c.type_ == type_) {
            None => missing.push(format!("corresponding condition of pod readiness gate \"{type_}\" does not exist.")),
            Some(condition) if condition.status != "True" => missing.push(format!(
                "the status of pod readiness gate \"{type_}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    match missing.is_empty() {
        true => Outcome::good(),
        false => Outcome::bad("ReadinessGatesNotReady", missing.join(", ")),
    }
}
