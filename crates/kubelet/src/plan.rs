//! What to do about a pod: which containers to kill and to start, whether it needs another sandbox. Pure.
//!
//! The same view always gives the same plan; a plan carried out leads, seen again, to an empty plan or to the
//! next step. Follows the order upstream's kubelet keeps: sandbox, init containers one by one (sidecars stay
//! running), then main containers.
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::labels::container_hash;
use crate::observed::{self, Observed, State};
use crate::probes::results::{ProbeKind, Results};
use crate::spec::{self, Kind};

/// Why a container is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    pub id: String,
    pub name: String,
    pub message: String,
    /// The grace period is that of this probe, if it has its own.
    pub because: Because,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    Changed,
    Liveness,
    Startup,
    Unknown,
}

/// The steps, in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Stop everything, sandbox included.
    pub kill_pod: bool,
    pub kill: Vec<Kill>,
    /// `Some(attempt)`: run a new sandbox.
    pub create_sandbox: Option<u32>,
    pub start: Vec<(Kind, usize)>,
}

impl Plan {
    fn start(&mut self, kind: Kind, index: usize) {
        self.start.push((kind, index));
    }
}

/// Whether a main container is to be started, given how it ended before.
pub fn should_restart(pod: &Pod, container: &Container, seen: Option<&observed::Container>) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Some(seen) = seen else { return true };
    match seen.state {
        State::Running => false,
        State::Unknown | State::Created => true,
        State::Exited => restarts_after(pod, container, seen.exit_code),
    }
}

/// Whether policy wants a container again that ended with `exit_code`.
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.as_ref().is_some_and(|values| values.contains(&exit_code));
        let matches = if codes.operator == "In" { listed } else { !listed };
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| spec::restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// The next steps for a pod that is to run.
pub fn plan(pod: &Pod, seen: &Observed, probes: &Results) -> Plan {
    let mut plan = Plan::default();
    if let Some(attempt) = sandbox_wanted(pod, seen) {
        plan_sandbox(pod, seen, attempt, &mut plan);
        return plan;
    }
    for (index, container) in spec::ephemeral_containers(pod).iter().enumerate() {
        if seen.container(&container.name).is_none() {
            plan.start(Kind::Ephemeral, index);
        }
    }
    let initialized = plan_init(pod, seen, probes, &mut plan);
    if plan.kill_pod || !initialized {
        return plan;
    }
    let keep = plan_main(pod, seen, probes, &mut plan);
    if keep == 0 && !plan.start.iter().any(|(kind, _)| *kind == Kind::Main) {
        plan = Plan { kill_pod: true, ..Plan::default() };
    }
    plan
}

/// The attempt number of the sandbox to make, if the pod needs one.
fn sandbox_wanted(pod: &Pod, seen: &Observed) -> Option<u32> {
    let Some(newest) = seen.sandboxes.first() else { return Some(0) };
    let several = seen.sandboxes.iter().filter(|s| s.ready).count() > 1;
    let moved = newest.ready && newest.host_network != spec::host_network(pod);
    let no_address = !spec::host_network(pod) && newest.ips.is_empty();
    (several || !newest.ready || moved || no_address).then_some(newest.attempt + 1)
}

fn plan_sandbox(pod: &Pod, seen: &Observed, attempt: u32, plan: &mut Plan) {
    // What is left of an older sandbox goes first.
    plan.kill_pod = !seen.sandboxes.is_empty();
    if spec::restart_policy(pod) == "Never" && attempt != 0 && !seen.containers.is_empty() {
        return;
    }
    let succeeded =
        |c: &Container| seen.container(&c.name).is_some_and(|s| s.state == State::Exited && s.exit_code == 0);
    let skip = |c: &Container| spec::restart_policy(pod) == "OnFailure" && succeeded(c);
    let main: Vec<usize> =
        spec::spec(pod).containers.iter().enumerate().filter(|(_, c)| !skip(c)).map(|(index, _)| index).collect();
    if main.is_empty() {
        return;
    }
    plan.create_sandbox = Some(attempt);
    if spec::init_containers(pod).is_empty() {
        main.into_iter().for_each(|index| plan.start(Kind::Main, index));
    } else {
        plan.start(Kind::Init, 0);
    }
}

