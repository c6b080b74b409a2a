//! `NodeResourcesFit`: nodes must have room for what the pod asks for, and are compared by how full they are;
//! `NodeResourcesBalancedAllocation`: nodes whose resources are used evenly are liked better.
//!
//! Formulas and rounding are upstream's (`resource_allocation.go`, `least_allocated.go`, `most_allocated.go`,
//! `requested_to_capacity_ratio.go`, `balanced_allocation.go`).
use super::Args;
use crate::{
    cluster::{NodeIndex, NodeView},
    config::Error,
    framework::{Code, Context, Event, MAX_NODE_SCORE, NodeFilter, NodeScore, Plugin, Point, PreFilter, Rejection},
    pod::PodInfo,
    resources::{CPU, EPHEMERAL_STORAGE, MEMORY, PodRequests},
};
use serde::Deserialize;
use std::{borrow::Cow, sync::Arc};

pub const FIT: &str = "NodeResourcesFit";
pub const BALANCED: &str = "NodeResourcesBalancedAllocation";

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    name: String,
    #[serde(default = "one")]
    weight: i64,
}

fn one() -> i64 {
    1
}

fn cpu_and_memory() -> Vec<Weighted> {
    [CPU, MEMORY].map(|name| Weighted { name: name.to_owned(), weight: 1 }).to_vec()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct NodeResourcesFitArgs {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScoringStrategy {
    #[serde(rename = "type", default)]
    kind: StrategyType,
    #[serde(default)]
    resources: Vec<Weighted>,
    requested_to_capacity_ratio: Option<RatioParam>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
enum StrategyType {
    #[default]
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatioParam {
    #[serde(default)]
    shape: Vec<ShapePoint>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapePoint {
    utilization: i64,
    score: i64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NodeResourcesBalancedAllocationArgs {
    resources: Vec<Weighted>,
}

/// How full is good.
#[derive(Clone)]
enum Strategy {
    Least,
    Most,
    /// Points of (utilization in percent, score 0..=100), by rising utilization.
    Ratio(Vec<(i64, i64)>),
}

struct Fit {
    ignored: Vec<String>,
    ignored_groups: Vec<String>,
    strategy: Strategy,
    resources: Vec<Weighted>,
}

pub fn new_fit(args: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    let parsed: NodeResourcesFitArgs = args.decode()?;
    let strategy = parsed.scoring_strategy.unwrap_or(ScoringStrategy {
        kind: StrategyType::LeastAllocated,
        resources: Vec::new(),
        requested_to_capacity_ratio: None,
    });
    let resources = if strategy.resources.is_empty() { cpu_and_memory() } else { strategy.resources };
    if let Some(bad) = resources.iter().find(|r| !(1..=100).contains(&r.weight)) {
        let why = format!("scoringStrategy.resources: weight of {} should be in range [1, 100]", bad.name);
        return Err(args.invalid(why));
    }
    let kind = match strategy.kind {
        StrategyType::LeastAllocated => Strategy::Least,
        StrategyType::MostAllocated => Strategy::Most,
        StrategyType::RequestedToCapacityRatio => {
            let shape = strategy.requested_to_capacity_ratio.map(|p| p.shape).unwrap_or_default();
            Strategy::Ratio(checked_shape(args, &shape)?)
        }
    };
    Ok(Arc::new(Fit {
        ignored: parsed.ignored_resources,
        ignored_groups: parsed.ignored_resource_groups,
        strategy: kind,
        resources,
    }))
}

fn checked_shape(args: &Args<'_>, shape: &[ShapePoint]) -> Result<Vec<(i64, i64)>, Error> {
    if shape.is_empty() {
        return Err(args.invalid("requestedToCapacityRatio.shape: at least one point must be specified".into()));
    }
    let rising = shape.windows(2).all(|w| w[0].utilization < w[1].utilization);
    let in_range = shape.iter().all(|p| (0..=100).contains(&p.utilization) && (0..=10).contains(&p.score));
    if !rising || !in_range {
        let why = "requestedToCapacityRatio.shape: utilization values must be sorted in increasing order within \
                   [0, 100], scores within [0, 10]";
        return Err(args.invalid(why.into()));
    }
    // Scores are given as 0..=10 and counted as 0..=100.
    Ok(shape.iter().map(|p| (p.utilization, p.score * (MAX_NODE_SCORE / 10))).collect())
}

/// A broken line through the points, flat at both ends.
fn interpolate(points: &[(i64, i64)], at: i64) -> i64 {
    let mut previous: Option<(i64, i64)> = None;
    for &(x, y) in points {
        if at <= x {
            return previous.map_or(y, |(x0, y0)| y0 + (y - y0) * (at - x0) / (x - x0));
        }
        previous = Some((x, y));
    }
    previous.map_or(0, |(_, y)| y)
}

/// Allocatable amount of a resource, and what would be requested of it with the pod there.
fn amounts(node: &NodeView<'_>, requests: &PodRequests, resource: &str, nonzero: bool) -> (i64, i64) {
    let columns = node.cluster.columns();
    let index = node.index;
    let asked = &requests.requests;
    match resource {
        CPU if nonzero => (columns.allocatable_milli_cpu[index], node.nonzero_milli_cpu() + requests.nonzero_milli_cpu),
        CPU => (columns.allocatable_milli_cpu[index], node.requested_milli_cpu() + asked.milli_cpu),
        MEMORY if nonzero => (columns.allocatable_memory[index], node.nonzero_memory() + requests.nonzero_memory),
        MEMORY => (columns.allocatable_memory[index], node.requested_memory() + asked.memory),
        EPHEMERAL_STORAGE => {
            let allocatable = columns.allocatable_ephemeral_storage[index];
            (allocatable, node.requested_ephemeral_storage() + asked.ephemeral_storage)
        }
        // An extended resource the pod does not ask for says nothing about where it should run.
        name if asked.get(name) == 0 => (0, 0),
        name => (node.row().allocatable.get(name), node.requested_scalar(name) + asked.get(name)),
    }
}

#[derive(Clone)]
struct FitCheck<'a> {
    plugin: &'a Fit,
    requests: &'a PodRequests,
}

impl Fit {
    fn is_ignored(&self, resource: &str) -> bool {
        self.ignored.iter().any(|name| name == resource)
            || resource.split_once('/').is_some_and(|(group, _)| self.ignored_groups.iter().any(|g| g == group))
    }
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        FIT
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        PreFilter::check(FitCheck { plugin: self, requests: &context.pod.template.requests })
    }

    fn pre_score<'a>(&'a self, context: Context<'a>, _: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        Some(Box::new(FitCheck { plugin: self, requests: &context.pod.template.requests }))
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { cluster, index, change } if change.added || change.allocatable => {
                let check = FitCheck { plugin: self, requests: &pod.template.requests };
                check.filter(&cluster.view(*index)).is_ok()
            }
            event => event.frees(&pod.template.requests.requests),
        }
    }
}

impl NodeFilter for FitCheck<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        let columns = node.cluster.columns();
        let index = node.index;
        let asked = &self.requests.requests;
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        let mut code = Code::Unschedulable;
        if node.pod_count() + 1 > columns.allocatable_pods[index] {
            reasons.push("Too many pods".into());
        }
        let mut check = |asked: i64, allocatable: i64, requested: i64, reason: Cow<'static, str>| {
            if asked > 0 && asked > allocatable - requested {
                if asked > allocatable {
                    code = Code::UnschedulableAndUnresolvable;
                }
                reasons.push(reason);
            }
        };
        if !asked.is_zero() {
            let cpu = columns.allocatable_milli_cpu[index];
            check(asked.milli_cpu, cpu, node.requested_milli_cpu(), "Insufficient cpu".into());
            let memory = columns.allocatable_memory[index];
            check(asked.memory, memory, node.requested_memory(), "Insufficient memory".into());
            let storage = columns.allocatable_ephemeral_storage[index];
            let requested = node.requested_ephemeral_storage();
            check(asked.ephemeral_storage, storage, requested, "Insufficient ephemeral-storage".into());
            for (name, amount) in &asked.scalars {
                if *amount > 0 && !self.plugin.is_ignored(name) {
                    let allocatable = node.row().allocatable.get(name);
                    check(*amount, allocatable, node.requested_scalar(name), format!("Insufficient {name}").into());
                }
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(Rejection { code, reasons }) }
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }
}

