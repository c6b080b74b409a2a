//! The embedded store: an append-only log on disk, an index in memory.
//!
//! What always holds: a commit is answered after it is on disk and after every attached sink has
//! seen it; readers see only what is durable; any number of commits under way share one sync. Values
//! are not kept in memory. Why not a general engine: docs/decisions/0003-embedded-store.md.
mod cleaning;
mod clock;
mod directory;
mod index;
mod pending;
mod record;
mod recovery;
mod segment;
mod writer;

use crate::sinks::Sinks;
use crate::{
    Attached, Backend, Commit, Error, Event, Expect, KeyValue, LeaseId, Op, Range, RangeRequest, Revision, Sink,
    WatchMessage, WatchStream,
};
use async_trait::async_trait;
use clock::{Clock, millis};
use directory::Directory;
use index::Events;
use parking_lot::{Condvar, Mutex, RwLock};
use pending::{Durable, Item, Pending, Stored};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use writer::Writer;

/// The largest value, as etcd's default request limit.
pub const VALUE_LIMIT: usize = 1536 << 10;
/// The longest key.
const KEY_LIMIT: usize = 4096;
/// Commits under way at once, counted in [`PERMIT_BYTES`] of value.
const PERMITS: usize = 8192;
const PERMIT_BYTES: usize = 16 << 10;
/// Values read without handing the work to a thread that may block.
const INLINE_READS: usize = 64;
/// Changes taken over from the log when the store opens; how old they are is not known, and they are
/// kept for [`Options::history_age`] from then on.
const RECOVERED_EVENTS: usize = 10_000;
/// Events a watch yields at once.
const WATCH_BATCH: usize = 256;

/// Bounds of the store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Log files are about this long.
    pub segment_bytes: u64,
    /// Garbage on disk is tolerated up to this plus the size of the live data.
    pub slack_bytes: u64,
    /// Changes kept for watches and for reads of older revisions.
    pub history_events: usize,
    pub history_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 32 << 20,
            slack_bytes: 64 << 20,
            history_events: 100_000,
            history_age: Duration::from_secs(300),
        }
    }
}

/// See the module text. Closes, after finishing what is pending, when dropped.
pub struct Store {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    directory: Directory,
    options: Options,
    /// Locked before `durable` where both are.
    pending: Mutex<Pending>,
    work: Condvar,
    durable: RwLock<Durable>,
    sinks: Mutex<Sinks>,
    /// The newest revision that everybody has been told of.
    clock: watch::Sender<Revision>,
    time: Clock,
    /// Bytes of all log files.
    size: AtomicU64,
    in_flight: Arc<Semaphore>,
    next_lease: AtomicI64,
    recent_leases: Mutex<HashMap<u32, RecentLease>>,
}

/// A lease young enough to be given out again.
struct RecentLease {
    id: LeaseId,
    until: Instant,
}

