//! Pods of higher priority are scheduled first; among equals, those that have waited longest.
use super::Args;
use crate::{
    config::Error,
    framework::{Plugin, Point},
    pod::PodInfo,
    queue::QueueKey,
};
use std::sync::Arc;

pub const NAME: &str = "PrioritySort";

struct PrioritySort;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(PrioritySort))
}

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::QueueSort]
    }

    fn queue_key(&self, pod: &PodInfo, added: tokio::time::Instant) -> QueueKey {
        QueueKey { rank: -i64::from(pod.priority()), added }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use std::time::Duration;

    #[test]
    fn priority_first_then_time() {
        let now = tokio::time::Instant::now();
        let later = now + Duration::from_secs(1);
        let key = |priority, at| PrioritySort.queue_key(&pod("a").priority(priority).info(), at);
        assert!(key(10, later) < key(5, now));
        assert!(key(5, now) < key(5, later));
    }
}