impl NodeScore for FitCheck<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        let mut score = 0;
        let mut weights = 0;
        for Weighted { name, weight } in &self.plugin.resources {
            let nonzero = !matches!(self.plugin.strategy, Strategy::Ratio(_));
            let (capacity, requested) = amounts(node, self.requests, name, nonzero);
            if capacity == 0 {
                continue;
            }
            let of_resource = match &self.plugin.strategy {
                Strategy::Least if requested > capacity => 0,
                Strategy::Least => (capacity - requested) * MAX_NODE_SCORE / capacity,
                Strategy::Most => requested.min(capacity) * MAX_NODE_SCORE / capacity,
                Strategy::Ratio(points) if requested > capacity => interpolate(points, 100),
                Strategy::Ratio(points) => interpolate(points, requested * 100 / capacity),
            };
            // A ratio of zero says nothing and does not water down the others.
            if !nonzero && of_resource == 0 {
                continue;
            }
            score += of_resource * weight;
            weights += weight;
        }
        match (weights, nonzero_rounds(&self.plugin.strategy)) {
            (0, _) => 0,
            (weights, true) => score / weights,
            (weights, false) => (score as f64 / weights as f64).round() as i64,
        }
    }
}

/// Least and most allocated round down; the ratio strategy rounds to the nearest.
fn nonzero_rounds(strategy: &Strategy) -> bool {
    !matches!(strategy, Strategy::Ratio(_))
}

