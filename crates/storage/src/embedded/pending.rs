//! Commits between their decision and their durability. Pure: no I/O, no clock.
//!
//! A commit is decided against what the commits before it will have made true, so any number can
//! be under way at once; none is answered before everything it was decided on is durable. When one
//! fails, all behind it fail with it.
use super::index::Index;
use super::record::Version;
use super::segment::Segment;
use crate::{Commit, Error, Expect, KeyValue, LeaseId, Op, Revision};
use bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What is on disk: the index, and the files it points into.
pub(super) struct Durable {
    pub index: Index,
    pub segments: BTreeMap<u32, Segment>,
}

impl Durable {
    /// A version together with the file it can be read from, whatever happens to the log meanwhile.
    pub(super) fn stored(&self, key: &Arc<str>, version: &Version) -> Result<Stored, Error> {
        let number = version.location.segment;
        let segment = self.segments.get(&number).cloned();
        let segment = segment.ok_or_else(|| Error::Corrupt(format!("log file {number:010} is missing")))?;
        Ok(Stored { key: key.clone(), version: *version, segment })
    }
}

/// One version, yet to be read from disk.
pub(super) struct Stored {
    key: Arc<str>,
    version: Version,
    segment: Segment,
}

impl Stored {
    pub(super) fn read(self) -> Result<KeyValue, Error> {
        Ok(KeyValue {
            value: self.segment.read(&self.version.location)?,
            key: self.key,
            create_revision: self.version.create,
            mod_revision: self.version.modified,
            lease: self.version.lease,
        })
    }
}

/// State of a key that a commit was decided on.
pub(super) enum Before {
    Nothing,
    Staged(KeyValue),
    Stored(Stored),
}

impl Before {
    fn read(self) -> Result<Option<KeyValue>, Error> {
        match self {
            Before::Nothing => Ok(None),
            Before::Staged(kv) => Ok(Some(kv)),
            Before::Stored(stored) => stored.read().map(Some),
        }
    }
}

/// What a commit will answer once it may.
pub(super) enum Decision {
    Done { revision: Revision, previous: Before },
    Conflict { current: Before },
}

impl Decision {
    /// Reads what has to be read.
    pub(super) fn answer(self) -> Result<Commit, Error> {
        match self {
            Decision::Done { revision, previous } => Ok(Commit::Done { revision, previous: previous.read()? }),
            Decision::Conflict { current } => Ok(Commit::Conflict { current: current.read()? }),
        }
    }
}

/// Why a group of commits failed; each of them gets a copy.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    NoSpace(String),
    /// Nothing was written.
    Unavailable(String),
    /// It may have been written.
    Unknown(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::NoSpace(text) => Error::NoSpace(text),
            Failure::Unavailable(text) => Error::Unavailable(text),
            Failure::Unknown(text) => Error::Timeout(text),
        }
    }
}

/// Where the outcome of a commit goes. Holds the commit's share of [`super::PERMITS`] until then, also
/// when whoever asked has gone: what is queued stays bounded.
pub(super) struct Answer {
    to: oneshot::Sender<Result<(), Failure>>,
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    fn new(permit: OwnedSemaphorePermit) -> (Answer, Settled) {
        let (to, settled) = oneshot::channel();
        (Answer { to, _permit: permit }, settled)
    }

    pub(super) fn send(self, outcome: Result<(), Failure>) {
        // Whoever asked may be gone.
        let _ = self.to.send(outcome);
    }
}

/// Resolves once what a commit was decided on is durable, or failed.
pub(super) type Settled = oneshot::Receiver<Result<(), Failure>>;

/// A key's state as the items under way leave it.
struct Found {
    key: Option<Arc<str>>,
    before: Before,
    /// The revision of the state, if that is not durable yet.
    staged: Option<Revision>,
}

/// Work for the log, in order.
pub(super) enum Item {
    /// `value` `None` deletes.
    Write {
        revision: Revision,
        key: Arc<str>,
        create: Revision,
        lease: LeaseId,
        value: Option<Bytes>,
        answer: Option<Answer>,
    },
    /// Nothing to write, but to be answered after everything before it.
    Wait {
        answer: Answer,
    },
    Lease {
        id: LeaseId,
        ttl_ms: u64,
        expires_ms: u64,
    },
    LeaseGone {
        id: LeaseId,
    },
    /// Record the oldest readable revision.
    Floor,
}

struct Staged {
    create: Revision,
    modified: Revision,
    lease: LeaseId,
    /// `None`: deleted.
    value: Option<Bytes>,
}

#[derive(Default)]
pub(super) struct Pending {
    /// The last revision given out.
    pub revision: Revision,
    pub items: VecDeque<Item>,
    /// Keys as the items under way leave them.
    staged: HashMap<Arc<str>, Staged, RandomState>,
    /// Leases whose end is among the items.
    expiring: HashSet<LeaseId>,
    pub closing: bool,
    /// Set for good once the log can no longer be trusted.
    pub broken: Option<String>,
}

impl Pending {
    /// `revision` is the last one that is durable.
    pub(super) fn new(revision: Revision) -> Pending {
        Pending { revision, ..Pending::default() }
    }

