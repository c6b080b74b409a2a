//! Node selectors and node affinity, required and preferred.
use super::Args;
use crate::{
    cluster::{NodeIndex, NodeView},
    config::Error,
    framework::{Context, Event, NodeFilter, NodeScore, Plugin, Point, PreFilter, Rejection, normalize_by_max},
    node_selector::{Term, Terms},
    pod::{PodInfo, Template},
};
use k8s_openapi::api::core::v1::NodeAffinity as ApiNodeAffinity;
use serde::Deserialize;
use std::sync::Arc;

pub const NAME: &str = "NodeAffinity";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct NodeAffinityArgs {
    /// Holds for every pod of the profile besides its own.
    added_affinity: Option<ApiNodeAffinity>,
}

struct NodeAffinity {
    added_required: Option<Terms>,
    added_preferred: Vec<(Term, i64)>,
}

pub fn new(args: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    let added = args.decode::<NodeAffinityArgs>()?.added_affinity.unwrap_or_default();
    let preferred = added.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    Ok(Arc::new(NodeAffinity {
        added_required: added.required_during_scheduling_ignored_during_execution.as_ref().map(Terms::new),
        added_preferred: preferred.map(|p| (Term::new(&p.preference), i64::from(p.weight))).collect(),
    }))
}

#[derive(Clone)]
struct Check<'a> {
    plugin: &'a NodeAffinity,
    template: &'a Template,
}

impl NodeAffinity {
    fn admits(&self, pod: &PodInfo, name: &str, labels: &crate::objects::StringMap) -> bool {
        self.added_required.as_ref().is_none_or(|terms| terms.matches(name, labels))
            && pod.template.admits(name, labels)
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        let template = &*context.pod.template;
        if self.added_required.is_none() && template.required_nodes.is_none() && template.spec.node_selector.is_empty()
        {
            return PreFilter::Skip;
        }
        let names = template.required_nodes.as_ref().and_then(Terms::names);
        if names.as_ref().is_some_and(Vec::is_empty) {
            return PreFilter::Reject(Rejection::unresolvable("pod affinity terms conflict"));
        }
        let nodes = names.map(|names| names.iter().filter_map(|name| context.cluster.node(name)).collect());
        PreFilter::Check { nodes, filter: Box::new(Check { plugin: self, template }) }
    }

    fn pre_score<'a>(&'a self, context: Context<'a>, _: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        let template = &*context.pod.template;
        let none = template.preferred_nodes.is_empty() && self.added_preferred.is_empty();
        (!none).then(|| Box::new(Check { plugin: self, template }) as Box<dyn NodeScore>)
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { cluster, index, change } if change.added || change.labels => {
                let row = cluster.row(*index);
                self.admits(pod, &row.name, row.labels())
            }
            _ => false,
        }
    }
}

impl NodeFilter for Check<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        let (name, labels) = (node.name(), node.row().labels());
        if self.plugin.added_required.as_ref().is_some_and(|terms| !terms.matches(name, labels)) {
            return Err(Rejection::unresolvable("node(s) didn't match scheduler-enforced node affinity"));
        }
        if !self.template.admits(name, labels) {
            return Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"));
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }
}

impl NodeScore for Check<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        let terms = self.template.preferred_nodes.iter().chain(&self.plugin.added_preferred);
        terms.filter(|(term, _)| term.matches(node.name(), node.row().labels())).map(|(_, weight)| weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }
}
