//! Pods as `kubectl get` shows them.
//!
//! Source: `printPod` in `pkg/printers/internalversion/printers.go`.
use super::status::{condition, is_restartable_init};
use crate::cells;
use apimachinery::table::{Cell, Column, Row};
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

pub const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    cells::text("Status", "The aggregate status of the containers in this pod."),
    cells::text(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    cells::AGE,
    cells::wide(
        "IP",
        "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
    ),
    cells::wide(
        "Node",
        "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
    ),
    cells::wide(
        "Nominated Node",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.",
    ),
    cells::wide(
        "Readiness Gates",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
    ),
];

/// Restarts, counted and dated.
#[derive(Default)]
struct Restarts<'a> {
    count: i64,
    last: Option<&'a Time>,
    of_sidecars: i64,
    last_of_sidecars: Option<&'a Time>,
}

fn finished(status: &ContainerStatus) -> Option<&Time> {
    status.last_state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()
}

fn word(text: Option<&String>) -> &str {
    text.map(String::as_str).unwrap_or_default()
}

/// Why a container that ended did.
fn ended(status: &ContainerStatus) -> Option<String> {
    let terminated = status.state.as_ref()?.terminated.as_ref()?;
    Some(match word(terminated.reason.as_ref()) {
        "" => match terminated.signal.unwrap_or_default() {
            0 => format!("ExitCode:{}", terminated.exit_code),
            signal => format!("Signal:{signal}"),
        },
        reason => reason.to_owned(),
    })
}

struct Summary<'a> {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts<'a>,
}

fn init_container(spec: &[Container], name: &str) -> bool {
    spec.iter().any(|c| c.name == name && is_restartable_init(c))
}

/// Goes through the init containers; whether the pod is still at them.
fn initializing<'a>(pod: &'a Pod, status: &'a PodStatus, summary: &mut Summary<'a>) -> bool {
    let containers = pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    for (i, container) in status.init_container_statuses.iter().flatten().enumerate() {
        let restartable = init_container(containers, &container.name);
        summary.restarts.count += i64::from(container.restart_count);
        summary.restarts.last = summary.restarts.last.max(finished(container));
        if restartable {
            summary.restarts.of_sidecars += i64::from(container.restart_count);
            summary.restarts.last_of_sidecars = summary.restarts.last_of_sidecars.max(finished(container));
        }
        let state = container.state.as_ref();
        if state.and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if restartable && container.started == Some(true) {
            summary.ready += usize::from(container.ready);
            continue;
        }
        let waiting = state.and_then(|s| s.waiting.as_ref()).map(|w| word(w.reason.as_ref())).unwrap_or_default();
        summary.reason = if let Some(reason) = ended(container) {
            format!("Init:{reason}")
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", containers.len())
        };
        return true;
    }
    false
}

fn running<'a>(status: &'a PodStatus, summary: &mut Summary<'a>) {
    summary.restarts.count = summary.restarts.of_sidecars;
    summary.restarts.last = summary.restarts.last_of_sidecars;
    let mut has_running = false;
    for container in status.container_statuses.iter().flatten().rev() {
        summary.restarts.count += i64::from(container.restart_count);
        summary.restarts.last = summary.restarts.last.max(finished(container));
        let state = container.state.as_ref();
        let waiting = state.and_then(|s| s.waiting.as_ref()).map(|w| word(w.reason.as_ref())).unwrap_or_default();
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(reason) = ended(container) {
            summary.reason = reason;
        } else if container.ready && state.is_some_and(|s| s.running.is_some()) {
            has_running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && has_running {
        let ready = condition(Some(status), "Ready").is_some_and(|c| c.status == "True");
        summary.reason = if ready { "Running".into() } else { "NotReady".into() };
    }
}

fn summarize(pod: &Pod) -> Summary<'_> {
    let spec_containers = pod.spec.as_ref().map_or(0, |s| s.containers.len());
    let sidecars = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()).filter(|c| is_restartable_init(c));
    let mut summary = Summary {
        reason: String::new(),
        ready: 0,
        total: spec_containers + sidecars.count(),
        restarts: Restarts::default(),
    };
    let Some(status) = &pod.status else { return summary };
    summary.reason = match word(status.reason.as_ref()) {
        "" => word(status.phase.as_ref()).to_owned(),
        reason => reason.to_owned(),
    };
    if condition(Some(status), "PodScheduled").and_then(|c| c.reason.as_deref()) == Some("SchedulingGated") {
        summary.reason = "SchedulingGated".into();
    }
    let initializing = initializing(pod, status, &mut summary);
    let initialized = condition(Some(status), "Initialized").is_some_and(|c| c.status == "True");
    if !initializing || initialized {
        running(status, &mut summary);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        match word(status.reason.as_ref()) {
            "NodeLost" => summary.reason = "Unknown".into(),
            _ if !super::status::is_terminal(pod) => summary.reason = "Terminating".into(),
            _ => {}
        }
    }
    summary
}

fn gates(pod: &Pod) -> String {
    let gates = pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    if gates.is_empty() {
        return cells::NONE.into();
    }
    let is_true = |type_: &str| condition(pod.status.as_ref(), type_).is_some_and(|c| c.status == "True");
    let ready = gates.iter().filter(|g| is_true(&g.condition_type)).count();
    format!("{ready}/{}", gates.len())
}

fn or_none(text: Option<&String>) -> Cell {
    match word(text) {
        "" => cells::NONE.into(),
        text => text.into(),
    }
}

pub fn row(pod: &Pod, now: i64) -> Row {
    let summary = summarize(pod);
    let restarts = match summary.restarts.last.filter(|_| summary.restarts.count != 0) {
        Some(last) => format!("{} ({} ago)", summary.restarts.count, cells::since(Some(last), now)),
        None => summary.restarts.count.to_string(),
    };
    let status = pod.status.as_ref();
    let ip = status.and_then(|s| s.pod_ips.iter().flatten().next().map(|ip| &ip.ip).or(s.pod_ip.as_ref()));
    vec![
        cells::name(&pod.metadata),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        cells::age(&pod.metadata, now),
        or_none(ip),
        or_none(pod.spec.as_ref().and_then(|s| s.node_name.as_ref())),
        or_none(status.and_then(|s| s.nominated_node_name.as_ref())),
        gates(pod).into(),
    ]
}
