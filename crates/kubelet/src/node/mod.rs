//! The node's own object: registered once, its status kept true, its lease renewed.
//!
//! The first moments count: until the node is Ready the runtime is asked often, later every
//! `nodeStatusUpdateFrequency`. A status is written when something in it changed, or when the last one is
//! [`REPORT_EVERY`] old; the lease alone says "alive" in between (KEP-589).
pub mod conditions;
mod facts;
mod lease;
pub mod object;

use std::sync::Arc;
use std::time::Duration;

use client::events::Recorder;
use cri::{Runtime, v1};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeFeatures, NodeRuntimeHandler, NodeRuntimeHandlerFeatures};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::eviction::{Condition, Pressure};
use conditions::Health;
pub use facts::{Facts, gather};

const REPORT_EVERY: Duration = Duration::from_secs(300);
const FIRST_POLL: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_millis(500);
/// Images told of, largest first (upstream's `nodeStatusMaxImages`).
const MAX_IMAGES: usize = 50;
const MAX_NAMES_PER_IMAGE: usize = 5;

/// What the node's upkeep works with.
pub struct Setup {
    pub config: Arc<Config>,
    pub client: kube::Client,
    pub runtime: Arc<dyn Runtime>,
    pub recorder: Recorder,
    pub facts: Facts,
    /// What eviction found the node short of.
    pub pressure: Arc<Pressure>,
    /// The port that the kubelet's server listens on.
    pub port: u16,
}

/// Register the node, then keep its status and lease until `shutdown`.
pub async fn run(setup: Setup, shutdown: CancellationToken) {
    let upkeep = async {
        let node = object::event_reference(&setup.config.node_name);
        setup.recorder.event(&node, client::events::EventType::Normal, "Starting", "Starting kubelet.");
        if setup.config.register_node {
            register(&setup).await;
        }
        tokio::join!(keep_status(&setup), lease::keep(&setup.client, &setup.config.node_name));
    };
    tokio::select! { () = shutdown.cancelled() => {}, () = upkeep => {} }
}

