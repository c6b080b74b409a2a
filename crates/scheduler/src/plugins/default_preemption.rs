//! Makes room for a pod that fits nowhere by ending pods of lower priority.
//!
//! On each node that could help, all pods of lower priority are thought away; if the pod then fits, as many of
//! them as possible are kept, first those whose disruption budget would be violated, then by importance. The node
//! whose victims matter least is nominated. Source: upstream's `preemption.go`; the rules of choice are in its order.
use super::Args;
use crate::{
    cluster::{NodeIndex, Overlay},
    config::Error,
    cycle::Attempt,
    framework::{Code, Event, FitError, Plugin, Point, PostFilter, profile::Filters},
    pod::PodInfo,
};
use serde::Deserialize;
use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

pub const NAME: &str = "DefaultPreemption";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct DefaultPreemptionArgs {
    min_candidate_nodes_percentage: usize,
    min_candidate_nodes_absolute: usize,
}

impl Default for DefaultPreemptionArgs {
    fn default() -> Self {
        DefaultPreemptionArgs { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

struct DefaultPreemption(DefaultPreemptionArgs);

pub fn new(args: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    let parsed: DefaultPreemptionArgs = args.decode()?;
    if parsed.min_candidate_nodes_percentage > 100 {
        return Err(args.invalid("minCandidateNodesPercentage: not in valid range [0, 100]".into()));
    }
    if parsed.min_candidate_nodes_percentage == 0 && parsed.min_candidate_nodes_absolute == 0 {
        let why = "minCandidateNodesPercentage and minCandidateNodesAbsolute cannot both be zero";
        return Err(args.invalid(why.into()));
    }
    Ok(Arc::new(DefaultPreemption(parsed)))
}

struct Candidate {
    node: NodeIndex,
    /// Most important first.
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// Higher priority, then longer running, is more important and comes first.
fn by_importance(a: &Arc<PodInfo>, b: &Arc<PodInfo>) -> Ordering {
    let started = |p: &PodInfo| if p.start_time.is_empty() { p.creation_time.clone() } else { p.start_time.clone() };
    b.priority().cmp(&a.priority()).then_with(|| started(a).cmp(&started(b)))
}

/// Why this pod may not end others.
fn ineligible(attempt: &Attempt<'_>) -> Option<&'static str> {
    let pod = attempt.context.pod;
    if pod.template.spec.preemption_policy.as_deref() == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let cluster = attempt.context.cluster;
    let nominated = cluster.nominated.node_of(&pod.uid).or(pod.nominated_node.as_ref())?;
    let index = cluster.node(nominated)?;
    let hopeless = attempt.refused.iter().any(|(i, code)| *i == index && *code == Code::UnschedulableAndUnresolvable);
    let ending = cluster.row(index).pods.iter().any(|p| p.deleting && p.priority() < pod.priority());
    (!hopeless && ending).then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Pods whose end a disruption budget forbids, and the others. Budgets are used up in the order of the pods.
fn split_by_budget(attempt: &Attempt<'_>, pods: &[Arc<PodInfo>]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let selectors = &attempt.context.cluster.selectors;
    let mut used: foldhash::HashMap<*const crate::cluster::Budget, i32> = foldhash::HashMap::default();
    pods.iter().cloned().partition(|pod| {
        let mut violating = false;
        for budget in selectors.budgets(&pod.key.namespace) {
            let counted_already = budget.disrupted.iter().any(|name| **name == *pod.key.name);
            if budget.selector.is_everything() && pod.labels.is_empty()
                || !budget.selector.matches(&pod.labels)
                || counted_already
            {
                continue;
            }
            let used = used.entry(std::ptr::from_ref(budget)).or_default();
            *used += 1;
            violating |= *used > budget.disruptions_allowed;
        }
        violating
    })
}

enum DryRun {
    Candidate(Candidate),
    NoVictims,
    StillNoFit(Vec<std::borrow::Cow<'static, str>>),
}

fn dry_run(attempt: &Attempt<'_>, filters: &Filters<'_>, node: NodeIndex) -> DryRun {
    let context = attempt.context;
    let view = context.cluster.view(node);
    let lower = |p: &&Arc<PodInfo>| p.priority() < context.pod.priority();
    let mut potential: Vec<_> = view.row().pods.iter().filter(lower).cloned().collect();
    if potential.is_empty() {
        return DryRun::NoVictims;
    }
    potential.sort_by(by_importance);
    let mut filters = filters.fork();
    let mut overlay = Overlay::default();
    for pod in &potential {
        overlay.remove(pod);
        filters.remove_pod(pod, &view);
    }
    if let Err(objection) = filters.run_with_nominated(context, &view.with(&overlay), &overlay) {
        return DryRun::StillNoFit(objection.rejection.reasons);
    }
    let (violating, harmless) = split_by_budget(attempt, &potential);
    let mut victims = Vec::new();
    let mut violations = 0;
    for (pods, violate) in [(violating, true), (harmless, false)] {
        for pod in pods {
            overlay.add(&pod);
            filters.add_pod(&pod, &view);
            if filters.run_with_nominated(context, &view.with(&overlay), &overlay).is_err() {
                overlay.remove(&pod);
                filters.remove_pod(&pod, &view);
                violations += usize::from(violate);
                victims.push(pod);
            }
        }
    }
    victims.sort_by(by_importance);
    DryRun::Candidate(Candidate { node, victims, violations })
}

/// The candidate whose victims matter least; the first of equals.
fn cheapest(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| {
        let highest = candidate.victims.first().map_or(i32::MIN, |p| p.priority());
        let sum: i64 = candidate.victims.iter().map(|p| i64::from(p.priority()) + i64::from(i32::MAX) + 1).sum();
        // Of the most important victims, the earliest start; later is better.
        let top = candidate.victims.iter().filter(|p| p.priority() == highest);
        let earliest = top.map(|p| p.start_time.clone()).min().unwrap_or_default();
        (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
    })
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PostFilter]
    }

    fn post_filter(&self, attempt: &Attempt<'_>) -> PostFilter {
        if let Some(why) = ineligible(attempt) {
            return PostFilter::Unschedulable(format!("preemption: {why}"));
        }
        let all = attempt.context.cluster.order().len();
        let mut error = FitError { nodes: all, ..FitError::default() };
        let helpful: Vec<NodeIndex> =
            attempt.refused.iter().filter(|(_, code)| *code == Code::Unschedulable).map(|(index, _)| *index).collect();
        if let Some(filters) = attempt.filters
            && !helpful.is_empty()
        {
            let wanted = (helpful.len() * self.0.min_candidate_nodes_percentage / 100)
                .max(self.0.min_candidate_nodes_absolute)
                .min(helpful.len());
            let start = attempt.offset % helpful.len();
            let mut candidates = Vec::new();
            for node in helpful[start..].iter().chain(&helpful[..start]) {
                match dry_run(attempt, filters, *node) {
                    DryRun::Candidate(candidate) => candidates.push(candidate),
                    DryRun::NoVictims => {
                        *error.reasons.entry("No preemption victims found for incoming pod".into()).or_default() += 1;
                    }
                    DryRun::StillNoFit(reasons) => {
                        for reason in reasons {
                            *error.reasons.entry(reason).or_default() += 1;
                        }
                    }
                }
                // Those that violate no budget are what counts.
                if candidates.len() >= wanted && candidates.iter().any(|c: &Candidate| c.violations == 0) {
                    break;
                }
            }
            if let Some(Candidate { node, victims, .. }) = cheapest(candidates) {
                return PostFilter::Nominate { node, victims };
            }
        }
        if helpful.len() < all {
            error.reasons.insert("Preemption is not helpful for scheduling".into(), all - helpful.len());
        }
        PostFilter::Unschedulable(format!("preemption: {error}"))
    }

    fn queueing_hint(&self, _: &PodInfo, _: &Event<'_>) -> bool {
        false
    }
}

#[cfg(test)]
#[path = "default_preemption_tests.rs"]
mod tests;
