//! A pod's status as the API shows it, from what runs. Pure; worded exactly as upstream.
pub mod conditions;
pub mod containers;
pub mod patch;
pub mod writer;

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::observed::Observed;
use crate::pod::resize::Allocation;
use crate::probes::results::Results;
use crate::{resources, spec};

/// Why a container waits: (reason, message), by container name.
pub type Waiting = HashMap<String, (String, String)>;

/// The end the kubelet decided on for the whole pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub reason: String,
    pub message: String,
    pub ending: Ending,
}

/// How a pod is ended that the kubelet decided against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// The grace period, if it is not the pod's own.
    pub grace_s: Option<i64>,
    /// The message of a `DisruptionTarget` condition, if the pod gets one.
    pub disruption: Option<String>,
}

impl Verdict {
    /// With the pod's own grace period, and no condition.
    pub fn new(reason: &str, message: &str) -> Verdict {
        Verdict { reason: reason.to_owned(), message: message.to_owned(), ending: Ending::default() }
    }
}

/// Everything a status is made of.
pub struct View<'a> {
    pub pod: &'a Pod,
    pub seen: &'a Observed,
    pub probes: &'a Results,
    pub waiting: &'a Waiting,
    /// The status before this one: the API's, or a newer one not yet written.
    pub old: Option<&'a PodStatus>,
    pub verdict: Option<&'a Verdict>,
    /// No container of the pod will be started any more.
    pub terminal: bool,
    pub host_ips: &'a [String],
    pub allocation: &'a Allocation,
    pub now: Timestamp,
}

/// Makes the status.
pub fn generate(view: &View<'_>) -> PodStatus {
    let pod = view.pod;
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        qos_class: Some(resources::qos(pod).name().to_owned()),
        nominated_node_name: view.old.and_then(|old| old.nominated_node_name.clone()),
        resource_claim_statuses: view.old.and_then(|old| old.resource_claim_statuses.clone()),
        ..Default::default()
    };
    // A pod that was turned away never had containers to speak of.
    let had = !view.seen.containers.is_empty() || view.old.is_some_and(|old| old.container_statuses.is_some());
    let ended = view.verdict.is_some() || spec::is_terminal(pod);
    if had || !ended {
        let lists = containers::statuses(view);
        status.container_statuses = some(lists.main);
        status.init_container_statuses = some(lists.init);
        status.ephemeral_container_statuses = some(lists.ephemeral);
    }
    status.phase = Some(phase_of(view, &status).to_owned());
    if let Some(verdict) = view.verdict {
        status.reason = Some(verdict.reason.clone()).filter(|r| !r.is_empty());
        status.message = Some(verdict.message.clone()).filter(|m| !m.is_empty());
    } else if let Some(old) = view.old.filter(|old| old.phase.as_deref() == Some("Failed")) {
        status.reason.clone_from(&old.reason);
        status.message.clone_from(&old.message);
    }
    set_addresses(view, &mut status);
    status.start_time = view.old.and_then(|old| old.start_time.clone()).or(Some(Time(whole_seconds(view.now))));
    status.conditions = Some(conditions::all(view, &status));
    status
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// The API keeps times to the second.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn set_addresses(view: &View<'_>, status: &mut PodStatus) {
    if view.verdict.is_some() && view.seen.sandboxes.is_empty() && view.old.is_none_or(|old| old.host_ip.is_none()) {
        return;
    }
    status.host_ip = view.host_ips.first().cloned();
    status.host_ips = some(view.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    let observed = view.seen.sandboxes.first().map(|s| s.ips.clone()).unwrap_or_default();
    let ips = if spec::host_network(view.pod) {
        if view.seen.sandboxes.is_empty() { Vec::new() } else { view.host_ips.to_vec() }
    } else if observed.is_empty() {
        // A finished pod keeps showing the address it had.
        view.old
            .and_then(|old| old.pod_ips.as_ref())
            .map(|ips| ips.iter().map(|ip| ip.ip.clone()).collect())
            .unwrap_or_default()
    } else {
        observed
    };
    status.pod_ip = ips.first().cloned();
    status.pod_ips = some(ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn phase_of(view: &View<'_>, status: &PodStatus) -> &'static str {
    match view.old.and_then(|old| old.phase.as_deref()) {
        Some("Failed") => return "Failed",
        Some("Succeeded") => return "Succeeded",
        _ => {}
    }
    if view.verdict.is_some() {
        return "Failed";
    }
    phase(view.pod, status, view.terminal)
}

fn named<'a>(list: &'a Option<Vec<ContainerStatus>>, name: &str) -> Option<&'a ContainerStatus> {
    list.iter().flatten().find(|status| status.name == name)
}

#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
    unknown: usize,
}

