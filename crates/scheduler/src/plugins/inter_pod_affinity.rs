//! Pod affinity and anti-affinity: of the incoming pod towards others, and of others towards it.
//!
//! Pods are counted by the topology (label key and value of their node) they are in. Required terms filter,
//! preferred ones (and, with `hardPodAffinityWeight`, others' required ones) score.
use super::Args;
use crate::{
    cluster::{Cluster, NodeIndex, NodeView},
    config::Error,
    framework::{Context, Event, MAX_NODE_SCORE, NodeFilter, NodeScore, Plugin, Point, PreFilter, Rejection},
    pod::{AffinityTerm, PodInfo},
};
use foldhash::HashMap;
use serde::Deserialize;
use std::sync::Arc;

pub const NAME: &str = "InterPodAffinity";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct InterPodAffinityArgs {
    hard_pod_affinity_weight: i64,
    ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        InterPodAffinityArgs { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

struct InterPodAffinity(InterPodAffinityArgs);

pub fn new(args: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    let parsed: InterPodAffinityArgs = args.decode()?;
    if !(0..=100).contains(&parsed.hard_pod_affinity_weight) {
        return Err(args.invalid("hardPodAffinityWeight: not in valid range [0-100]".into()));
    }
    Ok(Arc::new(InterPodAffinity(parsed)))
}

/// Counts, or scores, by topology key and value.
#[derive(Clone, Default)]
struct Topologies(HashMap<String, HashMap<String, i64>>);

impl Topologies {
    /// Adds to the topology that a node is in; a node without the label is in none.
    fn add(&mut self, key: &str, node: &NodeView<'_>, amount: i64) {
        let Some(value) = node.label(key) else { return };
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), HashMap::default());
        }
        let Some(values) = self.0.get_mut(key) else { return };
        if let Some(count) = values.get_mut(value) {
            *count += amount;
        } else {
            values.insert(value.to_owned(), amount);
        }
    }

    fn get(&self, key: &str, value: &str) -> i64 {
        self.0.get(key).and_then(|values| values.get(value)).copied().unwrap_or(0)
    }

    fn at(&self, key: &str, node: &NodeView<'_>) -> i64 {
        node.label(key).map_or(0, |value| self.get(key, value))
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(|values| values.values().all(|count| *count == 0))
    }
}

fn speaks_of(term: &AffinityTerm, owner: &PodInfo, other: &PodInfo, cluster: &Cluster) -> bool {
    term.matches(&owner.key.namespace, other, || cluster.namespace_labels(&other.key.namespace))
}

#[derive(Clone)]
struct Check<'a> {
    context: Context<'a>,
    /// Existing pods that do not want the incoming one near.
    others_anti: Topologies,
    /// Existing pods that satisfy all affinity terms of the incoming one.
    affinity: Topologies,
    /// Existing pods that the incoming one does not want near, by any term.
    anti: Topologies,
}

