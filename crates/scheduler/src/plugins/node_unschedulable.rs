//! Cordoned nodes take no pods but those that tolerate the cordon.
use super::Args;
use crate::{
    cluster::NodeView,
    config::Error,
    framework::{Context, Event, NodeFilter, Plugin, Point, PreFilter, Rejection},
    pod::{PodInfo, tolerated},
};
use std::sync::Arc;

pub const NAME: &str = "NodeUnschedulable";
const TAINT: &str = "node.kubernetes.io/unschedulable";

struct NodeUnschedulable;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(NodeUnschedulable))
}

#[derive(Clone)]
struct Check;

fn tolerates(pod: &PodInfo) -> bool {
    tolerated(&pod.template.spec.tolerations, TAINT, "", "NoSchedule")
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        if tolerates(context.pod) { PreFilter::Skip } else { PreFilter::check(Check) }
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { cluster, index, change } => {
                (change.added || change.unschedulable) && (!cluster.row(*index).unschedulable() || tolerates(pod))
            }
            _ => false,
        }
    }
}

impl NodeFilter for Check {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        if node.row().unschedulable() {
            return Err(Rejection::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }
}
