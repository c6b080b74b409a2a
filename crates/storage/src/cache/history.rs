//! The bounded ring of recent changes, from which a watch or an older snapshot is replayed.
use super::watch::Change;
use crate::Revision;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bounds of the ring; whichever is reached first drops the oldest change.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub changes: usize,
    pub bytes: usize,
    pub age: Duration,
}

pub(super) struct History {
    bounds: Bounds,
    changes: VecDeque<(Instant, Arc<Change>)>,
    bytes: usize,
    /// Every change after this revision is in the ring.
    start: Revision,
}

impl History {
    pub(super) fn new(bounds: Bounds, start: Revision) -> History {
        History { bounds, changes: VecDeque::new(), bytes: 0, start }
    }

    pub(super) fn push(&mut self, change: Arc<Change>, now: Instant) {
        self.bytes += change.size();
        self.changes.push_back((now, change));
        while self.over(now) {
            let Some((_, dropped)) = self.changes.pop_front() else { break };
            self.bytes -= dropped.size();
            self.start = dropped.revision;
        }
    }

    fn over(&self, now: Instant) -> bool {
        let oldest_is_old = || self.changes.front().is_some_and(|(at, _)| now - *at > self.bounds.age);
        self.changes.len() > self.bounds.changes || self.bytes > self.bounds.bytes || oldest_is_old()
    }

    pub(super) fn start(&self) -> Revision {
        self.start
    }

    /// Ascending; `None` when some of them are gone.
    pub(super) fn after(&self, revision: Revision) -> Option<impl DoubleEndedIterator<Item = &Arc<Change>>> {
        let from = self.changes.partition_point(|(_, change)| change.revision <= revision);
        (revision >= self.start).then(|| self.changes.range(from..).map(|(_, change)| change))
    }

    pub(super) fn at(&self, revision: Revision) -> Option<&Arc<Change>> {
        let at = self.changes.binary_search_by_key(&revision, |(_, change)| change.revision).ok()?;
        self.changes.get(at).map(|(_, change)| change)
    }
}