/// Plans init containers; returns whether the main ones may run.
fn plan_init(pod: &Pod, seen: &Observed, probes: &Results, plan: &mut Plan) -> bool {
    let containers = spec::init_containers(pod);
    if containers.is_empty() {
        return true;
    }
    let mut initialized = spec::spec(pod)
        .containers
        .iter()
        .any(|c| seen.active(&c.name).is_some_and(|s| matches!(s.state, State::Running | State::Exited)));
    // From here backwards only sidecars matter: the others have done their work.
    let mut passed = initialized;
    let mut start = Vec::new();
    for (index, container) in containers.iter().enumerate().rev() {
        let sidecar = spec::is_sidecar(container);
        let Some(status) = seen.active(&container.name) else {
            if passed && sidecar {
                start.push(index);
            }
            continue;
        };
        if passed && !sidecar {
            continue;
        }
        match step_of_init(pod, container, status, probes) {
            Step::Wait => {}
            Step::Done if passed => {}
            Step::Done if index + 1 == containers.len() => initialized = true,
            Step::Done => start.push(index + 1),
            Step::Start => start.push(index),
            Step::Restart(kill) => {
                plan.kill.push(kill);
                start.push(index);
            }
            Step::Fail => {
                *plan = Plan { kill_pod: true, ..Plan::default() };
                return false;
            }
        }
        passed = true;
    }
    if !passed {
        start.push(0);
    }
    start.sort_unstable();
    start.dedup();
    // A sidecar that is running already is not started a second time by its predecessor's success.
    start.retain(|index| {
        let running =
            containers.get(*index).and_then(|c| seen.active(&c.name)).is_some_and(|s| s.state == State::Running);
        !running || plan.kill.iter().any(|kill| containers.get(*index).is_some_and(|c| c.name == kill.name))
    });
    start.into_iter().for_each(|index| plan.start(Kind::Init, index));
    initialized
}

enum Step {
    Wait,
    Done,
    Start,
    Restart(Kill),
    Fail,
}

fn step_of_init(pod: &Pod, container: &Container, status: &observed::Container, probes: &Results) -> Step {
    let kill = |because, message| {
        Step::Restart(Kill { id: status.id.clone(), name: container.name.clone(), message, because })
    };
    let sidecar = spec::is_sidecar(container);
    match status.state {
        State::Running if !sidecar => Step::Wait,
        State::Running => {
            if container.startup_probe.is_some() {
                match probes.get(&status.id, ProbeKind::Startup) {
                    None => return Step::Wait,
                    Some(false) => {
                        return kill(
                            Because::Startup,
                            format!("Init container {} failed startup probe", container.name),
                        );
                    }
                    Some(true) => {}
                }
            }
            if probes.get(&status.id, ProbeKind::Liveness) == Some(false) {
                return kill(Because::Liveness, format!("Init container {} failed liveness probe", container.name));
            }
            Step::Done
        }
        State::Exited if sidecar => Step::Start,
        State::Exited if status.exit_code == 0 => Step::Done,
        State::Exited | State::Created => match restarts_after(pod, container, 1) {
            true => Step::Start,
            false => Step::Fail,
        },
        State::Unknown => match sidecar || restarts_after(pod, container, 1) {
            true => kill(
                Because::Unknown,
                format!("Init container is in \"{}\" state, try killing it before restart", "unknown"),
            ),
            false => Step::Fail,
        },
    }
}

/// Plans main containers; returns how many go on as they are.
fn plan_main(pod: &Pod, seen: &Observed, probes: &Results, plan: &mut Plan) -> usize {
    let mut keep = 0;
    for (index, container) in spec::spec(pod).containers.iter().enumerate() {
        let Some(status) = seen.container(&container.name).filter(|s| s.state == State::Running) else {
            let status = seen.container(&container.name);
            if should_restart(pod, container, status) {
                if let Some(status) = status.filter(|s| s.state == State::Unknown) {
                    plan.kill.push(Kill {
                        id: status.id.clone(),
                        name: container.name.clone(),
                        message: "Container is in \"unknown\" state, try killing it before restart".into(),
                        because: Because::Unknown,
                    });
                }
                plan.start(Kind::Main, index);
            }
            continue;
        };
        let (because, message, restart) = if !status.hash.is_empty() && status.hash != container_hash(container) {
            (Because::Changed, format!("Container {} definition changed", container.name), true)
        } else if probes.get(&status.id, ProbeKind::Liveness) == Some(false) {
            let message = format!("Container {} failed liveness probe", container.name);
            (Because::Liveness, message, restarts_after(pod, container, 137))
        } else if probes.get(&status.id, ProbeKind::Startup) == Some(false) {
            let message = format!("Container {} failed startup probe", container.name);
            (Because::Startup, message, restarts_after(pod, container, 137))
        } else {
            keep += 1;
            continue;
        };
        let message = if restart { format!("{message}, will be restarted") } else { message };
        plan.kill.push(Kill { id: status.id.clone(), name: container.name.clone(), message, because });
        match restart {
            true => plan.start(Kind::Main, index),
            // Its end is handled once it is seen.
            false => keep += 1,
        }
    }
    keep
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
