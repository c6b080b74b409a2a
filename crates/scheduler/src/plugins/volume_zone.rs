//! A volume that says which zone or region it is in is only usable there.
use super::{Args, volume_binding::claim_names};
use crate::{
    cluster::NodeView,
    config::Error,
    framework::{Context, Event, NodeFilter, Plugin, Point, PreFilter, Rejection},
    pod::PodInfo,
};
use std::sync::Arc;

pub const NAME: &str = "VolumeZone";

/// Each with the label that took its place.
const TOPOLOGY_LABELS: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

struct VolumeZone;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(VolumeZone))
}

/// A label, its older or newer name, and the values that a volume allows.
#[derive(Clone)]
struct Check(Vec<(&'static str, &'static str, Vec<String>)>);

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        let storage = &context.cluster.storage;
        let mut demands = Vec::new();
        for (name, _) in claim_names(context.pod) {
            let claim = storage.claim(&context.pod.key.namespace, &name);
            let Some(volume) = claim.and_then(|c| storage.volumes.get(&c.spec.volume_name)) else { continue };
            for (label, other) in TOPOLOGY_LABELS {
                if let Some(values) = volume.metadata.labels.get(label) {
                    demands.push((label, other, values.split("__").map(str::to_owned).collect()));
                }
            }
        }
        if demands.is_empty() { PreFilter::Skip } else { PreFilter::check(Check(demands)) }
    }

    fn queueing_hint(&self, _: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { change, .. } => change.added || change.labels,
            Event::Storage { .. } => true,
            _ => false,
        }
    }
}

impl NodeFilter for Check {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        let satisfied = self.0.iter().all(|(label, other, values)| {
            let value = node.label(label).or_else(|| node.label(other));
            value.is_some_and(|value| values.iter().any(|v| v == value))
        });
        if satisfied { Ok(()) } else { Err(Rejection::unresolvable("node(s) had no available volume zone")) }
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }
}
