//! A node can attach only so many volumes of one CSI driver.
use super::{Args, volume_binding::claim_names};
use crate::{
    cluster::{Cluster, NodeView},
    config::Error,
    framework::{Action, Context, Event, NodeFilter, Plugin, Point, PreFilter, Rejection},
    pod::PodInfo,
};
use foldhash::{HashMap, HashSet};
use std::sync::Arc;

pub const NAME: &str = "NodeVolumeLimits";

struct NodeVolumeLimits;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(NodeVolumeLimits))
}

/// The pod's volumes: driver, and the volume's or else the claim's name.
#[derive(Clone)]
struct Check(Vec<(String, String)>);

fn volumes(pod: &PodInfo, cluster: &Cluster) -> Vec<(String, String)> {
    let storage = &cluster.storage;
    let of_claim = |name: String| {
        let claim = storage.claim(&pod.key.namespace, &name)?;
        if let Some(volume) = storage.volumes.get(&claim.spec.volume_name) {
            return Some((volume.spec.csi.as_ref()?.driver.clone(), volume.metadata.name.clone()));
        }
        let class = storage.classes.get(claim.spec.storage_class_name.as_deref()?)?;
        Some((class.provisioner.clone(), format!("{}/{name}", pod.key.namespace)))
    };
    claim_names(pod).filter_map(|(name, _)| of_claim(name)).collect()
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        let volumes = volumes(context.pod, context.cluster);
        if volumes.is_empty() { PreFilter::Skip } else { PreFilter::check(Check(volumes)) }
    }

    fn queueing_hint(&self, _: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::Node { change, .. } => change.added,
            Event::AssignedPod { pod, action: Action::Deleted, .. } => claim_names(pod).next().is_some(),
            Event::Storage { .. } => true,
            _ => false,
        }
    }
}

impl NodeFilter for Check {
    fn filter(&self, node: &NodeView<'_>) -> Result<(), Rejection> {
        let Some(csi) = node.cluster.storage.csi_nodes.get(&**node.name()) else { return Ok(()) };
        let limits: HashMap<&str, i64> =
            csi.spec.drivers.iter().filter_map(|d| Some((d.name.as_str(), d.allocatable.as_ref()?.count?))).collect();
        if limits.is_empty() {
            return Ok(());
        }
        let mut attached: HashSet<(String, String)> = node.pods().flat_map(|pod| volumes(pod, node.cluster)).collect();
        attached.extend(self.0.iter().cloned());
        for (driver, limit) in limits {
            let asked = self.0.iter().any(|(d, _)| d == driver);
            let count = attached.iter().filter(|(d, _)| d == driver).count();
            if asked && i64::try_from(count).is_ok_and(|count| count > limit) {
                return Err(Rejection::unschedulable("node(s) exceed max volume count"));
            }
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }

    fn is_local(&self) -> bool {
        false
    }
}
