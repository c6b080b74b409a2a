//! Horizontal pod autoscaling: gives targets the size that metrics of their pods ask for.
//!
//! Every autoscaler is looked at once a period, whatever changes meanwhile. What is asked of other servers (the target's
//! scale, the metrics APIs) is asked here; the decision in `plan.rs` and below is pure.
mod history;
mod limits;
mod metric;
mod metrics;
mod plan;
mod replicas;
mod scale;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup};
use crate::{Flags, pods};
use apimachinery::labels::Selector;
use async_trait::async_trait;
use client::{Cache, Key};
use foldhash::HashMap;
use history::History;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use metrics::MetricsClient;
use parking_lot::Mutex;
use plan::{Settings, Unselected, View};
use replicas::Startup;
use scale::{Scale, Scales};
use std::{sync::Arc, time::Duration};

struct Autoscaling {
    autoscalers: Cache<HorizontalPodAutoscaler>,
    pods: Cache<Pod>,
    client: kube::Client,
    scales: Scales,
    settings: Settings,
    period: Duration,
    memory: Mutex<HashMap<Key, Memory>>,
}

/// What is remembered of an autoscaler.
#[derive(Default)]
struct Memory {
    history: History,
    /// The selector its target had when it was last looked at.
    selector: Option<Selector>,
    /// The size before and after it that is being written.
    scaling: Option<(i32, i32)>,
}

/// Start horizontal pod autoscaling.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let autoscalers = setup.cache::<HorizontalPodAutoscaler>();
    let period = setup.flags.horizontal_pod_autoscaler_sync_period;
    let queue = setup.queue.clone();
    autoscalers.observe(move |_, new| {
        // One that is new waits as well, as upstream's do: its target and the metrics are not ready at once.
        new.into_iter().for_each(|autoscaler| queue.add_after(Key::of(&**autoscaler), period));
    });
    let deleted = setup.queue.clone();
    autoscalers.observe(move |old, new| {
        if new.is_none() {
            old.into_iter().for_each(|autoscaler| deleted.add(Key::of(&**autoscaler)));
        }
    });
    Ok(Arc::new(Autoscaling {
        autoscalers,
        pods: setup.cache(),
        client: setup.client.clone(),
        scales: Scales::new(setup.client.clone()),
        settings: settings(&setup.flags),
        period,
        memory: Mutex::default(),
    }))
}

fn settings(flags: &Flags) -> Settings {
    let signed = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    Settings {
        tolerance: flags.horizontal_pod_autoscaler_tolerance,
        down_window: signed(flags.horizontal_pod_autoscaler_downscale_stabilization),
        startup: Startup {
            initialization: signed(flags.horizontal_pod_autoscaler_cpu_initialization_period),
            initial_readiness: signed(flags.horizontal_pod_autoscaler_initial_readiness_delay),
        },
    }
}

impl Autoscaling {
    /// The pods that the target's selector selects, if they are this autoscaler's alone.
    fn pods(&self, key: &Key, scale: &Scale) -> Result<plan::Pods, Unselected> {
        let text = scale.selector();
        if text.is_empty() {
            return Err(Unselected::NoSelector);
        }
        let selector = Selector::parse(text).map_err(|error| Unselected::Invalid(error.to_string()))?;
        let selected: plan::Pods = self
            .pods
            .list_in(&key.namespace)
            .into_iter()
            .filter(|pod| selector.matches(pods::labels(&pod.metadata)))
            .collect();
        let mut memory = self.memory.lock();
        memory.entry(key.clone()).or_default().selector = Some(selector);
        let selects = |one: &Memory| {
            let selector = one.selector.as_ref();
            selector.is_some_and(|selector| selected.iter().any(|pod| selector.matches(pods::labels(&pod.metadata))))
        };
        let same_namespace = memory.iter().filter(|(other, _)| other.namespace == key.namespace);
        let mut autoscalers: Vec<Key> =
            same_namespace.filter(|(_, one)| selects(one)).map(|(other, _)| other.clone()).collect();
        if autoscalers.len() > 1 {
            autoscalers.sort();
            return Err(Unselected::Ambiguous { selector: text.to_owned(), autoscalers });
        }
        Ok(selected)
    }

    async fn view<'a>(
        &self,
        key: &Key,
        autoscaler: &HorizontalPodAutoscaler,
        scale: Result<&'a Scale, String>,
    ) -> View<'a> {
        let decided = match &scale {
            Ok(scale) if plan::needs_metrics(autoscaler, scale) => *scale,
            _ => return View { scale, pods: Ok(Vec::new()), measured: Vec::new() },
        };
        let pods = self.pods(key, decided);
        let mut measured = Vec::new();
        if pods.is_ok() {
            let client = MetricsClient {
                client: &self.client,
                scales: &self.scales,
                namespace: &key.namespace,
                selector: decided.selector(),
            };
            for spec in autoscaler.spec.metrics.iter().flatten() {
                measured.push(client.measure(spec).await);
            }
        }
        View { scale, pods, measured }
    }
}

#[async_trait]
impl Controller for Autoscaling {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(autoscaler) = self.autoscalers.at(key) else {
            self.memory.lock().remove(key);
            return Ok(Plan::nothing());
        };
        let scale = self.scales.of(&key.namespace, &autoscaler.spec.scale_target_ref).await;
        let view = self.view(key, &autoscaler, scale.as_ref().map_err(String::clone)).await;
        let mut memory = self.memory.lock();
        let memory = memory.entry(key.clone()).or_default();
        let (mut plan, scaling) = plan::plan(&autoscaler, &view, &self.settings, &mut memory.history, now);
        memory.scaling = scaling;
        plan.again_in(self.period);
        Ok(plan)
    }

    fn failed(&self, key: &Key, failure: &Failure, now: Timestamp) -> Plan {
        let scaling = self.memory.lock().get_mut(key).and_then(|memory| {
            let scaling = memory.scaling.take()?;
            memory.history.not_scaled(scaling.0, scaling.1);
            Some(scaling)
        });
        match (scaling, self.autoscalers.at(key)) {
            (Some((current, _)), Some(autoscaler)) if !is_of_autoscaler(failure) => {
                plan::refused(&autoscaler, current, &failure.to_string(), now)
            }
            _ => Plan::nothing(),
        }
    }
}

/// Whether the autoscaler's own status was refused, and not its target's new size.
fn is_of_autoscaler(failure: &Failure) -> bool {
    let Failure::Api(kube::Error::Api(status)) = failure else { return false };
    status.details.as_ref().is_some_and(|details| details.kind.starts_with("horizontalpodautoscalers"))
}
