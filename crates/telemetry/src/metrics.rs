//! A component's metrics in the Prometheus text format.
//!
//! Components register counters, gauges and histograms of `prometheus-client` and keep them; a
//! scrape reads them. Metric names are upstream's.
use prometheus_client::registry::{Metric, Registry as Inner};
use std::sync::Mutex;

/// The metrics of one component.
#[derive(Default)]
pub struct Registry(Mutex<Inner>);

impl Registry {
    /// Add a metric; counters get their `_total` from the encoder, so leave it out of `name`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        if let Ok(mut inner) = self.0.lock() {
            inner.register(name, help, metric);
        }
    }

    /// The exposition text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        if let Ok(inner) = self.0.lock()
            && let Err(error) = prometheus_client::encoding::text::encode(&mut out, &inner)
        {
            tracing::warn!(%error, "metrics could not be encoded");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn a_counter_shows_under_its_upstream_name() {
        let registry = Registry::default();
        let requests: Counter = Counter::default();
        registry.register("apiserver_request", "Requests", requests.clone());
        requests.inc();
        assert!(registry.encode().contains("apiserver_request_total 1\n"));
    }
}
