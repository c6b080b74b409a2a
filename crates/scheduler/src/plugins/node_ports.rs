//! Two pods on one node cannot have the same host port.
use super::Args;
use crate::{
    cluster::NodeView,
    config::Error,
    framework::{Action, Context, Event, NodeFilter, Plugin, Point, PreFilter, Rejection},
    pod::{HostPort, PodInfo},
};
use std::sync::Arc;

pub const NAME: &str = "NodePorts";

struct NodePorts;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(NodePorts))
}

#[derive(Clone)]
struct Check<'a>(&'a [HostPort]);

fn conflict(one: &[HostPort], other: &[HostPort]) -> bool {
    one.iter().any(|a| other.iter().any(|b| a.conflicts(b)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        let ports = &context.pod.template.host_ports;
        if ports.is_empty() { PreFilter::Skip } else { PreFilter::check(Check(ports)) }
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { change, .. } => change.added,
            Event::AssignedPod { pod: gone, action: Action::Deleted, .. } => {
                conflict(&pod.template.host_ports, &gone.template.host_ports)
            }
            _ => false,
        }
    }
}

impl NodeFilter for Check<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        if node.pods().any(|other| conflict(self.0, &other.template.host_ports)) {
            return Err(Rejection::unschedulable("node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }
}
