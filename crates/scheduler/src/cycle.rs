//! One scheduling cycle: from a pod and a picture of the cluster to a node, or to why there is none.
//!
//! Pure but for what it remembers between pods: where in the list of nodes the last search ended, and the
//! candidates of the last pod, which the next pod takes over if it looks the same. Randomness is passed in.
//! How many nodes are looked at and how the search goes round is upstream's ("Scheduler performance tuning").
use crate::{
    cluster::{NodeIndex, NodeView, Overlay},
    framework::{
        Code, Context, FitError, MAX_NODE_SCORE, NodeScore, Point, PostFilter,
        profile::{Enabled, Filters, Objection, Profile},
    },
    pod::{PodInfo, Template},
};
use rand::{Rng, RngExt};
use std::sync::Arc;

/// Nodes that are searched for at least. Upstream's `minFeasibleNodesToFind`.
const MIN_FEASIBLE_NODES: usize = 100;
/// Upstream's `minFeasibleNodesPercentageToFind`.
const MIN_PERCENTAGE: usize = 5;
/// For how many pods candidates are taken over before the search moves on to other nodes.
const MAX_REUSES: usize = 64;

/// Where a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: NodeIndex,
    pub evaluated: usize,
    pub feasible: usize,
}

/// Why a pod goes nowhere.
pub enum Failure {
    /// There are no nodes at all.
    NoNodes,
    Unfit(Box<Unfit>),
}

/// A pod fits nowhere as things are.
pub struct Unfit {
    pub error: FitError,
    /// Room can be made: end these pods and the pod can run on this node.
    pub nominate: Option<(NodeIndex, Vec<Arc<PodInfo>>)>,
}

/// A failed attempt, as the plugins of `PostFilter` see it.
pub struct Attempt<'a> {
    pub context: Context<'a>,
    /// `None`: a plugin objected before any node was looked at.
    pub filters: Option<&'a Filters<'a>>,
    /// The nodes that were looked at and refused.
    pub refused: &'a [(NodeIndex, Code)],
    /// Where among the nodes to begin, so that not always the same ones suffer.
    pub offset: usize,
}

/// What is remembered between pods.
#[derive(Default)]
pub struct Cycle {
    next_start: usize,
    reuse: Option<Candidates>,
}

/// Candidates with their scores as the plugins gave them.
struct Candidates {
    of: Arc<PodInfo>,
    profile: Arc<str>,
    shape: u64,
    nodes: Vec<NodeIndex>,
    generations: Vec<u64>,
    /// One row a scoring plugin.
    scores: Vec<Vec<i64>>,
    evaluated: usize,
    uses: usize,
}

/// How many feasible nodes are enough. Upstream's `numFeasibleNodesToFind`.
pub fn nodes_to_find(all: usize, percentage: Option<usize>) -> usize {
    if all < MIN_FEASIBLE_NODES {
        return all;
    }
    let percentage = match percentage {
        Some(given) if given > 0 => given,
        _ => 50usize.saturating_sub(all / 125).max(MIN_PERCENTAGE),
    };
    if percentage >= 100 {
        return all;
    }
    (all * percentage / 100).max(MIN_FEASIBLE_NODES)
}

type Scorers<'a> = Vec<(Box<dyn NodeScore + 'a>, i64)>;

fn scorers<'a>(profile: &'a Profile, context: Context<'a>, candidates: &[NodeIndex]) -> Scorers<'a> {
    let prepared = profile
        .at(Point::Score)
        .iter()
        .filter_map(|Enabled { plugin, weight }| plugin.pre_score(context, candidates).map(|score| (score, *weight)));
    prepared.collect()
}

/// Weighted sums of the normalized scores.
fn totals(scorers: &Scorers<'_>, scores: &[Vec<i64>], count: usize) -> Vec<i64> {
    let mut totals = vec![0; count];
    for ((scorer, weight), row) in scorers.iter().zip(scores) {
        let mut row = row.clone();
        scorer.normalize(&mut row);
        for (total, score) in totals.iter_mut().zip(row) {
            *total += score.clamp(0, MAX_NODE_SCORE) * weight;
        }
    }
    totals
}

/// The place of the largest total, any of them with equal chance.
fn choose(totals: &[i64], rng: &mut impl Rng) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    let mut equals = 1u32;
    for (at, total) in totals.iter().enumerate() {
        match best {
            Some((_, top)) if *total < top => {}
            Some((_, top)) if *total == top => {
                equals += 1;
                if rng.random_range(0..equals) == 0 {
                    best = Some((at, top));
                }
            }
            _ => {
                best = Some((at, *total));
                equals = 1;
            }
        }
    }
    best.map(|(at, _)| at)
}

