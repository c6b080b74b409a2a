//! The watch cache: every object of one resource in memory, as the bytes that go out on the wire.
//!
//! One [`Cache`] holds one storage prefix (`/registry/pods/`). It knows nothing about kinds: an
//! [`Extract`] turns stored bytes into labels and selectable field values, and everything else works
//! on those and on keys. What always holds:
//! - an object's JSON exists once ([`Entry::json`], `metadata.resourceVersion` already in it), and
//!   every reader, list page and watcher shares it;
//! - a [`Snapshot`] is all objects at one revision, costs one `Arc` clone and never blocks writers;
//! - each [`Watcher`] sees every matching event exactly once, in revision order, or is ended;
//! - history, watcher buffers and hand-overs are bounded ([`Options`]).
//!
//! ```text
//! let cache = Cache::start(backend, "/registry/pods/", extract, Options { indexed: vec![1], ..Options::default() });
//! cache.ready().await?;                                     // loaded; until then reads find nothing
//!
//! // writes: facts handed over are not parsed again; `entry.json` is the response body
//! match cache.commit("/registry/pods/default/web", Expect::Absent, Op::Put { value, lease: 0 }, Some(facts)).await? {
//!     Written::Done { entry, revision } => …,                // a delete: the last state, with the deletion's version in it
//!     Written::Conflict { current } => …,
//! }
//!
//! // reads
//! cache.read_consistent().await?;                           // resourceVersion unset: linearizable (free when embedded)
//! cache.wait_for(revision).await?;                          // resourceVersion=N, NotOlderThan (put a timeout around it)
//! cache.get("/registry/pods/default/web");                  // Option<Arc<Entry>>
//! let snapshot = cache.snapshot();                          // or snapshot_at(revision).await? for Exact and continue tokens
//! let page = snapshot.range("/registry/pods/default/", Some(last_key), 500); // page.entries, page.remaining
//! for entry in snapshot.iter("/registry/pods/") { … }
//! let (entries, revision) = cache.indexed(1, "node-7");     // objects whose field 1 is node-7, by key
//!
//! // watch: everything *after* the revision (what a resourceVersion means)
//! let mut watcher = cache.watch(snapshot.revision(), Filter::prefix("/registry/pods/default/")
//!     .index(1, "node-7").matching(selector.to_string(), move |entry| selector.matches_with(|k| entry.labels().get(k))))?;
//! while let Some(batch) = watcher.next().await {            // Arc<Batch>, a slice of Arc<WatchEvent>, never empty
//!     send(batch.frames());                                 // `{"type":"ADDED","object":{…}}\n`…, built once for all watchers
//! }
//! watcher.revision();                                       // bookmark: all up to here was yielded
//! watcher.end();                                            // why it ended: TooSlow, Reset, Stopped
//! ```
mod batch;
mod entry;
mod facts;
mod group;
mod history;
mod load;
mod pace;
mod registry;
mod state;
mod tree;
mod watch;

pub use batch::Batch;
pub use entry::Entry;
pub use facts::{Extract, Facts, Fields, Labels};
pub use tree::{Page, Snapshot};
pub use watch::{End, EventKind, Filter, WatchEvent, Watcher};

use crate::{Attached, Backend, Commit, Error, Event, Expect, KeyValue, Op, Revision, Sink};
use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use registry::Registry;
use state::State;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often an unreached revision is asked for again (upstream's consistent reads do the same).
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Bounds and indexes of one cache.
#[derive(Clone, Debug)]
pub struct Options {
    /// Positions of the fields to index, such as `spec.nodeName` of pods.
    pub indexed: Vec<usize>,
    /// Recent changes kept for watches that start in the past.
    pub history_events: usize,
    pub history_bytes: usize,
    pub history_age: Duration,
    /// A watcher with more than this waiting is ended.
    pub watcher_events: usize,
    pub watcher_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            indexed: Vec::new(),
            history_events: 16_384,
            history_bytes: 16 << 20,
            history_age: Duration::from_secs(300),
            watcher_events: 8_192,
            watcher_bytes: 32 << 20,
        }
    }
}

