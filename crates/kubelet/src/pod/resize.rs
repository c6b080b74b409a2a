//! Changing what a running container may use, without restarting it unless it asks for that (KEP-1287).
//!
//! A pod runs with the resources it was last allocated. When its spec asks for others they are allocated if the
//! node has them, and then carried out: the pod's cgroup gives way first, then the containers' change, then the
//! pod's cgroup follows. After a restart of the kubelet the API's status tells what was allocated.
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use super::{kill, resize_events};
use crate::container_config::linux_resources;
use crate::kubelet::Kubelet;
use crate::observed::{self, Observed, State};
use crate::resources::{self, Amounts};
use crate::spec;

/// Why a pod does not get what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Never, on this node; otherwise once others leave.
    pub infeasible: bool,
    pub message: String,
}

impl Pending {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        if self.infeasible { "Infeasible" } else { "Deferred" }
    }
}

/// What a pod was allocated, and what of it its containers have.
#[derive(Debug, Default)]
pub struct Allocation {
    /// By container name.
    allocated: HashMap<String, ResourceRequirements>,
    /// What the containers had that ran before this kubelet did, until they are seen; by container name.
    adopted: HashMap<String, ResourceRequirements>,
    /// By container id.
    applied: HashMap<String, ResourceRequirements>,
    pub pending: Option<Pending>,
    /// Why the last change could not be carried out.
    pub failure: Option<String>,
    /// The generation of the spec that is being carried out, until all running containers have what it says.
    started: Option<i64>,
    /// The generation of the spec that was last refused.
    refused: Option<i64>,
}

/// What follows [`carry_out`].
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Something failed, or waits for others to leave.
    Again,
}

impl Allocation {
    /// What the container with that id runs with, if that is known.
    pub fn applied(&self, id: &str) -> Option<&ResourceRequirements> {
        self.applied.get(id)
    }

    /// Whether a change has begun that some container has not seen yet.
    pub fn is_in_progress(&self) -> bool {
        self.started.is_some()
    }

    /// The pod with the resources it has been allocated: those it asks for, where the node has them.
    pub fn settle(&mut self, kubelet: &Kubelet, pod: &Arc<Pod>) -> Arc<Pod> {
        if self.allocated.is_empty() {
            self.allocated = known(pod);
            self.adopted.clone_from(&self.allocated);
        }
        if all(pod).all(|c| self.allocated.get(&c.name) == Some(&wanted(c))) {
            self.pending = None;
            return pod.clone();
        }
        let used = kubelet.pods.used_beside(spec::uid(pod));
        let generation = pod.metadata.generation.unwrap_or_default();
        match refusal(resources::pod_requests(pod), used, kubelet.allocatable) {
            None => {
                self.pending = None;
                self.allocated = all(pod).map(|c| (c.name.clone(), wanted(c))).collect();
                self.started = Some(generation);
                kubelet.pod_event(pod, false, "ResizeStarted", &resize_events::started(pod, generation));
                return pod.clone();
            }
            // How much others use may change: only what becomes of the pod is news.
            Some(now) => {
                let known = self.pending.as_ref().is_some_and(|before| before.infeasible == now.infeasible);
                if !known || self.refused != Some(generation) {
                    let message = resize_events::pending(pod, generation, &now);
                    kubelet.pod_event(pod, true, &format!("Resize{}", now.reason()), &message);
                }
                self.refused = Some(generation);
                self.pending = Some(now);
            }
        }
        let mut held = (**pod).clone();
        let lists = held.spec.as_mut().map(|s| s.containers.iter_mut().chain(s.init_containers.iter_mut().flatten()));
        for container in lists.into_iter().flatten() {
            container.resources = self.allocated.get(&container.name).cloned();
        }
        Arc::new(held)
    }
}