struct Search {
    feasible: Vec<NodeIndex>,
    refused: Vec<(NodeIndex, Code)>,
    error: FitError,
    processed: usize,
}

impl Search {
    fn refuse(&mut self, index: NodeIndex, objection: Objection) {
        let Objection { plugin, rejection } = objection;
        self.refused.push((index, rejection.code));
        if !self.error.plugins.contains(&plugin) {
            self.error.plugins.push(plugin);
        }
        for reason in rejection.reasons {
            *self.error.reasons.entry(reason).or_default() += 1;
        }
    }
}

impl Cycle {
    /// Decides where a pod goes.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn schedule(
        &mut self,
        profile: &Profile,
        context: Context<'_>,
        rng: &mut impl Rng,
    ) -> Result<Placement, Failure> {
        let cluster = context.cluster;
        if cluster.order().is_empty() {
            return Err(Failure::NoNodes);
        }
        let filters = match profile.pre_filter(context) {
            Ok(filters) => filters,
            Err(objection) => return Err(rejected_early(profile, context, objection)),
        };
        if let Some(node) = nominated_node(context, &filters) {
            return Ok(Placement { node, evaluated: 1, feasible: 1 });
        }
        if let Some(placement) = self.reuse(profile, context, &filters, rng) {
            return Ok(placement);
        }
        let search = self.search(profile, context, &filters);
        if search.feasible.is_empty() {
            let attempt = Attempt {
                context,
                filters: Some(&filters),
                refused: &search.refused,
                offset: rng.random_range(0..=u32::MAX) as usize,
            };
            let mut error = search.error;
            let nominate = post_filter(profile, &attempt, &mut error);
            return Err(Failure::Unfit(Box::new(Unfit { error, nominate })));
        }
        Ok(self.score(profile, context, &filters, search, rng))
    }

    fn search(&mut self, profile: &Profile, context: Context<'_>, filters: &Filters<'_>) -> Search {
        let cluster = context.cluster;
        let all = cluster.order();
        let mut search = Search {
            feasible: Vec::new(),
            refused: Vec::new(),
            error: FitError { nodes: all.len(), ..FitError::default() },
            processed: 0,
        };
        let nodes: &[NodeIndex] = filters.only.as_ref().map_or(all, |(only, _)| only);
        let wanted = nodes_to_find(nodes.len(), profile.percentage_of_nodes_to_score);
        let start = if nodes.is_empty() { 0 } else { self.next_start % nodes.len() };
        let nothing = Overlay::default();
        for index in nodes[start..].iter().chain(&nodes[..start]) {
            search.processed += 1;
            match filters.run_with_nominated(context, &cluster.view(*index), &nothing) {
                Ok(()) => {
                    search.feasible.push(*index);
                    if search.feasible.len() >= wanted {
                        break;
                    }
                }
                Err(objection) => search.refuse(*index, objection),
            }
        }
        if let Some((only, plugins)) = &filters.only
            && only.len() < all.len()
        {
            let text = format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "));
            search.error.reasons.insert(text.into(), all.len() - only.len());
            search.error.plugins.extend(plugins);
        }
        self.next_start = (start + search.processed) % nodes.len().max(1);
        search
    }

    fn score(
        &mut self,
        profile: &Profile,
        context: Context<'_>,
        filters: &Filters<'_>,
        search: Search,
        rng: &mut impl Rng,
    ) -> Placement {
        let cluster = context.cluster;
        let nodes = search.feasible;
        let (evaluated, feasible) = (search.processed, nodes.len());
        if feasible == 1 {
            return Placement { node: nodes[0], evaluated, feasible };
        }
        let scorers = scorers(profile, context, &nodes);
        let rows = scorers.iter().map(|(scorer, _)| nodes.iter().map(|i| scorer.score(&cluster.view(*i))).collect());
        let scores: Vec<Vec<i64>> = rows.collect();
        let totals = totals(&scorers, &scores, feasible);
        let chosen = choose(&totals, rng).unwrap_or(0);
        let node = nodes[chosen];
        let local = scorers.iter().all(|(scorer, _)| scorer.is_local());
        self.reuse = (local && reusable(context, filters)).then(|| Candidates {
            of: Arc::new(context.pod.clone()),
            profile: profile.name.clone(),
            shape: cluster.shape(),
            generations: nodes.iter().map(|i| cluster.row(*i).generation).collect(),
            nodes,
            scores,
            evaluated,
            uses: 0,
        });
        Placement { node, evaluated, feasible }
    }

    /// Takes the candidates of the last pod for this one, looking again only at nodes that changed.
    fn reuse(
        &mut self,
        profile: &Profile,
        context: Context<'_>,
        filters: &Filters<'_>,
        rng: &mut impl Rng,
    ) -> Option<Placement> {
        let cluster = context.cluster;
        let known = self.reuse.as_mut()?;
        let fits = known.uses < MAX_REUSES
            && known.shape == cluster.shape()
            && known.profile == profile.name
            && alike(&known.of, context.pod)
            && reusable(context, filters);
        if !fits {
            self.reuse = None;
            return None;
        }
        known.uses += 1;
        let scorers = scorers(profile, context, &known.nodes);
        let mut at = 0;
        while at < known.nodes.len() {
            let view = cluster.view(known.nodes[at]);
            let generation = view.row().generation;
            if generation != known.generations[at] {
                if filters.run(&view).is_err() {
                    known.nodes.swap_remove(at);
                    known.generations.swap_remove(at);
                    for row in &mut known.scores {
                        row.swap_remove(at);
                    }
                    continue;
                }
                known.generations[at] = generation;
                for ((scorer, _), row) in scorers.iter().zip(&mut known.scores) {
                    row[at] = scorer.score(&view);
                }
            }
            at += 1;
        }
        let totals = totals(&scorers, &known.scores, known.nodes.len());
        let Some(chosen) = choose(&totals, rng) else {
            self.reuse = None;
            return None;
        };
        Some(Placement { node: known.nodes[chosen], evaluated: known.evaluated, feasible: known.nodes.len() })
    }
}