/// Outcome of [`Cache::commit`].
#[derive(Debug)]
pub enum Written {
    /// Durable. `entry` is what was written; for a delete, the last state with the deletion's
    /// resource version, or `None` when there was nothing (or nothing readable).
    Done { entry: Option<Arc<Entry>>, revision: Revision },
    /// The expectation did not hold. `current` is what stands there, if it can be read.
    Conflict { current: Option<Arc<Entry>> },
}

/// See the module text.
pub struct Cache {
    backend: Arc<dyn Backend>,
    prefix: Arc<str>,
    extract: Arc<dyn Extract>,
    options: Options,
    state: RwLock<State>,
    /// Also serialises everything that changes `state`.
    feed: Mutex<Feed>,
    clock: OnceLock<tokio::sync::watch::Receiver<Revision>>,
    ready: tokio::sync::watch::Sender<bool>,
    /// Facts of values on their way through the store, by the address of the value.
    handed_over: Mutex<HashMap<usize, Facts, RandomState>>,
    stopped: CancellationToken,
    pacer: Arc<pace::Pacer>,
}

struct Feed {
    registry: Registry,
    phase: Phase,
}

enum Phase {
    /// Events wait here until the state they apply to has been read.
    Loading {
        waiting: Vec<Event>,
        overflow: bool,
    },
    Ready,
}

impl Cache {
    /// Starts loading at once, on the current tokio runtime. Runs until dropped or stopped.
    pub fn start(backend: Arc<dyn Backend>, prefix: &str, extract: Arc<dyn Extract>, options: Options) -> Arc<Cache> {
        let cache = Arc::new(Cache {
            backend,
            prefix: prefix.into(),
            extract,
            state: RwLock::new(State::new(Vec::new(), 0, &options)),
            feed: Mutex::new(Feed { registry: Registry::new(options.indexed.clone()), phase: Phase::loading() }),
            options,
            clock: OnceLock::new(),
            ready: tokio::sync::watch::Sender::new(false),
            handed_over: Mutex::default(),
            stopped: CancellationToken::new(),
            pacer: pace::Pacer::new(tokio::runtime::Handle::current()),
        });
        tokio::spawn(load::run(Arc::downgrade(&cache), cache.stopped.clone()));
        cache
    }

    /// The storage prefix, such as `/registry/pods/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// End the watches that are open now; everything else goes on.
    pub fn end_watches(&self) {
        self.feed.lock().registry.end_all(End::Stopped);
    }

    /// End all watchers; reads keep answering with the last state.
    pub fn stop(&self) {
        self.stopped.cancel();
        self.feed.lock().registry.end_all(End::Stopped);
    }

