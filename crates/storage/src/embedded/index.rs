//! The durable state in memory: which version of each key is current, where it lies on disk, and
//! what changed recently. No values and no I/O.
//!
//! The history holds one event a revision without gaps, from `first` to the current revision; below
//! `floor` nothing can be read. An older state is the current one with later events undone.
use super::record::{Location, Version};
use crate::{Error, LeaseId, Revision};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One event.
pub(super) struct Past {
    pub key: Arc<str>,
    /// `None` for a deletion.
    pub current: Option<Version>,
    pub previous: Option<Version>,
    at: Instant,
}

pub(super) struct Lease {
    pub ttl_ms: u64,
    /// Unix time.
    pub expires_ms: u64,
    pub keys: BTreeSet<Arc<str>>,
}

pub(super) struct Index {
    keys: BTreeMap<Arc<str>, Version>,
    history: VecDeque<Past>,
    /// Revision of the history's first event, or the one after the current revision.
    first: Revision,
    /// The oldest revision that can be read or watched from.
    floor: Revision,
    revision: Revision,
    pub leases: HashMap<LeaseId, Lease>,
    expiries: BTreeSet<(u64, LeaseId)>,
    /// Bytes on disk that the current versions and those in the history take.
    live_bytes: u64,
}

/// A key's state found by a range.
pub(super) type Row = (Arc<str>, Version);

/// Part of the history.
pub(super) struct Events<'a> {
    pub events: Vec<(Revision, &'a Past)>,
    /// The revision after the last one looked at.
    pub next: Revision,
}

/// What a record takes on disk besides key and value, roughly.
const RECORD_OVERHEAD: u64 = 36;

fn size_on_disk(key: &str, version: &Version) -> u64 {
    RECORD_OVERHEAD + key.len() as u64 + u64::from(version.location.len)
}

