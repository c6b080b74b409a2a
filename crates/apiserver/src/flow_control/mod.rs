//! API priority and fairness: which request is served first when there are too many.
//!
//! A flow schema says which priority level a request is of, the level how many of its requests are handled at once
//! and how many wait. `system:masters` and probes are exempt. Every request takes one seat; upstream counts large
//! lists and writes with many watchers as several.
//! Sources: "API Priority and Fairness", KEP-1040.
mod matching;
mod metrics;
mod seats;

use crate::{limits, request_info::RequestInfo};
use api::flowcontrol::bootstrap;
use arc_swap::ArcSwap;
use auth::UserInfo;
use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PolicyRulesWithSubjects, PriorityLevelConfiguration};
use metrics::Metrics;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use seats::{Entered, Limits, Queuing, Seats, Ticket};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};
use storage::{Lookup, Revision};

const SCHEMA_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// Where the two kinds are stored.
pub const SCHEMAS: &str = "flowschemas";
pub const LEVELS: &str = "prioritylevelconfigurations";

#[derive(Clone, Copy)]
enum FlowsBy {
    Nothing,
    User,
    Namespace,
}

struct Schema {
    name: Arc<str>,
    uid: HeaderValue,
    level: Arc<str>,
    flows_by: FlowsBy,
    dispatched: Counter,
    rules: Vec<PolicyRulesWithSubjects>,
}

struct Level {
    uid: HeaderValue,
    exempt: bool,
}

/// The configuration as it was at two revisions: of the schemas, of the levels.
#[derive(Default)]
struct Plan {
    at: (Revision, Revision),
    /// By precedence.
    schemas: Vec<Schema>,
    levels: BTreeMap<Arc<str>, Level>,
}

/// What a request was found to be.
pub struct Class {
    schema_uid: HeaderValue,
    level_uid: HeaderValue,
    schema: Arc<str>,
    level: Arc<str>,
    exempt: bool,
    dispatched: Counter,
    /// Hash of the flow it belongs to.
    flow: u64,
}

impl Class {
    /// Tells the client by which objects it was served. Their names stay secret, as upstream has it.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(SCHEMA_HEADER, self.schema_uid.clone());
        headers.insert(LEVEL_HEADER, self.level_uid.clone());
    }
}

/// Decides by what is stored; notices every change of it with the next request.
pub struct FlowControl {
    lookup: Arc<dyn Lookup>,
    /// Requests that may be handled at once, of all levels together.
    total: usize,
    metrics: Metrics,
    plan: ArcSwap<Plan>,
    seats: Arc<Mutex<Seats>>,
    replanning: Mutex<()>,
}

/// A request's seat, given back when dropped.
pub struct Seat(Option<(Arc<Mutex<Seats>>, Arc<str>)>);

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((seats, level)) = &self.0 {
            seats.lock().leave(level);
        }
    }
}

/// A request's place in a queue, given back when dropped.
struct Waiting<'a> {
    control: &'a FlowControl,
    level: &'a Arc<str>,
    /// Its receiver lives until the place is given back: a seat that is given meanwhile is then known to have been.
    ticket: Ticket,
    seated: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.seated {
            self.control.seats.lock().give_up(self.level, self.ticket.queue, self.ticket.id);
        }
    }
}

impl FlowControl {
    /// `total` seats are shared out among the levels that `lookup` finds.
    pub fn new(lookup: Arc<dyn Lookup>, total: usize) -> Self {
        let control = FlowControl {
            lookup,
            total,
            metrics: Metrics::default(),
            plan: ArcSwap::default(),
            seats: Arc::default(),
            replanning: Mutex::new(()),
        };
        control.replan();
        control
    }

    fn version(&self) -> (Revision, Revision) {
        (self.lookup.version(SCHEMAS), self.lookup.version(LEVELS))
    }

    fn plan(&self) -> Arc<Plan> {
        let plan = self.plan.load_full();
        if plan.at == self.version() {
            return plan;
        }
        let _one = self.replanning.lock();
        if self.plan.load().at != self.version() {
            self.replan();
        }
        self.plan.load_full()
    }