/// Create the node, or take over the one that is there; tried until it works.
async fn register(setup: &Setup) {
    let nodes: Api<Node> = Api::all(setup.client.clone());
    let name = &setup.config.node_name;
    loop {
        let health = observe(setup).await;
        let wanted = object::new(&setup.config, &setup.facts, setup.port, &health, Timestamp::now());
        let done = match nodes.create(&PostParams::default(), &wanted).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => adopt(&nodes, name, &wanted).await,
            other => other.map(drop),
        };
        match done {
            Ok(()) => {
                tracing::info!(node = name, "node is registered");
                return;
            }
            Err(error) => {
                tracing::warn!(node = name, error = client::told(&error), "the node cannot be registered yet")
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Labels and annotations that we own are brought up to date; everything else is the cluster's.
async fn adopt(nodes: &Api<Node>, name: &str, wanted: &Node) -> kube::Result<()> {
    let there = nodes.get(name).await?;
    let labels = wanted.metadata.labels.as_ref();
    let same =
        labels.is_none_or(|l| l.iter().all(|(k, v)| there.metadata.labels.as_ref().and_then(|t| t.get(k)) == Some(v)));
    if same {
        return Ok(());
    }
    let patch = serde_json::json!({"metadata": {"labels": labels}});
    nodes.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
}

/// How the runtime is, in the words of the Ready condition.
async fn observe(setup: &Setup) -> Health {
    let (problem, answer) = match setup.runtime.status(false).await {
        Ok(answer) => (runtime_problem(&answer), answer),
        Err(error) => (Some(format!("container runtime is down: {}", error.message())), v1::StatusResponse::default()),
    };
    let has = |condition| setup.pressure.has(condition);
    Health {
        problem,
        memory_pressure: has(Condition::Memory),
        disk_pressure: has(Condition::Disk),
        pid_pressure: has(Condition::Pid),
        images: Vec::new(),
        features: answer
            .features
            .map(|features| NodeFeatures { supplemental_groups_policy: Some(features.supplemental_groups_policy) }),
        handlers: answer.runtime_handlers.into_iter().map(handler).collect(),
    }
}

fn handler(from: v1::RuntimeHandler) -> NodeRuntimeHandler {
    NodeRuntimeHandler {
        name: Some(from.name),
        features: from.features.map(|features| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
            user_namespaces: Some(features.user_namespaces),
        }),
    }
}

fn runtime_problem(answer: &v1::StatusResponse) -> Option<String> {
    let conditions = answer.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let find = |name: &str| conditions.iter().find(|c| c.r#type == name);
    for (name, text) in
        [("RuntimeReady", "container runtime not ready"), ("NetworkReady", "container runtime network not ready")]
    {
        match find(name) {
            Some(c) if c.status => {}
            Some(c) => return Some(format!("{text}: {name}=false reason:{} message:{}", c.reason, c.message)),
            None => return Some(format!("{text}: the runtime says nothing of {name}")),
        }
    }
    None
}

async fn images(runtime: &dyn Runtime) -> Vec<ContainerImage> {
    let Ok(mut images) = runtime.list_images().await else { return Vec::new() };
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    let named = images.into_iter().take(MAX_IMAGES).map(|image| {
        let names = image.repo_digests.into_iter().chain(image.repo_tags).take(MAX_NAMES_PER_IMAGE).collect();
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size).ok() }
    });
    named.collect()
}

async fn keep_status(setup: &Setup) {
    let nodes: Api<Node> = Api::all(setup.client.clone());
    let name = setup.config.node_name.as_str();
    let mut reported: Option<Timestamp> = None;
    let mut was_ready = None;
    let mut told_pressure = None;
    loop {
        let mut health = observe(setup).await;
        health.images = images(setup.runtime.as_ref()).await;
        let now = Timestamp::now();
        let ready = health.problem.is_none();
        let written = match nodes.get_opt(name).await {
            Ok(Some(node)) => write(&nodes, setup, &node, &health, now, reported).await,
            Ok(None) => {
                // Somebody deleted us: a kubelet that runs registers again.
                if setup.config.register_node {
                    register(setup).await;
                }
                continue;
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(true) => reported = Some(now),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(node = name, error = client::told(&error), "the node's status cannot be written")
            }
        }
        tell(setup, &health, &mut was_ready, &mut told_pressure);
        let pause = if ready { setup.config.node_status_update_frequency } else { FIRST_POLL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = setup.pressure.changed.notified() => {}
        }
    }
}

/// Write the status if it differs or is old; whether it was written.
async fn write(
    nodes: &Api<Node>,
    setup: &Setup,
    node: &Node,
    health: &Health,
    now: Timestamp,
    reported: Option<Timestamp>,
) -> kube::Result<bool> {
    let old = node.status.clone().unwrap_or_default();
    let new = object::status(&setup.config, &setup.facts, setup.port, health, &old, now);
    let age = reported.map(|at| now.duration_since(at));
    let due = age.is_none_or(|age| age.as_secs() >= REPORT_EVERY.as_secs() as i64);
    if !due && !object::differs(&old, &new) {
        return Ok(false);
    }
    let patch = serde_json::json!({"status": new});
    nodes.patch_status(&setup.config.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(true)
}

/// The events that upstream's kubelet records about its node.
fn tell(setup: &Setup, health: &Health, was_ready: &mut Option<bool>, told: &mut Option<[bool; 3]>) {
    let ready = health.problem.is_none();
    let name = &setup.config.node_name;
    let node = object::event_reference(name);
    let normal = |reason: &str, message: &str| {
        setup.recorder.event(&node, client::events::EventType::Normal, reason, message);
    };
    let pressure = [health.memory_pressure, health.disk_pressure, health.pid_pressure];
    let reasons = [
        ["NodeHasSufficientMemory", "NodeHasInsufficientMemory"],
        ["NodeHasNoDiskPressure", "NodeHasDiskPressure"],
        ["NodeHasSufficientPID", "NodeHasInsufficientPID"],
    ];
    for (at, reasons) in reasons.iter().enumerate() {
        if told.is_none_or(|told| told[at] != pressure[at]) {
            let reason = reasons[usize::from(pressure[at])];
            normal(reason, &format!("Node {name} status is now: {reason}"));
        }
    }
    *told = Some(pressure);
    if *was_ready != Some(ready) {
        if ready {
            normal("NodeReady", &format!("Node {name} status is now: NodeReady"));
        } else if was_ready.is_some() {
            normal("NodeNotReady", &format!("Node {name} status is now: NodeNotReady"));
        }
        *was_ready = Some(ready);
    }
}
