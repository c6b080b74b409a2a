//! The binding cycle: what follows once a node is chosen, in a task of its own for each pod.
//!
//! Waits for permits, runs PreBind plugins, binds, tells PostBind plugins, and writes the `Scheduled` event. Nothing
//! here touches the scheduler's state: the outcome goes back as a value.
use crate::{
    events::{self, Said},
    framework::{Binding, Point, profile::Profile},
    pod::PodInfo,
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};

/// Permits that are still out: the plugin, what to wait for, and for how long at most.
pub type Permits = Vec<(&'static str, BoxFuture<'static, Result<(), String>>, Duration)>;

/// Upstream's limit for a permit's wait.
pub const MAX_PERMIT_WAIT: Duration = Duration::from_secs(15 * 60);

/// What became of a binding.
pub struct Outcome {
    pub pod: Arc<PodInfo>,
    pub node: Arc<str>,
    pub result: Result<(), Failed>,
}

/// Why a pod was not bound.
pub enum Failed {
    /// A permit was refused: the pod is unschedulable by that plugin.
    Rejected { plugin: &'static str, message: String },
    /// Something went wrong.
    Error(String),
}

/// Carries a decision out.
pub async fn run(profile: Arc<Profile>, binding: Binding, permits: Permits) -> Outcome {
    let result = bind(&profile, &binding, permits).await;
    if result.is_ok() {
        for enabled in profile.at(Point::PostBind) {
            enabled.plugin.post_bind(&binding);
        }
    }
    Outcome { pod: binding.pod, node: binding.node, result }
}

async fn bind(profile: &Profile, binding: &Binding, permits: Permits) -> Result<(), Failed> {
    for (plugin, permit, limit) in permits {
        let rejected = |message: String| Failed::Rejected { plugin, message };
        match tokio::time::timeout(limit.min(MAX_PERMIT_WAIT), permit).await {
            Ok(Ok(())) => {}
            Ok(Err(message)) => return Err(rejected(message)),
            Err(_) => {
                return Err(rejected(format!("rejected due to timeout after waiting {limit:?} at plugin {plugin}")));
            }
        }
    }
    for enabled in profile.at(Point::PreBind) {
        let done = enabled.plugin.pre_bind(binding).await;
        done.map_err(|e| Failed::Error(format!("running PreBind plugin {:?}: {}", e.plugin, e.message)))?;
    }
    for enabled in profile.at(Point::Bind) {
        let Some(attempt) = enabled.plugin.bind(binding) else { continue };
        let failed = |e: crate::framework::BindError| {
            Failed::Error(format!("binding rejected: running Bind plugin {:?}: {}", e.plugin, e.message))
        };
        return attempt.await.map_err(failed);
    }
    Err(Failed::Error("binding rejected: no bind plugin took the pod".into()))
}

/// Writes the `Scheduled` event. There is one for each pod, so it waits in no queue.
pub async fn announce(client: kube::Client, pod: Arc<PodInfo>, node: Arc<str>, host: Arc<str>) {
    let (namespace, name) = (pod.key.namespace.clone(), pod.key.name.clone());
    let said = Said {
        warning: false,
        reason: "Scheduled",
        action: "Binding",
        message: format!("Successfully assigned {namespace}/{name} to {node}"),
        related: None,
        scheduler: pod.profile().to_owned(),
        pod,
    };
    let event = events::event(&said, &host, Timestamp::now());
    if let Err(error) = crate::api::post(&client, &format!("/api/v1/namespaces/{namespace}/events"), &event).await {
        tracing::debug!(pod = %said.pod.key, %error, "event not written");
    }
}