    fn replan(&self) {
        // Before the objects: what changes meanwhile is looked at again.
        let at = self.version();
        let (schemas, levels) = (read(&*self.lookup, SCHEMAS), read(&*self.lookup, LEVELS));
        let (plan, limits) = plan(at, schemas, levels, self.total, &self.metrics);
        self.metrics.set_nominal(limits.iter().map(|(level, l)| (&**level, l.guaranteed + l.lendable)));
        self.seats.lock().configure(limits);
        self.plan.store(Arc::new(plan));
    }

    pub fn register(&self, registry: &telemetry::metrics::Registry) {
        self.metrics.register(registry);
    }

    pub fn classify(&self, info: &RequestInfo<'_>, user: &UserInfo) -> Option<Class> {
        let plan = self.plan();
        let found = plan.schemas.iter().find(|s| matching::matches(&s.rules, info, user));
        // Everybody is in one of the groups of the last one.
        let schema = found.or_else(|| plan.schemas.iter().find(|s| &*s.name == bootstrap::CATCH_ALL))?;
        let level = plan.levels.get(&schema.level)?;
        let mut flow = DefaultHasher::new();
        schema.name.hash(&mut flow);
        match schema.flows_by {
            FlowsBy::Nothing => {}
            FlowsBy::User => user.name.hash(&mut flow),
            FlowsBy::Namespace => info.namespace.hash(&mut flow),
        }
        Some(Class {
            schema_uid: schema.uid.clone(),
            level_uid: level.uid.clone(),
            schema: schema.name.clone(),
            level: schema.level.clone(),
            exempt: level.exempt,
            dispatched: schema.dispatched.clone(),
            flow: flow.finish(),
        })
    }

    /// Waits for a seat no longer than `limit`; `None` when there is none.
    pub async fn enter(&self, class: &Class, limit: Duration) -> Option<Seat> {
        if class.exempt {
            class.dispatched.inc();
            return Some(Seat(None));
        }
        let entered = self.seats.lock().enter(&class.level, class.flow);
        let reject = |why| self.metrics.reject(&class.level, &class.schema, why);
        match entered {
            Entered::Seated => {}
            Entered::TurnedAway(why) => {
                reject(why);
                return None;
            }
            Entered::Waiting(ticket) => {
                let mut waiting = Waiting { control: self, level: &class.level, ticket, seated: false };
                let limit = limit.min(limits::QUEUE_WAIT);
                let seat = &mut waiting.ticket.seat;
                waiting.seated = matches!(tokio::time::timeout(limit, seat).await, Ok(Ok(())));
                if !waiting.seated {
                    reject("time-out");
                    return None;
                }
            }
        }
        class.dispatched.inc();
        Some(Seat(Some((self.seats.clone(), class.level.clone()))))
    }
}

fn read<T: DeserializeOwned>(lookup: &dyn Lookup, prefix: &str) -> Vec<T> {
    let parse = |json: &bytes::Bytes| match serde_json::from_slice(json) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(%error, prefix, "an object of flow control cannot be read");
            None
        }
    };
    lookup.list(prefix, None).iter().filter_map(parse).collect()
}