impl Allocation {
    /// Says that a change is done, once what had to be restarted for it runs again.
    fn complete(&mut self, kubelet: &Kubelet, pod: &Pod, seen: &Observed) {
        let runs = |c: &Container| seen.container(&c.name).is_some_and(|c| c.state == State::Running);
        if spec::spec(pod).containers.iter().all(runs)
            && let Some(generation) = self.started.take()
        {
            kubelet.pod_event(pod, false, "ResizeCompleted", &resize_events::completed(pod, generation));
        }
    }
}

fn all(pod: &Pod) -> impl Iterator<Item = &Container> {
    spec::spec(pod).containers.iter().chain(spec::init_containers(pod))
}

fn wanted(container: &Container) -> ResourceRequirements {
    container.resources.clone().unwrap_or_default()
}

/// What the status says the running containers have; for all others, what the spec says.
fn known(pod: &Pod) -> HashMap<String, ResourceRequirements> {
    let status = pod.status.as_ref();
    let statuses = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    let told: HashMap<&str, &ResourceRequirements> =
        statuses.filter_map(|s| Some((s.name.as_str(), s.resources.as_ref()?))).collect();
    all(pod)
        .map(|c| {
            let mut resources = wanted(c);
            if let Some(told) = told.get(c.name.as_str()) {
                (resources.limits, resources.requests) = (told.limits.clone(), told.requests.clone());
            }
            (c.name.clone(), resources)
        })
        .collect()
}

/// Why `asked` cannot be had.
fn refusal(asked: Amounts, used: Amounts, node: Amounts) -> Option<Pending> {
    for (name, asked, used, node) in [
        ("memory", asked.memory_bytes, used.memory_bytes, node.memory_bytes),
        ("cpu", asked.cpu_milli, used.cpu_milli, node.cpu_milli),
    ] {
        if asked > node {
            let message = format!("Node didn't have enough capacity: {name}, requested: {asked}, capacity: {node}");
            return Some(Pending { infeasible: true, message });
        }
        if used.saturating_add(asked) > node {
            let message =
                format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {node}");
            return Some(Pending { infeasible: false, message });
        }
    }
    None
}

/// Whether one of the resources that change wants the container restarted.
fn wants_restart(container: &Container, old: &ResourceRequirements, new: &ResourceRequirements) -> bool {
    let differs = |name: &str| {
        let of = |r: &ResourceRequirements| {
            let get = |list: &Option<std::collections::BTreeMap<String, _>>| {
                list.as_ref().and_then(|list| list.get(name).cloned())
            };
            (get(&r.requests), get(&r.limits))
        };
        of(old) != of(new)
    };
    let policies = container.resize_policy.iter().flatten();
    policies.into_iter().any(|p| p.restart_policy == "RestartContainer" && differs(&p.resource_name))
}

