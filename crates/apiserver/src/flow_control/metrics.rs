//! Metrics of flow control, under upstream's names.
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use telemetry::metrics::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Level {
    priority_level: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Flow {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rejection {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

/// Cheap to clone; all clones count together.
#[derive(Clone, Default)]
pub struct Metrics {
    dispatched: Family<Flow, Counter>,
    rejected: Family<Rejection, Counter>,
    nominal: Family<Level, Gauge>,
}

impl Metrics {
    pub fn register(&self, registry: &Registry) {
        registry.register(
            "apiserver_flowcontrol_dispatched_requests",
            "Number of requests executed by API Priority and Fairness subsystem",
            self.dispatched.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_rejected_requests",
            "Number of requests rejected by API Priority and Fairness subsystem",
            self.rejected.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_nominal_limit_seats",
            "Nominal number of execution seats configured for each priority level",
            self.nominal.clone(),
        );
    }

    /// The counter of what is handled of one flow schema.
    pub(super) fn dispatched(&self, level: &str, schema: &str) -> Counter {
        let labels = Flow { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        self.dispatched.get_or_create(&labels).clone()
    }

    pub(super) fn reject(&self, level: &str, schema: &str, reason: &'static str) {
        let labels = Rejection { priority_level: level.to_owned(), flow_schema: schema.to_owned(), reason };
        self.rejected.get_or_create(&labels).inc();
    }

    /// Seats of all limited levels, instead of those told before.
    pub(super) fn set_nominal<'a>(&self, levels: impl Iterator<Item = (&'a str, usize)>) {
        self.nominal.clear();
        for (level, seats) in levels {
            let seats = i64::try_from(seats).unwrap_or(i64::MAX);
            self.nominal.get_or_create(&Level { priority_level: level.to_owned() }).set(seats);
        }
    }
}