impl Store {
    /// Opens or creates the store in `dir` and reads its log; blocks meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with what to do, when the directory is in use, not writable, not ours or of
    /// a newer format; [`Error::Corrupt`] when acknowledged data is damaged.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Store>, Error> {
        let directory = Directory::open(dir)?;
        let time = Clock::start();
        let now_ms = time.now_ms();
        let recovered = recovery::recover(&directory, now_ms)?;
        let revision = recovered.index.revision();
        let number = recovered.segments.keys().next_back().copied().unwrap_or(0);
        let newest_lease = recovered.index.leases.keys().max().copied().unwrap_or(0);
        let mut durable = Durable { index: recovered.index, segments: recovered.segments };
        durable.index.trim(options.history_events.min(RECOVERED_EVENTS), options.history_age, Instant::now());
        let shared = Arc::new(Shared {
            directory,
            options,
            pending: Mutex::new(Pending::new(revision)),
            work: Condvar::new(),
            durable: RwLock::new(durable),
            sinks: Mutex::default(),
            clock: watch::Sender::new(revision),
            time,
            size: AtomicU64::new(recovered.size),
            in_flight: Arc::new(Semaphore::new(PERMITS)),
            // By the clock, so that an id that never became durable is not given out twice.
            next_lease: AtomicI64::new(newest_lease.max((now_ms << 16) as i64) + 1),
            recent_leases: Mutex::default(),
        });
        let writer = Writer::new(shared.clone(), recovered.appender, number, recovered.sequence);
        let thread = std::thread::Builder::new()
            .name("storage-log".into())
            .spawn(move || writer.run())
            .map_err(|error| Error::Unavailable(format!("starting the log's thread: {error}")))?;
        Ok(Arc::new(Store { shared, thread: Some(thread) }))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.pending.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A sink may hold the last reference, and sinks are called by that very thread.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[async_trait]
impl Backend for Store {
    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        let (revision, rows, count) = {
            let durable = self.shared.durable.read();
            let limit = if request.count_only { 1 } else { request.limit };
            let (revision, rows, count) = durable.index.range(&request.start, &request.end, request.revision, limit)?;
            let rows: Result<Vec<Stored>, Error> = if request.count_only {
                Ok(Vec::new())
            } else {
                rows.iter().map(|(key, version)| durable.stored(key, version)).collect()
            };
            (revision, rows?, count)
        };
        let read = move || rows.into_iter().map(Stored::read).collect::<Result<Vec<_>, _>>();
        let items = if count as usize > INLINE_READS { blocking(read).await? } else { read()? };
        Ok(Range { revision, items, count })
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        let (stored, revision) = {
            let durable = self.shared.durable.read();
            let found = durable.index.get(key).map(|(key, version)| durable.stored(key, version));
            (found.transpose()?, durable.index.revision())
        };
        Ok((stored.map(Stored::read).transpose()?, revision))
    }