impl Check<'_> {
    fn count(&mut self, existing: &PodInfo, node: &NodeView<'_>, sign: i64) {
        let Context { pod, cluster } = self.context;
        for term in &existing.template.anti_affinity {
            if speaks_of(term, existing, pod, cluster) {
                self.others_anti.add(&term.topology_key, node, sign);
            }
        }
        let own = &pod.template;
        if !own.affinity.is_empty() && own.affinity.iter().all(|term| speaks_of(term, pod, existing, cluster)) {
            for term in &own.affinity {
                self.affinity.add(&term.topology_key, node, sign);
            }
        }
        for term in &own.anti_affinity {
            if speaks_of(term, pod, existing, cluster) {
                self.anti.add(&term.topology_key, node, sign);
            }
        }
    }

    fn affinity_holds(&self, node: &NodeView<'_>) -> bool {
        let pod = self.context.pod;
        let terms = &pod.template.affinity;
        if terms.iter().any(|term| node.label(&term.topology_key).is_none()) {
            return false;
        }
        if terms.iter().all(|term| self.affinity.at(&term.topology_key, node) > 0) {
            return true;
        }
        // The first of a group of pods that want to be near each other has nobody to be near.
        self.affinity.is_empty() && terms.iter().all(|term| speaks_of(term, pod, pod, self.context.cluster))
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        let Context { pod, cluster } = context;
        let own = &pod.template;
        let (others_anti, affinity, anti) = Default::default();
        let mut check = Check { context, others_anti, affinity, anti };
        if own.affinity.is_empty() && own.anti_affinity.is_empty() {
            for index in cluster.affinity_nodes() {
                for existing in &cluster.row(*index).affinity_pods {
                    check.count(existing, &cluster.view(*index), 1);
                }
            }
            if check.others_anti.is_empty() {
                return PreFilter::Skip;
            }
        } else {
            for index in cluster.order() {
                for existing in &cluster.row(*index).pods {
                    check.count(existing, &cluster.view(*index), 1);
                }
            }
        }
        PreFilter::check(check)
    }

    fn pre_score<'a>(&'a self, context: Context<'a>, _: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        let Context { pod, cluster } = context;
        let own = &pod.template;
        let prefers = !(own.preferred_affinity.is_empty() && own.preferred_anti_affinity.is_empty());
        let mut scores = Topologies::default();
        if prefers {
            for index in cluster.order() {
                for existing in &cluster.row(*index).pods {
                    self.weigh(context, existing, &cluster.view(*index), &mut scores);
                }
            }
        } else {
            for index in cluster.affinity_nodes() {
                for existing in &cluster.row(*index).affinity_pods {
                    self.weigh(context, existing, &cluster.view(*index), &mut scores);
                }
            }
        }
        (!scores.is_empty()).then(|| Box::new(Score(scores)) as Box<dyn NodeScore>)
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { change, .. } => change.added || change.labels,
            Event::AssignedPod { cluster, pod: other, .. } => {
                let own = &pod.template;
                own.affinity.iter().chain(&own.anti_affinity).any(|term| speaks_of(term, pod, other, cluster))
                    || other.template.anti_affinity.iter().any(|term| speaks_of(term, other, pod, cluster))
            }
            Event::Namespace => true,
            _ => false,
        }
    }
}

impl InterPodAffinity {
    fn weigh(&self, context: Context<'_>, existing: &PodInfo, node: &NodeView<'_>, scores: &mut Topologies) {
        let Context { pod, cluster } = context;
        let mut add = |term: &AffinityTerm, owner: &PodInfo, other: &PodInfo, weight: i64| {
            if weight != 0 && speaks_of(term, owner, other, cluster) {
                scores.add(&term.topology_key, node, weight);
            }
        };
        for (term, weight) in &pod.template.preferred_affinity {
            add(term, pod, existing, *weight);
        }
        for (term, weight) in &pod.template.preferred_anti_affinity {
            add(term, pod, existing, -weight);
        }
        for term in &existing.template.affinity {
            add(term, existing, pod, self.0.hard_pod_affinity_weight);
        }
        if self.0.ignore_preferred_terms_of_existing_pods {
            return;
        }
        for (term, weight) in &existing.template.preferred_affinity {
            add(term, existing, pod, *weight);
        }
        for (term, weight) in &existing.template.preferred_anti_affinity {
            add(term, existing, pod, -weight);
        }
    }
}

