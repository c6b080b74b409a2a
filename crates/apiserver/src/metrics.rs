//! The server's metrics, under upstream's names.
use http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
    dry_run: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DurationLabels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
    dry_run: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    request_kind: &'static str,
}

/// A request, as metrics tell requests apart.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub verb: &'static str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub long_running: bool,
}

/// Combinations counted singly; what clients make up beyond that is counted together.
const MAX_SERIES: usize = 2_000;

/// One request counted: no label is allocated once its combination was seen.
struct Series {
    count: Counter,
    seconds: Option<Histogram>,
}

pub struct Metrics {
    pub registry: telemetry::metrics::Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    inflight: Family<KindLabel, Gauge>,
    known: Mutex<HashMap<u64, Arc<Series>, foldhash::fast::RandomState>>,
    hasher: foldhash::fast::RandomState,
}

fn buckets() -> Histogram {
    Histogram::new([
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0,
        30.0, 45.0, 60.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = telemetry::metrics::Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<DurationLabels, Histogram, fn() -> Histogram>::new_with_constructor(buckets);
        let inflight = Family::<KindLabel, Gauge>::default();
        registry.register(
            "apiserver_request",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code",
            requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component",
            durations.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last second",
            inflight.clone(),
        );
        Metrics { registry, requests, durations, inflight, known: Mutex::default(), hasher: Default::default() }
    }
}

/// Upstream's spelling of verbs in metrics.
fn verb_label(verb: &'static str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        _ => "other",
    }
}

impl Metrics {
    pub fn observe(&self, seen: &Seen<'_>, status: StatusCode, took: Duration) {
        use std::hash::BuildHasher;
        let code = status.as_u16();
        // A path that does not exist must not make a series.
        let seen =
            if code == 404 && seen.resource.is_empty() { Seen { group: "", version: "", ..*seen } } else { *seen };
        let id = self.hasher.hash_one((seen.verb, seen.group, seen.version, seen.resource, seen.subresource, code));
        let found = self.known.lock().get(&id).cloned();
        let series = found.unwrap_or_else(|| self.series(id, &seen, code));
        series.count.inc();
        if let Some(seconds) = &series.seconds {
            seconds.observe(took.as_secs_f64());
        }
    }

    fn series(&self, id: u64, seen: &Seen<'_>, code: u16) -> Arc<Series> {
        let mut known = self.known.lock();
        let full = known.len() >= MAX_SERIES;
        let text = |t: &str| if full || code == 404 && t.len() > 63 { String::new() } else { t.to_owned() };
        let verb = verb_label(seen.verb);
        let scope = if seen.resource.is_empty() { "" } else { "resource" };
        let labels = RequestLabels {
            verb,
            group: text(seen.group),
            version: text(seen.version),
            resource: text(seen.resource),
            subresource: text(seen.subresource),
            scope,
            component: "apiserver",
            dry_run: "",
            code,
        };
        let count = self.requests.get_or_create(&labels).clone();
        let seconds = (!seen.long_running).then(|| {
            let RequestLabels { group, version, resource, subresource, .. } = labels;
            let labels = DurationLabels {
                verb,
                group,
                version,
                resource,
                subresource,
                scope,
                component: "apiserver",
                dry_run: "",
            };
            self.durations.get_or_create(&labels).clone()
        });
        let series = Arc::new(Series { count, seconds });
        if !full {
            known.insert(id, series.clone());
        }
        series
    }

    /// The exposition text.
    pub fn encode(&self, reads: usize, writes: usize) -> String {
        let set = |kind, n: usize| {
            self.inflight.get_or_create(&KindLabel { request_kind: kind }).set(i64::try_from(n).unwrap_or(i64::MAX));
        };
        set("readOnly", reads);
        set("mutating", writes);
        self.registry.encode()
    }
}
