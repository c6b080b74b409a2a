//! The scheduler's metrics, under upstream's names.
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::sync::Arc;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Attempt {
    pub profile: String,
    /// `scheduled`, `unschedulable` or `error`.
    pub result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct QueueName {
    pub queue: &'static str,
}

pub struct Metrics {
    pub registry: Arc<telemetry::metrics::Registry>,
    pub attempts: Family<Attempt, Counter>,
    pub pending: Family<QueueName, Gauge>,
    pub duration: Histogram,
    pub preemption_attempts: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Arc::new(telemetry::metrics::Registry::default());
        let seconds = prometheus_client::metrics::histogram::exponential_buckets(0.000_01, 4.0, 12);
        let metrics = Metrics {
            registry: registry.clone(),
            attempts: Family::default(),
            pending: Family::default(),
            duration: Histogram::new(seconds),
            preemption_attempts: Counter::default(),
        };
        let attempts = "Number of attempts to schedule pods, by the result";
        registry.register("scheduler_schedule_attempts", attempts, metrics.attempts.clone());
        let pending = "Number of pending pods, by the queue type";
        registry.register("scheduler_pending_pods", pending, metrics.pending.clone());
        let duration = "Scheduling algorithm latency in seconds";
        registry.register("scheduler_scheduling_algorithm_duration_seconds", duration, metrics.duration.clone());
        let preemption = "Total preemption attempts in the cluster till now";
        registry.register("scheduler_preemption_attempts", preemption, metrics.preemption_attempts.clone());
        metrics
    }
}
