//! A pod with scheduling gates is not looked at until they are gone (KEP-3521).
use super::Args;
use crate::{
    config::Error,
    framework::{Event, Plugin, Point},
    pod::PodInfo,
};
use std::sync::Arc;

pub const NAME: &str = "SchedulingGates";

struct SchedulingGates;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(SchedulingGates))
}

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreEnqueue]
    }

    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), String> {
        if !pod.is_gated() {
            return Ok(());
        }
        let gates: Vec<_> = pod.template.spec.scheduling_gates.iter().map(|gate| gate.name.as_str()).collect();
        Err(format!("waiting for scheduling gates: [{}]", gates.join(" ")))
    }

    fn queueing_hint(&self, _: &PodInfo, _: &Event<'_>) -> bool {
        // Only the pod's own update lifts a gate, and that goes through `pre_enqueue`.
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn gates_are_named() {
        let gated = pod("a").spec("schedulingGates: [{name: foo}, {name: bar}]").info();
        assert_eq!(SchedulingGates.pre_enqueue(&gated), Err("waiting for scheduling gates: [foo bar]".into()));
        assert_eq!(SchedulingGates.pre_enqueue(&pod("b").info()), Ok(()));
    }
}