    async fn commit(&self, key: &str, expect: Expect, op: Op) -> Result<Commit, Error> {
        let size = match &op {
            Op::Put { value, .. } => value.len(),
            Op::Delete => 0,
        };
        if size > VALUE_LIMIT {
            return Err(Error::TooLarge { size, limit: VALUE_LIMIT });
        }
        if key.len() > KEY_LIMIT {
            return Err(Error::TooLarge { size: key.len(), limit: KEY_LIMIT });
        }
        let permits = 1 + u32::try_from(size / PERMIT_BYTES).unwrap_or(u32::MAX);
        let permit = self.shared.in_flight.clone().acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (decision, durable) = {
            let mut pending = self.shared.pending.lock();
            let durable = self.shared.durable.read();
            pending.admit(&durable, key, expect, op, permit)?
        };
        if let Some(durable) = durable {
            self.shared.work.notify_one();
            durable.await.map_err(|_| closed())?.map_err(Error::from)?;
        }
        decision.answer()
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error> {
        let from = from.max(1);
        self.shared.durable.read().index.events(prefix, from, 1)?;
        let tail = Tail {
            shared: self.shared.clone(),
            clock: self.shared.clock.subscribe(),
            prefix: prefix.into(),
            next: from,
        };
        Ok(Box::pin(futures::stream::unfold(Some(tail), |tail| async {
            let mut tail = tail?;
            let item = tail.next().await;
            let tail = item.is_ok().then_some(tail);
            Some((item, tail))
        })))
    }

    async fn revision(&self) -> Result<Revision, Error> {
        Ok(*self.shared.clock.borrow())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        {
            let mut durable = self.shared.durable.write();
            let current = durable.index.revision();
            if revision > current {
                return Err(Error::Future { requested: revision, current });
            }
            durable.index.compact(revision);
        }
        self.shared.pending.lock().items.push_back(Item::Floor);
        self.shared.work.notify_one();
        Ok(())
    }

    async fn grant_lease(&self, ttl_seconds: u32) -> Result<LeaseId, Error> {
        // As upstream's lease reuse: objects with the same lifetime share a lease for a while, which
        // therefore lives that while longer.
        let ttl = Duration::from_secs(u64::from(ttl_seconds.max(1)));
        let reuse = (ttl / 20).min(Duration::from_secs(60));
        let now = Instant::now();
        let mut recent = self.shared.recent_leases.lock();
        if let Some(lease) = recent.get(&ttl_seconds).filter(|lease| lease.until > now) {
            return Ok(lease.id);
        }
        recent.retain(|_, lease| lease.until > now);
        let id = self.shared.next_lease.fetch_add(1, Ordering::Relaxed);
        let ttl_ms = millis(ttl + reuse);
        let expires_ms = self.shared.time.now_ms().saturating_add(ttl_ms);
        let mut pending = self.shared.pending.lock();
        if let Some(broken) = &pending.broken {
            return Err(Error::Unavailable(broken.clone()));
        }
        // Written no later than the first commit that uses it; until then it may be forgotten.
        pending.items.push_back(Item::Lease { id, ttl_ms, expires_ms });
        self.shared.durable.write().index.add_lease(id, ttl_ms, expires_ms);
        recent.insert(ttl_seconds, RecentLease { id, until: now + reuse });
        drop(pending);
        // The thread may be sleeping beyond this lease's end.
        self.shared.work.notify_one();
        Ok(id)
    }

    async fn size_on_disk(&self) -> Result<u64, Error> {
        if let Some(broken) = &self.shared.pending.lock().broken {
            return Err(Error::Unavailable(broken.clone()));
        }
        Ok(self.shared.size.load(Ordering::Relaxed))
    }

    async fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> Result<Attached, Error> {
        let mut sinks = self.shared.sinks.lock();
        sinks.attach(prefix, sink);
        let clock = self.shared.clock.subscribe();
        let revision = *clock.borrow();
        Ok(Attached { revision, clock })
    }
}

/// A watch: reads on from the history whenever the clock moves.
struct Tail {
    shared: Arc<Shared>,
    clock: watch::Receiver<Revision>,
    prefix: Box<str>,
    next: Revision,
}

/// An event yet to be read from disk.
struct StoredEvent {
    revision: Revision,
    key: Arc<str>,
    current: Option<Stored>,
    previous: Option<Stored>,
}

impl StoredEvent {
    fn read(self) -> Result<Event, Error> {
        let deleted = self.current.is_none();
        let kv = match self.current {
            Some(stored) => stored.read()?,
            None => KeyValue {
                key: self.key,
                value: bytes::Bytes::new(),
                create_revision: 0,
                mod_revision: self.revision,
                lease: 0,
            },
        };
        Ok(Event { kv, deleted, previous: self.previous.map(Stored::read).transpose()? })
    }
}

impl Tail {
    async fn next(&mut self) -> Result<WatchMessage, Error> {
        loop {
            self.clock.mark_unchanged();
            let (events, next) = self.read()?;
            let moved = next > self.next;
            self.next = next;
            if !events.is_empty() {
                let read = move || events.into_iter().map(StoredEvent::read).collect::<Result<Vec<_>, _>>();
                return Ok(WatchMessage::Events(blocking(read).await?));
            }
            if moved {
                return Ok(WatchMessage::Progress(next - 1));
            }
            self.clock.changed().await.map_err(|_| closed())?;
        }
    }

    /// Events, and the revision after the last one looked at.
    fn read(&self) -> Result<(Vec<StoredEvent>, Revision), Error> {
        let durable = self.shared.durable.read();
        let Events { events, next } = durable.index.events(&self.prefix, self.next, WATCH_BATCH)?;
        let stored = |key, version: &Option<_>| version.as_ref().map(|v| durable.stored(key, v)).transpose();
        let events = events
            .into_iter()
            .map(|(revision, past)| {
                Ok(StoredEvent {
                    revision,
                    key: past.key.clone(),
                    current: stored(&past.key, &past.current)?,
                    previous: stored(&past.key, &past.previous)?,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok((events, next))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Unavailable(format!("reading the log: {error}")))?
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
