//! Topology spread constraints: replicas go evenly over zones, hosts and the like (KEP-895, KEP-3022, KEP-3094).
//!
//! Constraints come from the pod; a pod that has none is spread by the profile's defaults over what its services
//! and its controller select.
use super::{Args, taint_toleration};
use crate::{
    cluster::{Cluster, NodeIndex, NodeView},
    config::Error,
    framework::{Context, Event, MAX_NODE_SCORE, NodeFilter, NodeScore, Plugin, Point, PreFilter, Rejection},
    pod::{PodInfo, SpreadConstraint},
};
use apimachinery::labels::{Operator, Requirement, Selector};
use foldhash::{HashMap, HashSet};
use serde::Deserialize;
use std::sync::Arc;

pub const NAME: &str = "PodTopologySpread";
const HOSTNAME: &str = "kubernetes.io/hostname";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PodTopologySpreadArgs {
    default_constraints: Vec<DefaultConstraint>,
    defaulting_type: DefaultingType,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefaultConstraint {
    max_skew: i64,
    topology_key: String,
    when_unsatisfiable: String,
}

#[derive(Default, PartialEq, Deserialize)]
enum DefaultingType {
    #[default]
    System,
    List,
}

struct PodTopologySpread {
    defaults: Vec<DefaultConstraint>,
    system: bool,
}

pub fn new(args: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    let parsed: PodTopologySpreadArgs = args.decode()?;
    let system = parsed.defaulting_type == DefaultingType::System;
    if system && !parsed.default_constraints.is_empty() {
        let why = "defaultConstraints: when .defaultingType is System, the default constraints cannot be set";
        return Err(args.invalid(why.into()));
    }
    let soft = |topology_key: &str, max_skew| DefaultConstraint {
        max_skew,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
    };
    let defaults = if system {
        vec![soft(HOSTNAME, 3), soft("topology.kubernetes.io/zone", 5)]
    } else {
        parsed.default_constraints
    };
    Ok(Arc::new(PodTopologySpread { defaults, system }))
}

impl PodTopologySpread {
    /// The hard or the soft constraints of a pod, and whether they are its own.
    fn constraints(&self, context: Context<'_>, hard: bool) -> (Vec<SpreadConstraint>, bool) {
        let Context { pod, cluster } = context;
        let own = &pod.template.spread;
        if !own.is_empty() {
            let of_kind = own.iter().filter(|c| c.hard == hard).map(|c| with_label_keys(c, pod)).collect();
            return (of_kind, true);
        }
        let is_hard = |d: &&DefaultConstraint| (d.when_unsatisfiable == "DoNotSchedule") == hard;
        let mut defaults = self.defaults.iter().filter(is_hard).peekable();
        if defaults.peek().is_none() {
            return (Vec::new(), false);
        }
        let Some(selector) = cluster.selectors.default_selector(pod) else { return (Vec::new(), false) };
        let constraint = |d: &DefaultConstraint| SpreadConstraint {
            max_skew: d.max_skew,
            min_domains: 1,
            topology_key: d.topology_key.clone(),
            hard,
            selector: selector.clone(),
            match_label_keys: Vec::new(),
            honor_affinity: true,
            honor_taints: false,
        };
        (defaults.map(constraint).collect(), !self.system)
    }
}

/// The constraint with the pod's values of `matchLabelKeys` made part of its selector.
fn with_label_keys(constraint: &SpreadConstraint, pod: &PodInfo) -> SpreadConstraint {
    let mut constraint = constraint.clone();
    let keys = std::mem::take(&mut constraint.match_label_keys);
    if keys.is_empty() || constraint.selector.is_nothing() {
        return constraint;
    }
    let mut requirements = constraint.selector.requirements().to_vec();
    let values = keys.iter().filter_map(|key| Some((key, pod.labels.get(key)?)));
    requirements.extend(values.filter_map(|(k, v)| Requirement::new(k, Operator::In, vec![v.clone()]).ok()));
    constraint.selector = Selector::from_requirements(requirements);
    constraint
}

/// Does this node count for this constraint?
fn counts(constraint: &SpreadConstraint, pod: &PodInfo, node: &NodeView<'_>) -> bool {
    let row = node.row();
    (!constraint.honor_affinity || pod.template.admits(&row.name, row.labels()))
        && (!constraint.honor_taints || taint_toleration::admits(&pod.template.spec.tolerations, row.taints()))
}

fn has_all_keys(constraints: &[SpreadConstraint], node: &NodeView<'_>) -> bool {
    constraints.iter().all(|c| node.label(&c.topology_key).is_some())
}

fn selects(constraint: &SpreadConstraint, namespace: &str, other: &PodInfo) -> bool {
    !other.deleting && &*other.key.namespace == namespace && constraint.selector.matches(&other.labels)
}

fn matching_pods(constraint: &SpreadConstraint, pod: &PodInfo, node: &NodeView<'_>) -> i64 {
    let namespace = &*pod.key.namespace;
    let count = node.row().pods.iter().filter(|other| selects(constraint, namespace, other)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Matching pods by value of the topology key.
type Domains = HashMap<String, i64>;

fn add_to(domains: &mut Domains, value: &str, amount: i64) {
    if let Some(count) = domains.get_mut(value) {
        *count += amount;
    } else {
        domains.insert(value.to_owned(), amount);
    }
}

#[derive(Clone)]
struct Check<'a> {
    pod: &'a PodInfo,
    constraints: Arc<[SpreadConstraint]>,
    domains: Vec<Domains>,
    /// The smallest count of each constraint's domains.
    minimum: Vec<i64>,
}

impl<'a> Check<'a> {
    fn new(pod: &'a PodInfo, cluster: &Cluster, constraints: Vec<SpreadConstraint>) -> Self {
        let mut domains = vec![Domains::default(); constraints.len()];
        for index in cluster.order() {
            let node = cluster.view(*index);
            if !has_all_keys(&constraints, &node) {
                continue;
            }
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                if let Some(value) = node.label(&constraint.topology_key)
                    && counts(constraint, pod, &node)
                {
                    add_to(domains, value, matching_pods(constraint, pod, &node));
                }
            }
        }
        let mut check = Check { pod, constraints: constraints.into(), domains, minimum: Vec::new() };
        check.find_minimum();
        check
    }

    fn find_minimum(&mut self) {
        let smallest = |(constraint, domains): (&SpreadConstraint, &Domains)| {
            if i64::try_from(domains.len()).is_ok_and(|n| n < constraint.min_domains) {
                return 0;
            }
            domains.values().copied().min().unwrap_or(0)
        };
        self.minimum = self.constraints.iter().zip(&self.domains).map(smallest).collect();
    }

    fn update(&mut self, other: &PodInfo, node: &NodeView<'_>, sign: i64) {
        let constraints = self.constraints.clone();
        if other.key.namespace != self.pod.key.namespace || !has_all_keys(&constraints, node) {
            return;
        }
        for (constraint, domains) in constraints.iter().zip(&mut self.domains) {
            if let Some(value) = node.label(&constraint.topology_key)
                && constraint.selector.matches(&other.labels)
                && counts(constraint, self.pod, node)
            {
                add_to(domains, value, sign);
            }
        }
        self.find_minimum();
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        let (constraints, _) = self.constraints(context, true);
        if constraints.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::check(Check::new(context.pod, context.cluster, constraints))
    }

    fn pre_score<'a>(&'a self, context: Context<'a>, candidates: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        let (constraints, need_all_keys) = self.constraints(context, false);
        (!constraints.is_empty())
            .then(|| Box::new(Score::new(context, constraints, need_all_keys, candidates)) as Box<dyn NodeScore>)
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { change, .. } => change.added || change.labels || change.taints,
            Event::NodeDeleted => true,
            Event::AssignedPod { pod: other, .. } => {
                let constraints = pod.template.spread.iter();
                constraints.clone().count() == 0
                    || (pod.key.namespace == other.key.namespace
                        && constraints.clone().any(|c| with_label_keys(c, pod).selector.matches(&other.labels)))
            }
            _ => false,
        }
    }
}

