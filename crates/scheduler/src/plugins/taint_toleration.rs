//! Nodes with taints the pod does not tolerate are out (`NoSchedule`, `NoExecute`) or less liked
//! (`PreferNoSchedule`).
use super::Args;
use crate::{
    cluster::{NodeIndex, NodeView},
    config::Error,
    framework::{Context, Event, NodeFilter, NodeScore, Plugin, Point, PreFilter, Rejection, normalize_by_max},
    pod::{PodInfo, tolerated},
};
use k8s_openapi::api::core::v1::{Taint, Toleration};
use std::sync::Arc;

pub const NAME: &str = "TaintToleration";

struct TaintToleration;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(TaintToleration))
}

#[derive(Clone)]
struct Tolerations<'a>(&'a [Toleration]);

impl Tolerations<'_> {
    fn tolerate(&self, taint: &Taint) -> bool {
        tolerated(self.0, &taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect)
    }
}

/// No `NoSchedule` or `NoExecute` taint is left untolerated.
pub fn admits(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    let hard = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    taints.iter().filter(hard).all(|taint| Tolerations(tolerations).tolerate(taint))
}

fn prefers_not(taint: &&Taint) -> bool {
    taint.effect == "PreferNoSchedule"
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        PreFilter::check(Tolerations(&context.pod.template.spec.tolerations))
    }

    fn pre_score<'a>(&'a self, context: Context<'a>, candidates: &[NodeIndex]) -> Option<Box<dyn NodeScore + 'a>> {
        let any = candidates.iter().any(|i| context.cluster.row(*i).taints().iter().any(|t| prefers_not(&t)));
        any.then(|| Box::new(Tolerations(&context.pod.template.spec.tolerations)) as Box<dyn NodeScore>)
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { cluster, index, change } => {
                (change.added || change.taints) && admits(&pod.template.spec.tolerations, cluster.row(*index).taints())
            }
            _ => false,
        }
    }
}

impl NodeFilter for Tolerations<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        if admits(self.0, node.row().taints()) {
            Ok(())
        } else {
            // Since v1.35 the taint is not named: one text whatever the taint, so that reasons add up.
            Err(Rejection::unresolvable("node(s) had untolerated taint(s)"))
        }
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }
}

impl NodeScore for Tolerations<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        let untolerated = node.row().taints().iter().filter(prefers_not).filter(|taint| !self.tolerate(taint));
        i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_max(scores, true);
    }
}
