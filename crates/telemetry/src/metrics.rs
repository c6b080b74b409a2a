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

    /// The exposition text, in version 0.0.4 of the format: as upstream, whatever else a scraper would take.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        if let Ok(inner) = self.0.lock()
            && let Err(error) = prometheus_client::encoding::text::encode(&mut out, &inner)
        {
            tracing::warn!(%error, "metrics could not be encoded");
        }
        version_0_0_4(&out)
    }
}

/// OpenMetrics, which the encoder writes, in the words of the format before it: a family has the name of its samples, and
/// there is no end to announce.
fn version_0_0_4(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.extend([line, "\n"]);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), text) => help = text,
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    _ => ("", kind),
                };
                if let Some(help) = help.take() {
                    out.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                }
                out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::{
        counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info,
    };

    #[test]
    fn families_are_announced_by_the_names_of_their_samples() {
        let registry = Registry::default();
        let requests: Family<Vec<(String, String)>, Counter> = Family::default();
        registry.register("apiserver_request", "Requests", requests.clone());
        requests.get_or_create(&vec![("path".into(), "# TYPE x counter\n".into())]).inc();
        registry.register("depth", "Waiting", Gauge::<i64>::default());
        registry.register("latency_seconds", "How long", Histogram::new([1.0]));
        registry.register("build", "What this is", Info::new([("version", "1")]));
        let expected = "\
            # HELP apiserver_request_total Requests.\n# TYPE apiserver_request_total counter\n\
            apiserver_request_total{path=\"# TYPE x counter\\n\"} 1\n\
            # HELP depth Waiting.\n# TYPE depth gauge\ndepth 0\n\
            # HELP latency_seconds How long.\n# TYPE latency_seconds histogram\nlatency_seconds_sum 0.0\n\
            latency_seconds_count 0\nlatency_seconds_bucket{le=\"1.0\"} 0\nlatency_seconds_bucket{le=\"+Inf\"} 0\n\
            # HELP build_info What this is.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(registry.encode(), expected);
    }
}