struct Balanced {
    resources: Vec<Weighted>,
}

pub fn new_balanced(args: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    let parsed: NodeResourcesBalancedAllocationArgs = args.decode()?;
    if parsed.resources.iter().any(|r| r.weight != 1) {
        return Err(args.invalid("resources: weight should be 1 for every resource".into()));
    }
    let resources = if parsed.resources.is_empty() { cpu_and_memory() } else { parsed.resources };
    Ok(Arc::new(Balanced { resources }))
}

struct BalancedScore<'a> {
    plugin: &'a Balanced,
    requests: &'a PodRequests,
}

impl Plugin for Balanced {
    fn name(&self) -> &'static str {
        BALANCED
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreScore, Point::Score]
    }

    fn pre_score<'a>(&'a self, context: Context<'a>, _: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        let requests = &context.pod.template.requests;
        // Pods that ask for nothing would all gather on one node.
        let best_effort = self.resources.iter().all(|r| requests.requests.get(&r.name) == 0);
        (!best_effort).then(|| Box::new(BalancedScore { plugin: self, requests }) as Box<dyn NodeScore>)
    }
}

impl NodeScore for BalancedScore<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        let mut sum = 0.0;
        let mut squares = 0.0;
        let mut count = 0.0;
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for Weighted { name, .. } in &self.plugin.resources {
            let (capacity, requested) = amounts(node, self.requests, name, false);
            if capacity == 0 {
                continue;
            }
            let fraction = (requested as f64 / capacity as f64).min(1.0);
            sum += fraction;
            squares += fraction * fraction;
            count += 1.0;
            low = low.min(fraction);
            high = high.max(fraction);
        }
        let deviation = match count as u32 {
            0 | 1 => 0.0,
            2 => (high - low) / 2.0,
            _ => {
                let mean: f64 = sum / count;
                (squares / count - mean * mean).max(0.0).sqrt()
            }
        };
        ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
    }
}

#[cfg(test)]
#[path = "node_resources_tests.rs"]
mod tests;
