//! The storage contract: a revisioned key-value store with etcd's meaning.
//!
//! Every successful commit gets the next revision, revisions are strictly ordered over the whole
//! store, and a watch from a revision sees every event from it on, once and in order. A commit
//! that was acknowledged is on disk. Source: etcd API guarantees (etcd.io/docs/v3.6/learning).
use crate::cache::Labels;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::sync::{Arc, Weak};

/// A store-wide, strictly increasing version. 0 means "before everything".
pub type Revision = u64;
/// A lease under which keys expire; 0 is no lease.
pub type LeaseId = i64;

/// One key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// Full key, such as `/registry/pods/default/nginx`.
    pub key: Arc<str>,
    pub value: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub lease: LeaseId,
}

/// Keys in `[start, end)` at `revision`; an empty `end` is no upper bound.
#[derive(Clone, Debug)]
pub struct RangeRequest {
    pub start: String,
    pub end: String,
    /// `None` reads the newest state, linearizably.
    pub revision: Option<Revision>,
    /// 0 is no limit.
    pub limit: usize,
    pub count_only: bool,
}

/// The end of the range of all keys that start with `prefix`: the first text greater than them.
/// Empty, which means no upper bound, for the empty prefix.
pub fn prefix_end(prefix: &str) -> String {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return end.into_iter().collect();
        }
    }
    String::new()
}

#[derive(Clone, Debug)]
pub struct Range {
    /// The revision the read was made at.
    pub revision: Revision,
    /// Ascending by key.
    pub items: Vec<KeyValue>,
    /// Keys in the whole range, `items` included.
    pub count: u64,
}

/// What a commit expects of the key it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    /// The key's `mod_revision`.
    Revision(Revision),
}

#[derive(Clone, Debug)]
pub enum Op {
    Put { value: Bytes, lease: LeaseId },
    Delete,
}

#[derive(Clone, Debug)]
pub enum Commit {
    /// Durable. `previous` is what stood there before.
    Done { revision: Revision, previous: Option<KeyValue> },
    /// The expectation did not hold; nothing was written.
    Conflict { current: Option<KeyValue> },
}

#[derive(Clone, Debug)]
pub struct Event {
    /// For a delete: the key, an empty value, and the revision of the deletion in `mod_revision`.
    pub kv: KeyValue,
    pub deleted: bool,
    pub previous: Option<KeyValue>,
}

#[derive(Clone, Debug)]
pub enum WatchMessage {
    /// Ascending by revision; all events of one revision are in one batch.
    Events(Vec<Event>),
    /// Everything up to this revision has been delivered.
    Progress(Revision),
}

pub type WatchStream = BoxStream<'static, Result<WatchMessage, Error>>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("required revision {requested} has been compacted (oldest is {oldest})")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("required revision {requested} is a future revision (current is {current})")]
    Future { requested: Revision, current: Revision },
    #[error("value of {size} bytes is over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("the store is out of space: {0}")]
    NoSpace(String),
    /// The write may or may not have happened.
    #[error("the store did not answer in time: {0}")]
    Timeout(String),
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    #[error("requested lease not found")]
    LeaseNotFound,
}

/// One revisioned store. See the module text for what always holds; `tests/` runs the same
/// contract over every implementation.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    async fn range(&self, request: RangeRequest) -> Result<Range, Error>;

    /// Newest state of one key, linearizably, with the store's revision.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error>;

    /// Compare and write one key; returns once the outcome is durable.
    async fn commit(&self, key: &str, expect: Expect, op: Op) -> Result<Commit, Error>;

    /// Events under `prefix` with a revision of at least `from`.
    ///
    /// # Errors
    /// [`Error::Compacted`] (also mid-stream) when `from` is older than the history kept.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error>;

    /// The newest revision, linearizably.
    async fn revision(&self) -> Result<Revision, Error>;

    /// Drop history below `revision`; the newest version of every key stays.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// A lease whose keys are deleted, with ordinary events, `ttl_seconds` from now.
    async fn grant_lease(&self, ttl_seconds: u32) -> Result<LeaseId, Error>;

    /// Bytes on disk, for metrics and `/readyz`; an error when the store cannot be written.
    async fn size_on_disk(&self) -> Result<u64, Error>;

    /// Call `sink` for every event under `prefix` after [`Attached::revision`], for as long as the
    /// sink lives. This is how a cache follows: no queue lies between, and an embedded store calls
    /// before it acknowledges a commit.
    async fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> Result<Attached, Error>;

    /// Ask that [`Attached::clock`] reach the current revision soon although nothing under the
    /// attached prefixes changed. Nothing to do for a store whose clock never lags.
    fn request_progress(&self) {}
}

/// Receives events as they happen, one call at a time. Calls must be quick and must not block.
pub trait Sink: Send + Sync + 'static {
    /// Events of whole revisions, ascending, without [`Event::previous`]. May repeat revisions the
    /// sink already knows from its own reads; the sink drops those.
    fn apply(&self, events: &[Event]);
    /// Events may be missing from here on; the sink has to read the state again.
    fn reset(&self);
}

/// What [`Backend::attach`] promises.
pub struct Attached {
    /// Every event after this revision reaches the sink.
    pub revision: Revision,
    /// Moves to a revision once every event up to it has been applied to every sink.
    pub clock: tokio::sync::watch::Receiver<Revision>,
}

/// Reads of the current state from the API server's caches, for authorizers and admission.
///
/// Values are storage-version JSON with `metadata.resourceVersion`. Reads may lag a moment behind
/// the store, never go backwards.
pub trait Lookup: Send + Sync + 'static {
    /// `prefix` is the resource's storage prefix, such as `roles` or `services/specs`; `namespace`
    /// is empty for cluster-scoped resources.
    fn get(&self, prefix: &str, namespace: &str, name: &str) -> Option<Bytes>;
    /// The labels of what [`Lookup::get`] gives, without reading it.
    fn labels(&self, prefix: &str, namespace: &str, name: &str) -> Option<Labels>;
    /// All of a resource, or of one namespace.
    fn list(&self, prefix: &str, namespace: Option<&str>) -> Vec<Bytes>;
    /// Grows whenever anything under the prefix changes; for caching what was derived from it.
    fn version(&self, prefix: &str) -> Revision;
}