    /// Waits until the first load is done.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once stopped.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut ready = self.ready.subscribe();
        tokio::select! {
            done = ready.wait_for(|ready| *ready) => done.map(drop).map_err(|_| stopped()),
            () = self.stopped.cancelled() => Err(stopped()),
        }
    }

    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Everything up to this revision is in the cache.
    pub fn revision(&self) -> Revision {
        let clock = self.clock_now();
        clock.max(self.state.read().applied)
    }

    /// Grows only when something under the prefix changes; for caching what was derived from it.
    pub fn last_change(&self) -> Revision {
        self.state.read().applied
    }

    /// Waits until the cache contains everything up to `revision`. Put a timeout around it: the
    /// revision may be one that does not exist yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once stopped.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), Error> {
        if !self.is_ready() {
            self.ready().await?;
        }
        if self.revision() >= revision {
            return Ok(());
        }
        let mut clock = self.clock.get().cloned().ok_or_else(stopped)?;
        let reached = async {
            loop {
                self.backend.request_progress();
                match tokio::time::timeout(PROGRESS_INTERVAL, clock.wait_for(|now| *now >= revision)).await {
                    Ok(reached) => return reached.map(drop).map_err(|_| stopped()),
                    Err(_) if self.revision() >= revision => return Ok(()),
                    Err(_) => {}
                }
            }
        };
        tokio::select! {
            reached = reached => reached,
            () = self.stopped.cancelled() => Err(stopped()),
        }
    }

    /// Waits until the cache contains every write acknowledged before this call, by anyone. Returns
    /// the revision reached.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read_consistent(&self) -> Result<Revision, Error> {
        let revision = self.backend.revision().await?;
        self.wait_for(revision).await?;
        Ok(revision)
    }

    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().get(key).cloned()
    }

    /// Everything at the newest revision.
    pub fn snapshot(&self) -> Snapshot {
        // The clock first: what it counts is in the state by then.
        let clock = self.clock_now();
        let state = self.state.read();
        state.snapshot(state.applied.max(clock))
    }

    /// Everything at exactly `revision`: from the recent history, else from the store.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`], and those of the store.
    pub async fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Error> {
        let current = self.revision();
        if revision > current {
            return Err(Error::Future { requested: revision, current });
        }
        if let Some(snapshot) = self.state.read().snapshot_at(revision) {
            return Ok(snapshot);
        }
        let known = self.snapshot();
        let (entries, _) = load::read(self, Some(revision), &known).await?;
        Ok(Snapshot::new(tree::Tree::from_sorted(entries), revision))
    }

    /// Objects whose field at `position` is `value`, ascending by key, and the revision of that.
    /// Quick when the position is in [`Options::indexed`], else a scan.
    pub fn indexed(&self, position: usize, value: &str) -> (Vec<Arc<Entry>>, Revision) {
        let clock = self.clock_now();
        let state = self.state.read();
        let revision = state.applied.max(clock);
        if let Some(entries) = state.indexed(position, value) {
            return (entries, revision);
        }
        let snapshot = state.snapshot(revision);
        drop(state);
        (snapshot.iter(&self.prefix).filter(|entry| entry.field(position) == value).cloned().collect(), revision)
    }

    /// Watchers now open.
    pub fn watchers(&self) -> usize {
        self.feed.lock().registry.len()
    }

    /// Every event after the revision `after` that the filter selects, once and in order.
    ///
    /// # Errors
    /// [`Error::Compacted`] when the history kept does not reach back to `after` (HTTP 410).
    pub fn watch(self: &Arc<Self>, after: Revision, filter: Filter) -> Result<Watcher, Error> {
        let clock = self.clock.get().cloned().ok_or_else(|| Error::Unavailable("the watch cache is loading".into()))?;
        let mut feed = self.feed.lock();
        if !matches!(feed.phase, Phase::Ready) || self.stopped.is_cancelled() {
            return Err(Error::Unavailable("the watch cache is loading".into()));
        }
        let (replay, known) = {
            let state = self.state.read();
            let oldest = state.history.start();
            let changes = state.history.after(after).ok_or(Error::Compacted { requested: after, oldest })?;
            let in_scope = changes.filter(|change| filter.in_scope(change.key()));
            let events = in_scope.filter_map(|change| change.seen_by(&filter, &watch::Forms::default()));
            (batch::batches(events), after.max(state.applied))
        };
        let bounds = (self.options.watcher_events, self.options.watcher_bytes);
        let queue = Arc::new(watch::Queue::new(known, bounds, replay));
        let group = feed.registry.insert(filter, queue.clone());
        drop(feed);
        let cache: Weak<Cache> = Arc::downgrade(self);
        let (left, leaver) = (group.clone(), queue.clone());
        let forget = move || {
            if let Some(cache) = cache.upgrade() {
                cache.feed.lock().registry.remove(&left, &leaver);
            }
        };
        Ok(Watcher::new(queue, group, clock, after, Box::new(forget)))
    }

    /// Compare and write one key. With `facts` the value is not parsed again on its way in. A read
    /// from this cache that starts after an embedded commit returned sees it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn commit(&self, key: &str, expect: Expect, op: Op, facts: Option<Facts>) -> Result<Written, Error> {
        let value = match &op {
            Op::Put { value, .. } => Some(value.clone()),
            Op::Delete => None,
        };
        let kept = facts.clone();
        let _handed_over = value.as_ref().zip(facts).map(|(value, facts)| HandedOver::new(self, value, facts));
        match self.backend.commit(key, expect, op).await? {
            Commit::Done { revision, previous } => {
                let change = self.state.read().history.at(revision).filter(|change| change.key() == key).cloned();
                let entry = match (change, value) {
                    (Some(change), Some(_)) => change.current.clone(),
                    (Some(change), None) => change.previous.as_ref().map(|old| Arc::new(old.at_revision(revision))),
                    (None, Some(value)) => self.entry(&key.into(), revision, &value, kept),
                    (None, None) => previous.and_then(|old| self.entry(&old.key, revision, &old.value, None)),
                };
                Ok(Written::Done { entry, revision })
            }
            Commit::Conflict { current } => {
                Ok(Written::Conflict { current: current.and_then(|current| self.known_or_new(&current)) })
            }
        }
    }

    /// What the clock vouches for: 0 while loading, when it runs ahead of the state.
    fn clock_now(&self) -> Revision {
        // In this order: a reset is made known before the clock moves past what was missed.
        let clock = self.clock.get().map_or(0, |clock| *clock.borrow());
        if self.is_ready() { clock } else { 0 }
    }

    fn known_or_new(&self, kv: &KeyValue) -> Option<Arc<Entry>> {
        let known = self.get(&kv.key).filter(|entry| entry.revision == kv.mod_revision);
        known.or_else(|| self.entry(&kv.key, kv.mod_revision, &kv.value, None))
    }

    /// `None`, and a line in the log, when the value cannot be read.
    fn entry(&self, key: &Arc<str>, revision: Revision, value: &Bytes, facts: Option<Facts>) -> Option<Arc<Entry>> {
        let extract = || {
            // A kind's code must not be able to end the store's thread, on which this may run.
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.extract.extract(key, value)))
                .unwrap_or_else(|_| Err("reading it panicked".to_owned()))
        };
        let built = facts
            .map_or_else(extract, Ok)
            .and_then(|facts| Entry::new(key.clone(), self.prefix.len(), revision, value, facts));
        match built {
            Ok(entry) => Some(Arc::new(entry)),
            Err(error) => {
                tracing::error!(%key, revision, %error, "a stored object cannot be read and is not served");
                None
            }
        }
    }

    fn attached(&self, attached: Attached) {
        // A second attach never happens; the first clock stays.
        let _ = self.clock.set(attached.clock);
    }

    /// `events` newer than the state, as changes of it.
    fn apply_to_state(&self, events: &[Event]) -> Vec<Arc<watch::Change>> {
        let known = self.state.read().applied;
        let fresh = events.iter().filter(|event| event.kv.mod_revision > known);
        let entries: Vec<_> = fresh
            .map(|event| {
                let facts = || self.handed_over.lock().remove(&(event.kv.value.as_ptr() as usize));
                let kv = &event.kv;
                let current =
                    if event.deleted { None } else { self.entry(&kv.key, kv.mod_revision, &kv.value, facts()) };
                (kv, current)
            })
            .collect();
        let now = Instant::now();
        let mut state = self.state.write();
        entries.into_iter().filter_map(|(kv, current)| state.apply(&kv.key, kv.mod_revision, current, now)).collect()
    }
}

