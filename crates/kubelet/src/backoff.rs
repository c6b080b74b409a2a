//! Exponential back-off by key, as the kubelet uses it for crashing containers and failing pulls.
//!
//! Time is an argument. Entries of keys that are long quiet are dropped by [`Backoff::sweep`].
use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

/// First delay.
pub const INITIAL: Duration = Duration::from_secs(10);
/// Longest delay.
pub const MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

/// Delays by key. A key that had no failure for twice the longest delay starts anew.
#[derive(Debug, Default)]
pub struct Backoff {
    entries: HashMap<String, Entry>,
}

fn since(later: Timestamp, earlier: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

impl Backoff {
    /// How long `key`, which failed at `event`, has still to wait; `None`: it may go.
    pub fn remaining(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        if since(event, entry.updated) > MAX * 2 {
            return None;
        }
        entry.delay.checked_sub(since(now, event)).filter(|left| !left.is_zero())
    }

    /// (time since the last failure, the whole delay) of a failed `key`.
    pub fn since_update(&self, key: &str, now: Timestamp) -> Option<(Duration, Duration)> {
        self.entries.get(key).map(|entry| (since(now, entry.updated), entry.delay))
    }

    /// The whole delay in force for `key`.
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |entry| entry.delay)
    }

    /// `key`, which failed at `event`, is tried again: its next failure waits longer.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let fresh = Entry { delay: INITIAL, updated: now };
        let entry = self.entries.entry(key.to_owned()).and_modify(|entry| {
            let expired = since(event, entry.updated) > MAX * 2;
            entry.delay = if expired { INITIAL } else { (entry.delay * 2).min(MAX) };
            entry.updated = now;
        });
        entry.or_insert(fresh);
    }

    /// Forgets `key`.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// Forgets keys that would start anew anyway.
    pub fn sweep(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| since(now, entry.updated) <= MAX * 2);
    }
}

/// A whole number of seconds as Go prints a duration: `10s`, `2m40s`.
pub fn go_seconds(duration: Duration) -> String {
    apimachinery::duration::format(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_minutes_and_starts_anew() {
        let mut backoff = Backoff::default();
        let at = |s: i64| Timestamp::from_second(s).expect("in range");
        assert_eq!(backoff.remaining("k", at(0), at(0)), None, "the first restart is at once");
        let mut delays = Vec::new();
        for i in 0..7 {
            backoff.next("k", at(i), at(i));
            delays.push(backoff.delay("k").as_secs());
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.remaining("k", at(10), at(110)), Some(Duration::from_secs(200)));
        assert_eq!(backoff.remaining("k", at(10), at(310)), None);
        backoff.next("k", at(1000), at(1000));
        assert_eq!(backoff.delay("k").as_secs(), 10);
    }
}