/// Gives running containers what the pod (as [`Allocation::settle`] left it) allocates to them.
pub async fn carry_out(kubelet: &Kubelet, pod: &Pod, seen: &Observed, allocation: &mut Allocation) -> Outcome {
    allocation.applied.retain(|id, _| seen.containers.iter().any(|c| &c.id == id && c.state == State::Running));
    let mut changed: Vec<(&observed::Container, &Container)> = Vec::new();
    for container in all(pod) {
        let Some(running) = seen.container(&container.name).filter(|c| c.state == State::Running) else { continue };
        // Started with what it is allocated; or by a kubelet before us, of whose work the status told.
        let began = allocation.adopted.get(&container.name).cloned().unwrap_or_else(|| wanted(container));
        let applied = allocation.applied.entry(running.id.clone()).or_insert(began);
        if *applied != wanted(container) {
            changed.push((running, container));
        }
    }
    allocation.adopted.clear();
    let waits = allocation.pending.as_ref().is_some_and(|pending| !pending.infeasible);
    if changed.is_empty() {
        allocation.complete(kubelet, pod, seen);
        return if waits { Outcome::Again } else { Outcome::Done };
    }
    // Limits of the pod that grow have to grow first; those that shrink are refused here and follow below.
    let first = kubelet.cgroups.make_pod(pod);
    let mut failure = None;
    let mut restarts = false;
    for (running, container) in changed {
        let new = wanted(container);
        let old = allocation.applied.get(&running.id).cloned().unwrap_or_default();
        let done = if wants_restart(container, &old, &new) {
            let ip = seen.sandboxes.first().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
            let message = format!("Container {} resize requires restart", container.name);
            restarts = true;
            kill::container(kubelet, pod, running, &ip, &message, kill::spec_grace(pod)).await
        } else {
            let linux =
                linux_resources(pod, container, &kubelet.config, kubelet.capacity.memory_bytes, kubelet.oom_floor);
            kubelet.runtime.update_container_resources(&running.id, linux).await
        };
        match done {
            Ok(()) => drop(allocation.applied.insert(running.id.clone(), new)),
            Err(error) => failure = Some(error.message()),
        }
    }
    if failure.is_none() && first.is_err() {
        failure = kubelet.cgroups.make_pod(pod).err().map(|error| error.to_string());
    }
    if let Err(error) = kubelet.cgroups.set_burstable(kubelet.pods.burstable_cpu_milli()) {
        tracing::warn!(%error, "cannot give the burstable pods their share of the CPUs");
    }
    if let Some(error) = failure.as_ref().filter(|now| allocation.failure.as_ref() != Some(now)) {
        let generation = allocation.started.or(pod.metadata.generation).unwrap_or_default();
        kubelet.pod_event(pod, true, "ResizeError", &resize_events::failed(pod, generation, error));
    }
    allocation.failure = failure;
    if !restarts && allocation.failure.is_none() {
        allocation.complete(kubelet, pod, seen);
    }
    if waits || allocation.failure.is_some() { Outcome::Again } else { Outcome::Done }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> Pod {
        let value = apimachinery::codec::yaml::parse(yaml).expect("yaml");
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn what_the_node_cannot_give() {
        let amounts = |cpu_milli, memory_bytes| Amounts { cpu_milli, memory_bytes };
        let node = amounts(2000, 1000);
        let reason = |asked| refusal(asked, amounts(500, 500), node).map(|pending| pending.reason());
        assert_eq!(reason(amounts(1500, 500)), None);
        assert_eq!(reason(amounts(1600, 500)), Some("Deferred"));
        assert_eq!(reason(amounts(2100, 500)), Some("Infeasible"));
        assert_eq!(
            refusal(amounts(3000, 1), Amounts::default(), node).map(|pending| pending.message).as_deref(),
            Some("Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000")
        );
    }

    #[test]
    fn the_status_tells_what_was_allocated_before() {
        let pod = pod(
            "{spec: {containers: [{name: a, resources: {requests: {cpu: 2}}}, {name: b, resources: {requests: {cpu: 3}}}]},
              status: {containerStatuses: [{name: a, image: i, imageID: '', ready: true, restartCount: 0, resources: {requests: {cpu: 1}}}]}}",
        );
        let known = known(&pod);
        let cpu = |name: &str| known[name].requests.as_ref().map(|r| r["cpu"].0.clone());
        assert_eq!((cpu("a").as_deref(), cpu("b").as_deref()), (Some("1"), Some("3")));
    }

    #[test]
    fn only_the_changed_resource_s_policy_counts() {
        let pod = pod(
            "spec: {containers: [{name: a, resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}, {resourceName: cpu, restartPolicy: NotRequired}]}]}",
        );
        let resources = |text: &str| -> ResourceRequirements {
            let value = apimachinery::codec::yaml::parse(text).expect("yaml");
            serde_json::from_value(value).expect("resources")
        };
        let old = resources("{limits: {cpu: 1, memory: 1Mi}}");
        let container = &spec::spec(&pod).containers[0];
        assert!(!wants_restart(container, &old, &resources("{limits: {cpu: 2, memory: 1Mi}}")));
        assert!(wants_restart(container, &old, &resources("{limits: {cpu: 1, memory: 2Mi}}")));
    }
}
