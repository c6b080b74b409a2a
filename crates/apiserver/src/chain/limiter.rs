//! How many requests may be handled at once: reads and writes separately, as `--max-requests-inflight`
//! and `--max-mutating-requests-inflight` say when flow control is off.
//!
//! Streams do not count. `system:masters` is never turned away, so an overloaded server can be repaired.
use crate::request_info::RequestInfo;
use auth::{UserInfo, groups};
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Limiter {
    reads: Gate,
    writes: Gate,
}

struct Gate {
    /// 0 is no limit.
    limit: usize,
    inside: AtomicUsize,
}

/// A request's place; given back when dropped.
pub struct Place<'a>(Option<&'a AtomicUsize>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(inside) = self.0 {
            inside.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Limiter {
    pub fn new(reads: usize, writes: usize) -> Self {
        let gate = |limit| Gate { limit, inside: AtomicUsize::new(0) };
        Limiter { reads: gate(reads), writes: gate(writes) }
    }

    /// `None` when all places are taken.
    pub fn enter(&self, info: &RequestInfo<'_>, user: &UserInfo) -> Option<Place<'_>> {
        if info.long_running() {
            return Some(Place(None));
        }
        let gate = if info.mutating() { &self.writes } else { &self.reads };
        let before = gate.inside.fetch_add(1, Ordering::Relaxed);
        let place = Place(Some(&gate.inside));
        if gate.limit > 0 && before >= gate.limit && !user.in_group(groups::MASTERS) {
            return None;
        }
        Some(place)
    }

    /// Requests being handled: reads, writes.
    pub fn inside(&self) -> (usize, usize) {
        (self.reads.inside.load(Ordering::Relaxed), self.writes.inside.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_away_beyond_the_limit_and_gives_places_back() {
        let limiter = Limiter::new(1, 1);
        let get = RequestInfo { verb: "get", resource_request: true, ..RequestInfo::default() };
        let user = UserInfo::new("u", Vec::<String>::new());
        let masters = UserInfo::new("admin", [groups::MASTERS]);
        let first = limiter.enter(&get, &user).expect("a place");
        assert!(limiter.enter(&get, &user).is_none());
        assert!(limiter.enter(&get, &masters).is_some());
        drop(first);
        assert!(limiter.enter(&get, &user).is_some());
    }
}