impl NodeFilter for Check<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        let own = &self.context.pod.template;
        if !own.affinity.is_empty() && !self.affinity_holds(node) {
            return Err(Rejection::unresolvable("node(s) didn't match pod affinity rules"));
        }
        if own.anti_affinity.iter().any(|term| self.anti.at(&term.topology_key, node) > 0) {
            return Err(Rejection::unschedulable("node(s) didn't match pod anti-affinity rules"));
        }
        if self.others_anti.0.keys().any(|key| self.others_anti.at(key, node) > 0) {
            return Err(Rejection::unschedulable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeView<'_>) {
        self.count(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeView<'_>) {
        self.count(pod, node, -1);
    }

    fn is_local(&self) -> bool {
        false
    }
}

struct Score(Topologies);

impl NodeScore for Score {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        self.0.0.keys().map(|key| self.0.at(key, node)).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let (Some(min), Some(max)) = (scores.iter().min().copied(), scores.iter().max().copied()) else { return };
        for score in scores {
            let scaled =
                if max > min { MAX_NODE_SCORE as f64 * ((*score - min) as f64 / (max - min) as f64) } else { 0.0 };
            *score = scaled as i64;
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

    const ZONE: &str = "zone";

    fn terms(kind: &str, topology: &str) -> String {
        format!(
            "affinity: {{{kind}: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: {topology}, \
             labelSelector: {{matchLabels: {{app: web}}}}}}]}}}}"
        )
    }

    fn cluster(pods: &[Arc<PodInfo>]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            cluster.upsert_node(node(name).label(ZONE, zone).allocatable("4", "8Gi", 10).build());
        }
        for pod in pods {
            cluster.upsert_pod(pod.clone());
        }
        cluster
    }

    /// For each node: the reason it is out, or nothing.
    fn verdicts(cluster: &Cluster, pod: &PodInfo) -> Vec<String> {
        let plugin = InterPodAffinity(InterPodAffinityArgs::default());
        let PreFilter::Check { filter, .. } = plugin.pre_filter(Context { pod, cluster }) else {
            return vec![String::new(); 3];
        };
        let of = |name: &str| cluster.node(name).expect("a node of the test");
        let verdict = |name| filter.filter(&cluster.view(of(name)));
        ["a1", "a2", "b1"].map(|n| verdict(n).err().map_or(String::new(), |r| r.reasons.join(", "))).to_vec()
    }

    #[test]
    fn required_terms_filter() {
        let web = pod("web").label("app", "web").on("a1").info();
        let affinity = "node(s) didn't match pod affinity rules";
        let anti = "node(s) didn't match pod anti-affinity rules";
        let existing = "node(s) didn't satisfy existing pods anti-affinity rules";
        let lonely = pod("lonely").label("app", "db").spec(&terms("podAntiAffinity", ZONE)).on("a2").info();
        let near_zone = pod("p").spec(&terms("podAffinity", ZONE));
        type Row = (&'static str, Vec<Arc<PodInfo>>, crate::testing::PodBuilder, [&'static str; 3]);
        let table: Vec<Row> = vec![
            ("near", vec![web.clone()], near_zone, ["", "", affinity]),
            (
                "near on one host",
                vec![web.clone()],
                pod("p").spec(&terms("podAffinity", "kubernetes.io/hostname")),
                ["", affinity, affinity],
            ),
            ("nobody to be near", vec![], pod("p").spec(&terms("podAffinity", ZONE)), [affinity; 3]),
            ("first of its group", vec![], pod("p").label("app", "web").spec(&terms("podAffinity", ZONE)), [""; 3]),
            ("apart", vec![web], pod("p").spec(&terms("podAntiAffinity", ZONE)), [anti, anti, ""]),
            ("others apart from it", vec![lonely], pod("p").label("app", "web"), [existing, existing, ""]),
        ];
        for (what, existing, incoming, expected) in table {
            assert_eq!(verdicts(&cluster(&existing), &incoming.info()), expected, "{what}");
        }
    }

    #[test]
    fn preferences_score_by_topology() {
        let cluster = cluster(&[pod("web").label("app", "web").on("a1").info()]);
        let incoming = pod("p")
            .spec(
                "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 5, podAffinityTerm: \
                 {topologyKey: zone, labelSelector: {matchLabels: {app: web}}}}]}}",
            )
            .info();
        let plugin = InterPodAffinity(InterPodAffinityArgs::default());
        let scorer = plugin.pre_score(Context { pod: &incoming, cluster: &cluster }, &[]).expect("prefers");
        let mut scores: Vec<_> =
            ["a1", "a2", "b1"].iter().filter_map(|n| cluster.node(n)).map(|i| scorer.score(&cluster.view(i))).collect();
        assert_eq!(scores, [5, 5, 0]);
        scorer.normalize(&mut scores);
        assert_eq!(scores, [100, 100, 0]);
    }
}
