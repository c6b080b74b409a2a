//! The time by which leases end.
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Unix time as it was when the store was opened, counted on evenly from there: setting the machine's clock
/// neither ends leases early nor keeps them.
pub(super) struct Clock {
    opened_ms: u64,
    opened: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { opened_ms: millis(since), opened: Instant::now() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.opened_ms.saturating_add(millis(self.opened.elapsed()))
    }
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
