//! The proxy's metrics, under upstream's names.
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use std::sync::Arc;

pub struct Metrics {
    pub registry: Arc<telemetry::metrics::Registry>,
    pub sync_duration: Histogram,
    pub sync_failures: Counter,
    /// Seconds since the epoch.
    pub last_sync: Gauge,
    pub services: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Arc::new(telemetry::metrics::Registry::default());
        let seconds = prometheus_client::metrics::histogram::exponential_buckets(0.001, 2.0, 15);
        let metrics = Metrics {
            registry: registry.clone(),
            sync_duration: Histogram::new(seconds),
            sync_failures: Counter::default(),
            last_sync: Gauge::default(),
            services: Gauge::default(),
        };
        let name = |rest: &str| format!("kubeproxy_{rest}");
        registry.register(
            &name("sync_proxy_rules_duration_seconds"),
            "SyncProxyRules latency in seconds",
            metrics.sync_duration.clone(),
        );
        registry.register(
            &name("sync_proxy_rules_nftables_sync_failures"),
            "Cumulative proxy nftables sync failures",
            metrics.sync_failures.clone(),
        );
        registry.register(
            &name("sync_proxy_rules_last_timestamp_seconds"),
            "The last time proxy rules were successfully synced",
            metrics.last_sync.clone(),
        );
        registry.register(&name("services"), "Number of services with rules", metrics.services.clone());
        metrics
    }
}