fn uid(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> HeaderValue {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    HeaderValue::from_str(uid).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What the objects come to. The mandatory ones count even while they are not stored; schemas of levels that do not
/// exist do not count.
fn plan(
    at: (Revision, Revision),
    mut schemas: Vec<FlowSchema>,
    mut levels: Vec<PriorityLevelConfiguration>,
    total: usize,
    metrics: &Metrics,
) -> (Plan, Vec<(Arc<str>, Limits)>) {
    for initial in bootstrap::flow_schemas().into_iter().filter(|s| s.mandatory).map(|s| s.object) {
        if !schemas.iter().any(|s| s.metadata.name == initial.metadata.name) {
            schemas.push(initial);
        }
    }
    for initial in bootstrap::priority_levels().into_iter().filter(|l| l.mandatory).map(|l| l.object) {
        if !levels.iter().any(|l| l.metadata.name == initial.metadata.name) {
            levels.push(initial);
        }
    }
    let shares: i64 = levels.iter().map(shares).sum();
    let mut plan = Plan { at, ..Plan::default() };
    let mut seats = Vec::new();
    for level in &levels {
        let name: Arc<str> = level.metadata.name.as_deref().unwrap_or_default().into();
        let exempt = level.spec.as_ref().is_some_and(|s| s.type_ == "Exempt");
        if !exempt {
            seats.push((name.clone(), seats_of(level, total, shares)));
        }
        plan.levels.insert(name, Level { uid: uid(&level.metadata), exempt });
    }
    schemas.sort_by(|a, b| precedence(a).cmp(&precedence(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name)));
    for schema in schemas {
        let (uid, name) = (uid(&schema.metadata), schema.metadata.name.unwrap_or_default());
        let Some(spec) = schema.spec else { continue };
        let level: Arc<str> = spec.priority_level_configuration.name.into();
        if !plan.levels.contains_key(&level) {
            continue;
        }
        let flows_by = match spec.distinguisher_method.as_ref().map(|m| m.type_.as_str()) {
            Some("ByUser") => FlowsBy::User,
            Some("ByNamespace") => FlowsBy::Namespace,
            _ => FlowsBy::Nothing,
        };
        let dispatched = metrics.dispatched(&level, &name);
        let rules = spec.rules.unwrap_or_default();
        plan.schemas.push(Schema { name: name.into(), uid, level, flows_by, dispatched, rules });
    }
    (plan, seats)
}

fn precedence(schema: &FlowSchema) -> i32 {
    schema.spec.as_ref().and_then(|s| s.matching_precedence).unwrap_or(i32::MAX)
}

fn shares(level: &PriorityLevelConfiguration) -> i64 {
    let Some(spec) = &level.spec else { return 0 };
    let limited = spec.limited.as_ref().and_then(|l| l.nominal_concurrency_shares);
    let exempt = spec.exempt.as_ref().and_then(|e| e.nominal_concurrency_shares);
    i64::from(limited.or(exempt).unwrap_or_default().max(0))
}

/// A level's part of all seats: rounded up, so that every level with shares has one.
fn seats_of(level: &PriorityLevelConfiguration, total: usize, all_shares: i64) -> Limits {
    let limited = level.spec.as_ref().and_then(|s| s.limited.clone()).unwrap_or_default();
    let (own, all) = (shares(level) as f64, all_shares.max(1) as f64);
    let nominal = (total as f64 * own / all).ceil() as usize;
    let percent = |percent: i32| (nominal as f64 * f64::from(percent.max(0)) / 100.0).round() as usize;
    let lendable = percent(limited.lendable_percent.unwrap_or_default()).min(nominal);
    let ceiling = limited.borrowing_limit_percent.map_or(usize::MAX, |p| nominal.saturating_add(percent(p)));
    let queuing = limited.limit_response.and_then(|r| r.queuing).map(|q| Queuing {
        queues: u64::from(q.queues.unwrap_or_default().max(1).unsigned_abs()),
        hand: u64::from(q.hand_size.unwrap_or_default().max(1).unsigned_abs()),
        length: usize::try_from(q.queue_length_limit.unwrap_or_default()).unwrap_or_default(),
    });
    Limits { guaranteed: nominal - lendable, lendable, ceiling, queuing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_of_the_initial_levels() {
        let levels = bootstrap::priority_levels().into_iter().map(|l| l.object).collect();
        let (plan, limits) = plan((0, 0), Vec::new(), levels, 600, &Metrics::default());
        let seats: BTreeMap<&str, (usize, usize)> =
            limits.iter().map(|(name, l)| (&**name, (l.guaranteed + l.lendable, l.lendable))).collect();
        let wanted = [
            ("catch-all", (13, 0)),
            ("global-default", (49, 25)),
            ("leader-election", (25, 0)),
            ("node-high", (98, 25)),
            ("system", (74, 24)),
            ("workload-high", (98, 49)),
            ("workload-low", (245, 221)),
        ];
        assert_eq!(seats, wanted.into());
        // Levels without schemas do no harm, and the mandatory schemas are always there.
        let schemas: Vec<&str> = plan.schemas.iter().map(|s| &*s.name).collect();
        assert_eq!(schemas, ["exempt", "catch-all"]);
    }
}