impl Sink for Cache {
    fn apply(&self, events: &[Event]) {
        let mut feed = self.feed.lock();
        if let Phase::Loading { waiting, overflow } = &mut feed.phase {
            if waiting.len() + events.len() > load::WAITING_LIMIT {
                waiting.clear();
                *overflow = true;
            }
            if !*overflow {
                waiting.extend_from_slice(events);
            }
            return;
        }
        let changes = self.apply_to_state(events);
        let due = feed.registry.dispatch(&changes);
        drop(feed);
        self.pacer.deliver(due);
    }

    fn reset(&self) {
        let mut feed = self.feed.lock();
        feed.phase = Phase::loading();
        feed.registry.end_all(End::Reset);
        drop(feed);
        self.ready.send_replace(false);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.stopped.cancel();
        self.feed.get_mut().registry.end_all(End::Stopped);
    }
}

impl Phase {
    fn loading() -> Phase {
        Phase::Loading { waiting: Vec::new(), overflow: false }
    }
}

/// Facts in [`Cache::handed_over`]; keeps the value, and so its address, alive meanwhile.
struct HandedOver<'a> {
    cache: &'a Cache,
    value: Bytes,
}

impl<'a> HandedOver<'a> {
    fn new(cache: &'a Cache, value: &Bytes, facts: Facts) -> HandedOver<'a> {
        cache.handed_over.lock().insert(value.as_ptr() as usize, facts);
        HandedOver { cache, value: value.clone() }
    }
}

impl Drop for HandedOver<'_> {
    fn drop(&mut self) {
        self.cache.handed_over.lock().remove(&(self.value.as_ptr() as usize));
    }
}

fn stopped() -> Error {
    Error::Unavailable("the watch cache was stopped".into())
}