/// The same decision is right for both.
fn alike(one: &PodInfo, other: &PodInfo) -> bool {
    let same_template = |a: &Arc<Template>, b: &Arc<Template>| Arc::ptr_eq(a, b);
    same_template(&one.template, &other.template)
        && one.key.namespace == other.key.namespace
        && one.labels == other.labels
        && one.owners == other.owners
}

/// Nothing but the candidates' own slots decides.
fn reusable(context: Context<'_>, filters: &Filters<'_>) -> bool {
    filters.only.is_none()
        && context.cluster.affinity_nodes().is_empty()
        && context.cluster.nominated.is_empty()
        && context.pod.template.spec.volumes.iter().all(|v| v.persistent_volume_claim.is_none() && !v.ephemeral)
        && filters.checks.iter().all(|(_, check)| check.is_local())
}

/// The node that room was made on, if the pod fits there now.
fn nominated_node(context: Context<'_>, filters: &Filters<'_>) -> Option<NodeIndex> {
    let nominated = context.cluster.nominated.node_of(&context.pod.uid).or(context.pod.nominated_node.as_ref())?;
    let index = context.cluster.node(nominated)?;
    if filters.only.as_ref().is_some_and(|(only, _)| !only.contains(&index)) {
        return None;
    }
    let view: NodeView<'_> = context.cluster.view(index);
    filters.run_with_nominated(context, &view, &Overlay::default()).ok().map(|()| index)
}

fn rejected_early(profile: &Profile, context: Context<'_>, objection: Objection) -> Failure {
    let all = context.cluster.order();
    let mut error = FitError {
        nodes: all.len(),
        pre_filter: Some(objection.rejection.reasons.join(", ")),
        plugins: vec![objection.plugin],
        ..FitError::default()
    };
    let refused: Vec<_> = all.iter().map(|index| (*index, objection.rejection.code)).collect();
    let attempt = Attempt { context, filters: None, refused: &refused, offset: 0 };
    let nominate = post_filter(profile, &attempt, &mut error);
    Failure::Unfit(Box::new(Unfit { error, nominate }))
}

/// Asks the plugins of `PostFilter` in turn until one can help or forbids to go on.
fn post_filter(
    profile: &Profile,
    attempt: &Attempt<'_>,
    error: &mut FitError,
) -> Option<(NodeIndex, Vec<Arc<PodInfo>>)> {
    let mut reasons = Vec::new();
    for Enabled { plugin, .. } in profile.at(Point::PostFilter) {
        match plugin.post_filter(attempt) {
            PostFilter::Nominate { node, victims } => return Some((node, victims)),
            PostFilter::Error(why) => {
                error.post_filter = why;
                return None;
            }
            PostFilter::Unschedulable(why) if why.is_empty() => {}
            PostFilter::Unschedulable(why) => reasons.push(why),
        }
    }
    error.post_filter = reasons.join(", ");
    None
}