impl NodeFilter for Check<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        for ((constraint, domains), minimum) in self.constraints.iter().zip(&self.domains).zip(&self.minimum) {
            let Some(value) = node.label(&constraint.topology_key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::unresolvable(reason));
            };
            let itself = i64::from(constraint.selector.matches(&self.pod.labels));
            let count = domains.get(value).copied().unwrap_or(0);
            if count + itself - minimum > constraint.max_skew {
                return Err(Rejection::unschedulable("node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeView<'_>) {
        self.update(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeView<'_>) {
        self.update(pod, node, -1);
    }

    fn is_local(&self) -> bool {
        false
    }
}

struct Score<'a> {
    pod: &'a PodInfo,
    constraints: Vec<SpreadConstraint>,
    domains: Vec<Domains>,
    /// Grows with the number of domains, so that few large ones and many small ones weigh alike.
    weights: Vec<f64>,
    need_all_keys: bool,
}

/// What an ignored candidate gets before normalizing; no real score is negative.
const IGNORED: i64 = -1;

impl<'a> Score<'a> {
    fn new(
        context: Context<'a>,
        constraints: Vec<SpreadConstraint>,
        need_all_keys: bool,
        candidates: &[NodeIndex],
    ) -> Self {
        let Context { pod, cluster } = context;
        let mut domains = vec![Domains::default(); constraints.len()];
        let mut hosts = 0usize;
        for index in candidates {
            let node = cluster.view(*index);
            if need_all_keys && !has_all_keys(&constraints, &node) {
                continue;
            }
            hosts += 1;
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                if constraint.topology_key != HOSTNAME
                    && let Some(value) = node.label(&constraint.topology_key)
                {
                    add_to(domains, value, 0);
                }
            }
        }
        let size = |(c, domains): (&SpreadConstraint, &Domains)| {
            let size = if c.topology_key == HOSTNAME { hosts } else { domains.len() };
            (size as f64 + 2.0).ln()
        };
        let weights = constraints.iter().zip(&domains).map(size).collect();
        // Constraints by host are counted on the candidates themselves, when they are scored.
        let wide: HashSet<usize> = (0..constraints.len()).filter(|at| !domains[*at].is_empty()).collect();
        if !wide.is_empty() {
            for index in cluster.order() {
                let node = cluster.view(*index);
                if need_all_keys && !has_all_keys(&constraints, &node) {
                    continue;
                }
                for at in &wide {
                    let constraint = &constraints[*at];
                    let Some(value) = node.label(&constraint.topology_key) else { continue };
                    if let Some(count) = domains[*at].get_mut(value)
                        && counts(constraint, pod, &node)
                    {
                        *count += matching_pods(constraint, pod, &node);
                    }
                }
            }
        }
        Score { pod, constraints, domains, weights, need_all_keys }
    }
}