impl Index {
    /// `revision` is the newest one, all of whose history is unknown.
    pub(super) fn new(revision: Revision) -> Index {
        Index {
            keys: BTreeMap::new(),
            history: VecDeque::new(),
            first: revision + 1,
            floor: revision,
            revision,
            leases: HashMap::new(),
            expiries: BTreeSet::new(),
            live_bytes: 0,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(super) fn get(&self, key: &str) -> Option<(&Arc<str>, &Version)> {
        self.keys.get_key_value(key)
    }

    /// The next event: `version` is what the key becomes, `None` deletes it. `previous` replaces
    /// what the index knows as the state before.
    pub(super) fn push(&mut self, key: Arc<str>, version: Option<Version>, previous: Option<Version>, now: Instant) {
        self.revision += 1;
        self.live_bytes += previous.map_or(0, |previous| size_on_disk(&key, &previous));
        self.history.push_back(Past { key, current: version, previous, at: now });
    }

    /// Make `version` the key's current one. Returns what it replaced.
    pub(super) fn set(&mut self, key: &Arc<str>, version: Option<Version>) -> Option<Version> {
        let previous = match version {
            Some(version) => {
                self.live_bytes += size_on_disk(key, &version);
                match self.keys.get_mut(key) {
                    Some(place) => Some(std::mem::replace(place, version)),
                    None => self.keys.insert(key.clone(), version),
                }
            }
            None => self.keys.remove(key),
        };
        if let Some(previous) = &previous {
            self.live_bytes -= size_on_disk(key, previous);
        }
        let (old, new) = (previous.map_or(0, |old| old.lease), version.map_or(0, |new| new.lease));
        if old != new {
            if let Some(lease) = self.leases.get_mut(&old) {
                lease.keys.remove(key);
            }
            if let Some(lease) = self.leases.get_mut(&new) {
                lease.keys.insert(key.clone());
            }
        }
        previous
    }

    /// Apply a commit: the next event, and the new current version.
    pub(super) fn commit(&mut self, key: Arc<str>, version: Option<Version>, now: Instant) {
        let previous = self.set(&key, version);
        self.push(key, version, previous, now);
    }

    /// Drop events below `revision`; clamps to what is known.
    pub(super) fn compact(&mut self, revision: Revision) {
        let revision = revision.min(self.revision);
        while self.first < revision && self.forget_oldest() {}
        self.floor = self.floor.max(revision);
    }

    /// Drop the oldest events while there are more than `most`, or they are older than `age`. The
    /// newest one stays: a watch may start at the current revision.
    pub(super) fn trim(&mut self, most: usize, age: Duration, now: Instant) {
        let old = |past: Option<&Past>| past.is_some_and(|past| now - past.at > age);
        while self.history.len() > 1 && (self.history.len() > most || old(self.history.front())) {
            self.forget_oldest();
            self.floor = self.floor.max(self.first);
        }
        if self.history.capacity() > 1024 && self.history.len() < self.history.capacity() / 4 {
            self.history.shrink_to(self.history.len() * 2);
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(past) = self.history.pop_front() else { return false };
        self.live_bytes -= past.previous.map_or(0, |previous| size_on_disk(&past.key, &previous));
        self.first += 1;
        true
    }

    /// Keys in `[start, end)` at `revision`: up to `limit` (0: all) of them, and how many there are.
    pub(super) fn range(
        &self,
        start: &str,
        end: &str,
        revision: Option<Revision>,
        limit: usize,
    ) -> Result<(Revision, Vec<Row>, u64), Error> {
        let at = revision.unwrap_or(self.revision);
        if at > self.revision {
            return Err(Error::Future { requested: at, current: self.revision });
        }
        if at < self.floor {
            return Err(Error::Compacted { requested: at, oldest: self.floor });
        }
        if !end.is_empty() && start >= end {
            return Ok((at, Vec::new(), 0));
        }
        let limit = if limit == 0 { usize::MAX } else { limit };
        let bounds = (Bound::Included(start), if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) });
        let current = self.keys.range::<str, _>(bounds);
        if at == self.revision {
            let mut count = 0;
            let mut rows = Vec::new();
            for (key, version) in current {
                if rows.len() < limit {
                    rows.push((key.clone(), *version));
                }
                count += 1;
            }
            return Ok((at, rows, count));
        }
        let undone = self.undone(start, end, at);
        let mut rows: Vec<Row> = Vec::new();
        let mut count = 0;
        let mut take = |key: &Arc<str>, version: &Version| {
            if rows.len() < limit {
                rows.push((key.clone(), *version));
            }
            count += 1;
        };
        let mut older = undone.into_iter().peekable();
        for (key, version) in current {
            while let Some((_, (key, version))) = older.next_if(|(older, _)| **older < **key) {
                version.iter().for_each(|version| take(key, version));
            }
            match older.next_if(|(older, _)| **older == **key) {
                Some((_, (key, version))) => version.iter().for_each(|version| take(key, version)),
                None => take(key, version),
            }
        }
        for (_, (key, version)) in older {
            version.iter().for_each(|version| take(key, version));
        }
        Ok((at, rows, count))
    }

    /// State at `revision` of the keys in `[start, end)` that have changed since.
    fn undone(&self, start: &str, end: &str, revision: Revision) -> BTreeMap<&str, (&Arc<str>, Option<Version>)> {
        let kept = usize::try_from((revision + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut undone = BTreeMap::new();
        for past in self.history.range(kept.min(self.history.len())..).rev() {
            if &*past.key >= start && (end.is_empty() || &*past.key < end) {
                undone.insert(&*past.key, (&past.key, past.previous));
            }
        }
        undone
    }

    /// Up to `limit` events under `prefix` from `from` on.
    pub(super) fn events(&self, prefix: &str, from: Revision, limit: usize) -> Result<Events<'_>, Error> {
        if from < self.floor {
            return Err(Error::Compacted { requested: from, oldest: self.floor });
        }
        let from = from.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        for (past, revision) in self.history.range(skip.min(self.history.len())..).zip(from..) {
            if past.key.starts_with(prefix) {
                events.push((revision, past));
                if events.len() >= limit {
                    return Ok(Events { events, next: revision + 1 });
                }
            }
        }
        Ok(Events { events, next: from.max(self.revision + 1) })
    }

    pub(super) fn add_lease(&mut self, id: LeaseId, ttl_ms: u64, expires_ms: u64) {
        self.remove_lease(id);
        self.expiries.insert((expires_ms, id));
        self.leases.insert(id, Lease { ttl_ms, expires_ms, keys: BTreeSet::new() });
    }

    pub(super) fn remove_lease(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.expiries.remove(&(lease.expires_ms, id));
        }
    }

    /// The lease that expires first, and when (Unix time, milliseconds).
    pub(super) fn next_expiry(&self) -> Option<(u64, LeaseId)> {
        self.expiries.first().copied()
    }

    /// Every place the history refers to in `segment`, by the revision written there, with the
    /// positions that refer to it.
    pub(super) fn past_in(&self, segment: u32) -> HashMap<Revision, Vec<Reference>> {
        let mut found: HashMap<Revision, Vec<Reference>> = HashMap::new();
        for (past, revision) in self.history.iter().zip(self.first..) {
            let mut add = |version: &Option<Version>, which: fn(Revision) -> Reference| {
                if let Some(version) = version.filter(|version| version.location.segment == segment) {
                    found.entry(version.modified).or_default().push(which(revision));
                }
            };
            add(&past.current, Reference::Current);
            add(&past.previous, Reference::Previous);
        }
        found
    }

    /// The event of a revision, while it is in the history.
    pub(super) fn event(&self, revision: Revision) -> Option<&Past> {
        let at = usize::try_from(revision.checked_sub(self.first)?).ok()?;
        self.history.get(at)
    }

    /// A version was copied: point everything that refers to it to the new place.
    pub(super) fn moved(&mut self, key: &str, modified: Revision, references: &[Reference], to: Location) {
        if let Some(version) = self.keys.get_mut(key).filter(|version| version.modified == modified) {
            version.location = to;
        }
        for reference in references {
            let (Reference::Current(revision) | Reference::Previous(revision)) = reference;
            let Some(at) = revision.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else { continue };
            let Some(past) = self.history.get_mut(at) else { continue };
            let version = match reference {
                Reference::Current(_) => &mut past.current,
                Reference::Previous(_) => &mut past.previous,
            };
            if let Some(version) = version.as_mut().filter(|version| version.modified == modified) {
                version.location = to;
            }
        }
    }

    /// Whether anything still lies in `segment`.
    pub(super) fn refers_to(&self, segment: u32) -> bool {
        let inside = |version: &Version| version.location.segment == segment;
        self.keys.values().any(inside)
            || self.history.iter().any(|past| [&past.current, &past.previous].into_iter().flatten().any(inside))
    }
}

/// Where in the history a version is mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Current(Revision),
    Previous(Revision),
}
