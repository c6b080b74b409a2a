//! Ending containers: preStop, the stop signal, and after the grace period KILL.
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};

use super::hooks;
use crate::kubelet::Kubelet;
use crate::observed::{self, Observed};
use crate::spec::{self, Kind};
use crate::{labels, plan};

/// What a container always gets after its preStop hook.
const MIN_GRACE_S: i64 = 2;

/// The grace period of a pod that is not being deleted.
pub fn spec_grace(pod: &Pod) -> i64 {
    spec::spec(pod).termination_grace_period_seconds.unwrap_or(30)
}

/// The grace period that holds for a container killed for `because`.
pub fn grace_of(pod: &Pod, name: &str, because: plan::Because) -> i64 {
    let own = spec::find(pod, name).and_then(|(_, container)| match because {
        plan::Because::Liveness => container.liveness_probe?.termination_grace_period_seconds,
        plan::Because::Startup => container.startup_probe?.termination_grace_period_seconds,
        _ => None,
    });
    own.unwrap_or_else(|| spec_grace(pod))
}

/// Ends one container. `message` is the Killing event's.
pub async fn container(
    kubelet: &Kubelet,
    pod: &Pod,
    seen: &observed::Container,
    pod_ip: &str,
    message: &str,
    grace_s: i64,
) -> Result<(), cri::Error> {
    let began = Instant::now();
    let found = spec::find(pod, &seen.name);
    let kind = found.as_ref().map_or(Kind::Main, |(kind, _)| *kind);
    kubelet.container_event(pod, kind, &seen.name, false, "Killing", message);
    let mut grace_s = grace_s.max(0);
    let hook = match &found {
        Some((_, container)) => container.lifecycle.as_ref().and_then(|l| l.pre_stop.clone()),
        // A container of another kubelet's time: the hook is written on it.
        None => {
            seen.annotations.get(labels::PRE_STOP).and_then(|json| serde_json::from_str::<LifecycleHandler>(json).ok())
        }
    };
    if let Some(hook) = hook.filter(|_| grace_s > 0 && seen.state == observed::State::Running) {
        let spec = found.map(|(_, container)| container).unwrap_or_default();
        let limit = Duration::from_secs(u64::try_from(grace_s).unwrap_or(0));
        match tokio::time::timeout(limit, hooks::run(kubelet, &seen.id, &spec, pod_ip, &hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(pod = %spec::describe(pod), container = %seen.name, %error, "PreStop hook failed");
                kubelet.container_event(pod, kind, &seen.name, true, "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => {
                tracing::warn!(pod = %spec::describe(pod), container = %seen.name, "PreStop hook not completed in grace period")
            }
        }
        let used = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
        grace_s = (grace_s - used).max(MIN_GRACE_S);
    }
    kubelet.runtime.stop_container(&seen.id, grace_s).await
}

/// Ends everything of a pod: main containers together, then sidecars from last to first, then the sandboxes.
///
/// # Errors
/// The runtime failed; trying again is safe.
pub async fn pod(kubelet: &Kubelet, pod: &Pod, seen: &Observed, grace_s: i64) -> Result<(), cri::Error> {
    let began = Instant::now();
    let ip = seen.sandboxes.first().and_then(|s| s.ips.first()).cloned().unwrap_or_default();
    let sidecars: Vec<&str> =
        spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let message = |c: &observed::Container| format!("Stopping container {}", c.name);
    let main = seen.alive().filter(|c| !sidecars.contains(&c.name.as_str()));
    let ends = join_all(main.map(|c| {
        let (ip, text) = (ip.clone(), message(c));
        async move { container(kubelet, pod, c, &ip, &text, grace_s).await }
    }));
    for end in ends.await {
        end?;
    }
    for name in sidecars.iter().rev() {
        for c in seen.alive().filter(|c| c.name == *name) {
            let left = (grace_s - i64::try_from(began.elapsed().as_secs()).unwrap_or(0)).max(MIN_GRACE_S.min(grace_s));
            container(kubelet, pod, c, &ip, &message(c), left).await?;
        }
    }
    for sandbox in seen.sandboxes.iter().filter(|s| s.ready || seen.containers.iter().any(|c| c.sandbox_id == s.id)) {
        kubelet.runtime.stop_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