impl NodeScore for Score<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        if self.need_all_keys && !has_all_keys(&self.constraints, node) {
            return IGNORED;
        }
        let mut score = 0.0;
        for ((constraint, domains), weight) in self.constraints.iter().zip(&self.domains).zip(&self.weights) {
            let Some(value) = node.label(&constraint.topology_key) else { continue };
            let count = if constraint.topology_key == HOSTNAME {
                matching_pods(constraint, self.pod, node)
            } else {
                domains.get(value).copied().unwrap_or(0)
            };
            score += count as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        let real = || scores.iter().copied().filter(|score| *score != IGNORED);
        let (min, max) = (real().min().unwrap_or(0), real().max().unwrap_or(0));
        for score in scores {
            *score = match *score {
                IGNORED => 0,
                _ if max == 0 => MAX_NODE_SCORE,
                score => MAX_NODE_SCORE * (max + min - score) / max,
            };
        }
    }

    fn is_local(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn cluster(places: &[(&str, usize)]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            cluster.upsert_node(node(name).label("zone", zone).allocatable("4", "8Gi", 10).build());
        }
        for (node, count) in places {
            for n in 0..*count {
                cluster.upsert_pod(pod(&format!("{node}-{n}")).label("app", "web").on(node).info());
            }
        }
        cluster
    }

    fn incoming(extra: &str) -> Arc<PodInfo> {
        let constraint = format!(
            "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: zone, labelSelector: {{matchLabels: {{app: web}}}}, {extra}}}]"
        );
        pod("p").label("app", "web").spec(&constraint).info()
    }

    fn plugin() -> Arc<dyn Plugin> {
        new(&Args { plugin: NAME, value: None }).expect("defaults are valid")
    }

    #[test]
    fn skew_is_bounded() {
        // Matching pods by node, extra fields, which of a1, a2, b1 are left.
        let table = [
            (vec![("a1", 1)], "whenUnsatisfiable: DoNotSchedule", [false, false, true]),
            (vec![("a1", 1), ("b1", 1)], "whenUnsatisfiable: DoNotSchedule", [true, true, true]),
            (vec![("a1", 1), ("b1", 1)], "whenUnsatisfiable: DoNotSchedule, minDomains: 3", [false, false, false]),
            (vec![("a1", 5)], "whenUnsatisfiable: ScheduleAnyway", [true, true, true]),
        ];
        for (places, extra, expected) in table {
            let (cluster, pod, plugin) = (cluster(&places), incoming(extra), plugin());
            let fits = match plugin.pre_filter(Context { pod: &pod, cluster: &cluster }) {
                PreFilter::Check { filter, .. } => {
                    ["a1", "a2", "b1"].map(|n| cluster.node(n).is_some_and(|i| filter.filter(&cluster.view(i)).is_ok()))
                }
                _ => [true; 3],
            };
            assert_eq!(fits, expected, "{places:?} {extra}");
        }
    }

    #[test]
    fn emptier_domains_score_higher() {
        let (cluster, pod, plugin) =
            (cluster(&[("a1", 3), ("b1", 1)]), incoming("whenUnsatisfiable: ScheduleAnyway"), plugin());
        let nodes: Vec<_> = ["a1", "a2", "b1"].iter().filter_map(|n| cluster.node(n)).collect();
        let scorer = plugin.pre_score(Context { pod: &pod, cluster: &cluster }, &nodes).expect("scores");
        let mut scores: Vec<_> = nodes.iter().map(|i| scorer.score(&cluster.view(*i))).collect();
        scorer.normalize(&mut scores);
        assert_eq!(scores[0], scores[1]);
        assert!(scores[2] > scores[0], "{scores:?}");
    }
}