/// Upstream's `getPhase`.
fn phase(pod: &Pod, status: &PodStatus, terminal: bool) -> &'static str {
    let (pending, failed) = count_init(pod, status);
    let mut count = Count::default();
    for container in &spec::spec(pod).containers {
        let state =
            named(&status.container_statuses, &container.name).and_then(|s| s.state.as_ref().map(|state| (s, state)));
        match state {
            Some((_, state)) if state.running.is_some() => count.running += 1,
            Some((_, state)) if state.terminated.is_some() => {
                count.stopped += 1;
                count.succeeded += usize::from(state.terminated.as_ref().is_some_and(|t| t.exit_code == 0));
            }
            Some((s, state)) if state.waiting.is_some() => {
                match s.last_state.as_ref().is_some_and(|last| last.terminated.is_some()) {
                    true => count.stopped += 1,
                    false => count.waiting += 1,
                }
            }
            _ => count.unknown += 1,
        }
    }
    let never = spec::restart_policy(pod) == "Never";
    if failed && never {
        return "Failed";
    }
    if pending || count.waiting > 0 {
        // A pod that is taken down before it ever ran has failed.
        return if terminal { "Failed" } else { "Pending" };
    }
    if count.running > 0 && count.unknown == 0 {
        return "Running";
    }
    if count.running == 0 && count.stopped > 0 && count.unknown == 0 {
        let succeeded = count.stopped == count.succeeded;
        if terminal {
            return if succeeded { "Succeeded" } else { "Failed" };
        }
        let wanted = spec::spec(pod).containers.iter().any(|container| {
            named(&status.container_statuses, &container.name)
                .and_then(|s| s.state.as_ref()?.terminated.as_ref())
                .is_none_or(|t| crate::plan::restarts_after(pod, container, t.exit_code))
        });
        return match (wanted, succeeded) {
            (true, _) => "Running",
            (false, true) => "Succeeded",
            (false, false) => "Failed",
        };
    }
    "Pending"
}

/// (an init container has still to finish, one failed)
fn count_init(pod: &Pod, status: &PodStatus) -> (bool, bool) {
    let (mut pending, mut failed) = (false, false);
    let main_ran = spec::spec(pod).containers.iter().any(|c| {
        named(&status.container_statuses, &c.name)
            .is_some_and(|s| s.state.as_ref().is_some_and(|st| st.running.is_some() || st.terminated.is_some()))
    });
    for container in spec::init_containers(pod) {
        let found = named(&status.init_container_statuses, &container.name);
        let state = found.and_then(|s| s.state.as_ref());
        if spec::is_sidecar(container) {
            let started = found.is_some_and(|s| s.started == Some(true));
            let ran = found.is_some_and(|s| s.last_state.as_ref().is_some_and(|l| l.terminated.is_some()));
            let ended = state.is_some_and(|s| s.terminated.is_some());
            pending |= !started && !ran && !ended && !main_ran;
            continue;
        }
        match state {
            Some(state) if state.terminated.is_some() => {
                failed |= state.terminated.as_ref().is_some_and(|t| t.exit_code != 0);
            }
            Some(state) if state.waiting.is_some() => {
                let last = found.and_then(|s| s.last_state.as_ref()?.terminated.as_ref());
                match last {
                    Some(t) if t.exit_code != 0 => {
                        failed = true;
                        pending = true;
                    }
                    _ => pending = true,
                }
            }
            _ => pending = true,
        }
    }
    (pending, failed)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
