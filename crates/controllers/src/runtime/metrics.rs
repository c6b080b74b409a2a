//! What the controllers' queues and workers did, under upstream's metric names.
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
};
use telemetry::metrics::Registry;

/// The controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    pub name: &'static str,
}

/// Counters of all controllers of a process.
pub struct Metrics {
    pub adds: Family<Labels, Counter>,
    pub retries: Family<Labels, Counter>,
    pub work: Family<Labels, Histogram>,
}

impl Metrics {
    /// Registers itself in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let work =
            Family::new_with_constructor((|| Histogram::new(exponential_buckets(1e-4, 10.0, 7))) as fn() -> Histogram);
        let metrics = Self { adds: Family::default(), retries: Family::default(), work };
        registry.register("workqueue_adds", "Total number of adds handled by workqueue", metrics.adds.clone());
        registry.register("workqueue_retries", "Total number of retries handled by workqueue", metrics.retries.clone());
        let help = "How long in seconds processing an item from workqueue takes.";
        registry.register("workqueue_work_duration_seconds", help, metrics.work.clone());
        metrics
    }
}
