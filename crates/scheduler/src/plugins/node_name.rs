//! A pod that names its node runs there and nowhere else.
use super::Args;
use crate::{
    cluster::NodeView,
    config::Error,
    framework::{Context, Event, NodeFilter, Plugin, Point, PreFilter, Rejection},
    pod::PodInfo,
};
use std::sync::Arc;

pub const NAME: &str = "NodeName";

struct NodeName;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(NodeName))
}

#[derive(Clone)]
struct Check(Arc<str>);

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        if context.pod.node_name.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::check(Check(context.pod.node_name.clone()))
    }

    fn queueing_hint(&self, _: &PodInfo, event: &Event<'_>) -> bool {
        matches!(event, Event::Node { change, .. } if change.added)
    }
}

impl NodeFilter for Check {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        if **node.name() == *self.0 {
            Ok(())
        } else {
            Err(Rejection::unresolvable("node(s) didn't match the requested node name"))
        }
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }
}