    /// Decide a commit and queue it. The receiver, if any, has to be awaited before answering.
    pub(super) fn admit(
        &mut self,
        durable: &Durable,
        key: &str,
        expect: Expect,
        op: Op,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Decision, Option<Settled>), Error> {
        if let Some(broken) = &self.broken {
            return Err(Error::Unavailable(broken.clone()));
        }
        let Found { key: known_key, before, staged } = self.find(durable, key)?;
        let undecided = staged.is_some();
        let (create, modified) = match &before {
            Before::Nothing => (0, 0),
            Before::Staged(kv) => (kv.create_revision, kv.mod_revision),
            Before::Stored(stored) => (stored.version.create, stored.version.modified),
        };
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => modified == 0,
            Expect::Revision(revision) => modified == revision,
        };
        if !holds {
            return Ok((Decision::Conflict { current: before }, undecided.then(|| self.wait(permit))));
        }
        let (value, lease) = match op {
            Op::Put { value, lease } => {
                let known = durable.index.leases.contains_key(&lease) && !self.expiring.contains(&lease);
                if lease != 0 && !known {
                    return Err(Error::LeaseNotFound);
                }
                (Some(value), lease)
            }
            Op::Delete if modified == 0 => {
                let revision = staged.unwrap_or_else(|| durable.index.revision());
                return Ok((
                    Decision::Done { revision, previous: Before::Nothing },
                    undecided.then(|| self.wait(permit)),
                ));
            }
            Op::Delete => (None, 0),
        };
        let (answer, receiver) = Answer::new(permit);
        let key = known_key.unwrap_or_else(|| key.into());
        let revision = self.stage(key, create, lease, value, Some(answer));
        Ok((Decision::Done { revision, previous: before }, Some(receiver)))
    }

    fn find(&self, durable: &Durable, key: &str) -> Result<Found, Error> {
        if let Some((key, staged)) = self.staged.get_key_value(key) {
            let before = match &staged.value {
                None => Before::Nothing,
                Some(value) => Before::Staged(KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: staged.create,
                    mod_revision: staged.modified,
                    lease: staged.lease,
                }),
            };
            return Ok(Found { key: Some(key.clone()), before, staged: Some(staged.modified) });
        }
        Ok(match durable.index.get(key) {
            Some((key, version)) => {
                let before = Before::Stored(durable.stored(key, version)?);
                Found { key: Some(key.clone()), before, staged: None }
            }
            None => Found { key: None, before: Before::Nothing, staged: None },
        })
    }

    fn wait(&mut self, permit: OwnedSemaphorePermit) -> Settled {
        let (answer, receiver) = Answer::new(permit);
        self.items.push_back(Item::Wait { answer });
        receiver
    }

    fn stage(
        &mut self,
        key: Arc<str>,
        create: Revision,
        lease: LeaseId,
        value: Option<Bytes>,
        answer: Option<Answer>,
    ) -> Revision {
        self.revision += 1;
        let revision = self.revision;
        let create = if create == 0 { revision } else { create };
        self.staged.insert(key.clone(), Staged { create, modified: revision, lease, value: value.clone() });
        self.items.push_back(Item::Write { revision, key, create, lease, value, answer });
        revision
    }

    /// Queue the deletes of everything under a lease, and its end.
    pub(super) fn expire(&mut self, durable: &Durable, id: LeaseId) {
        if !self.expiring.insert(id) {
            return;
        }
        let settled = durable.index.leases.get(&id).into_iter().flat_map(|lease| &lease.keys);
        let mut keys: Vec<_> = settled.filter(|key| !self.staged.contains_key(*key)).cloned().collect();
        let staged = self.staged.iter().filter(|(_, staged)| staged.lease == id && staged.value.is_some());
        keys.extend(staged.map(|(key, _)| key.clone()));
        keys.sort_unstable();
        for key in keys {
            self.stage(key, 0, 0, None, None);
        }
        self.items.push_back(Item::LeaseGone { id });
    }

    /// The written items are in the index now.
    pub(super) fn settled<'a>(&mut self, revision: Revision, keys: impl Iterator<Item = &'a Arc<str>>) {
        for key in keys {
            if self.staged.get(key).is_some_and(|staged| staged.modified <= revision) {
                self.staged.remove(key);
            }
        }
        if self.staged.is_empty() && self.staged.capacity() > 4096 {
            self.staged.shrink_to(0);
        }
    }

    pub(super) fn lease_settled(&mut self, id: LeaseId) {
        self.expiring.remove(&id);
    }

    /// Forget everything under way; the items are to be answered with a failure.
    pub(super) fn fail(&mut self, durable: Revision) -> VecDeque<Item> {
        self.revision = durable;
        self.staged.clear();
        self.expiring.clear();
        std::mem::take(&mut self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    #[test]
    fn what_is_queued_stays_counted_although_nobody_waits_for_it() {
        let share = Arc::new(Semaphore::new(3));
        let durable = Durable { index: Index::new(1), segments: BTreeMap::new() };
        let mut pending = Pending::new(1);
        let put = || Op::Put { value: Bytes::from_static(b"v"), lease: 0 };
        for (expect, op) in [(Expect::Absent, put()), (Expect::Absent, put()), (Expect::Any, Op::Delete)] {
            let permit = share.clone().try_acquire_owned().expect("a permit");
            let (_, settled) = pending.admit(&durable, "/a", expect, op, permit).expect("a decision");
            drop(settled);
        }
        assert_eq!(share.available_permits(), 0);
        pending.fail(1);
        assert_eq!(share.available_permits(), 3);
    }
}
