//! A claim with access mode `ReadWriteOncePod` serves one pod at a time (KEP-2485).
use super::{Args, volume_binding::claim_names};
use crate::{
    cluster::NodeView,
    config::Error,
    framework::{Action, Context, Event, NodeFilter, Plugin, Point, PreFilter, Rejection},
    pod::PodInfo,
};
use std::sync::Arc;

pub const NAME: &str = "VolumeRestrictions";

struct VolumeRestrictions;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(VolumeRestrictions))
}

/// The claims of the pod that nobody else may use.
#[derive(Clone)]
struct Check<'a> {
    pod: &'a PodInfo,
    exclusive: Vec<String>,
    /// How many pods use one of them.
    users: usize,
}

impl Check<'_> {
    fn uses(&self, other: &PodInfo) -> bool {
        other.key.namespace == self.pod.key.namespace && claim_names(other).any(|(n, _)| self.exclusive.contains(&n))
    }
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn pre_filter<'a>(&'a self, context: Context<'a>) -> PreFilter<'a> {
        let Context { pod, cluster } = context;
        let is_exclusive = |name: &String| {
            let claim = cluster.storage.claim(&pod.key.namespace, name);
            claim.is_some_and(|c| c.spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod"))
        };
        let exclusive: Vec<String> = claim_names(pod).map(|(name, _)| name).filter(is_exclusive).collect();
        if exclusive.is_empty() {
            return PreFilter::Skip;
        }
        let mut check = Check { pod, exclusive, users: 0 };
        check.users = cluster.pods().filter(|other| check.uses(other)).count();
        PreFilter::check(check)
    }

    fn queueing_hint(&self, pod: &PodInfo, event: &Event<'_>) -> bool {
        match event {
            Event::AssignedPod { pod: gone, action: Action::Deleted, .. } => pod.key.namespace == gone.key.namespace,
            Event::Storage { .. } => true,
            _ => false,
        }
    }
}

impl NodeFilter for Check<'_> {
    fn filter(&self, _: &NodeView<'_>) -> Result<(), Rejection> {
        if self.users == 0 {
            return Ok(());
        }
        let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
        Err(Rejection::unschedulable(reason))
    }

    fn fork(&self) -> Box<dyn NodeFilter + '_> {
        Box::new(self.clone())
    }

    fn add_pod(&mut self, pod: &PodInfo, _: &NodeView<'_>) {
        self.users += usize::from(self.uses(pod));
    }

    fn remove_pod(&mut self, pod: &PodInfo, _: &NodeView<'_>) {
        self.users -= usize::from(self.uses(pod)).min(self.users);
    }

    fn is_local(&self) -> bool {
        false
    }
}
