//! Watch events, what a watcher selects, and the bounded queue before one watcher.
//!
//! Selection has the API's meaning: an object that starts to match is ADDED for that watcher, one
//! that stops matching is DELETED, with its last matching state under the version of the change.
//! Source: Kubernetes API concepts, "Efficient detection of changes".
use super::batch::Batch;
use super::entry::Entry;
use super::group::Group;
use crate::Revision;
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

/// What happened to an object, for one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// The `type` of the watch frame.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        }
    }
}

/// One event, shared by all watchers that get it in this form.
pub struct WatchEvent {
    pub kind: EventKind,
    /// For a deletion: the last state, with the deletion's resource version in it.
    pub entry: Arc<Entry>,
    /// The state before, where there was one that matched.
    pub previous: Option<Arc<Entry>>,
    frame: OnceLock<Bytes>,
    other_frame: OnceLock<Bytes>,
}

impl WatchEvent {
    pub fn new(kind: EventKind, entry: Arc<Entry>, previous: Option<Arc<Entry>>) -> WatchEvent {
        WatchEvent { kind, entry, previous, frame: OnceLock::new(), other_frame: OnceLock::new() }
    }

    pub fn revision(&self) -> Revision {
        self.entry.revision
    }

    /// `{"type":"MODIFIED","object":{…}}` and a newline; built by whoever asks first.
    pub fn frame(&self) -> &Bytes {
        self.frame.get_or_init(|| Bytes::from(self.frame_parts().concat()))
    }

    /// Appends [`WatchEvent::frame`].
    pub(super) fn put_frame(&self, out: &mut BytesMut) {
        for part in self.frame_parts() {
            out.put_slice(part);
        }
    }

    fn frame_parts(&self) -> [&[u8]; 5] {
        [b"{\"type\":\"", self.kind.as_str().as_bytes(), b"\",\"object\":", &self.entry.json, b"}\n"]
    }

    /// The frame in the one other encoding there is, built by whoever asks first: everybody who asks builds
    /// the same.
    pub fn other_frame(&self, build: impl FnOnce() -> Bytes) -> &Bytes {
        self.other_frame.get_or_init(build)
    }
}

impl std::fmt::Debug for WatchEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.entry)
    }
}

struct Matcher {
    text: Box<str>,
    matches: Box<dyn Fn(&Entry) -> bool + Send + Sync>,
}

/// What one watcher wants. Two that say the same are equal.
pub struct Filter {
    pub(super) scope: Scope,
    pub(super) index: Option<(usize, Box<str>)>,
    matcher: Option<Matcher>,
}

impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        (&self.scope, &self.index, self.text()) == (&other.scope, &other.index, other.text())
    }
}

#[derive(PartialEq, Eq)]
pub(super) enum Scope {
    Prefix(Box<str>),
    Key(Box<str>),
}

impl Filter {
    /// All keys under a prefix: the cache's own, or one namespace's (`/registry/pods/default/`).
    pub fn prefix(prefix: &str) -> Filter {
        Filter { scope: Scope::Prefix(prefix.into()), index: None, matcher: None }
    }

    /// Exactly one key, as `metadata.name=…` selects it.
    pub fn key(key: &str) -> Filter {
        Filter { scope: Scope::Key(key.into()), index: None, matcher: None }
    }

    /// Only objects whose field at `position` has this value; found by index when `position` is in
    /// [`super::Options::indexed`].
    pub fn index(mut self, position: usize, value: &str) -> Filter {
        self.index = Some((position, value.into()));
        self
    }

    /// Only objects for which `matches` holds, on top of everything else. `text` says what that is: matchers of one text
    /// must hold for the same objects, for one is asked on behalf of all.
    pub fn matching(
        mut self,
        text: impl Into<Box<str>>,
        matches: impl Fn(&Entry) -> bool + Send + Sync + 'static,
    ) -> Filter {
        self.matcher = Some(Matcher { text: text.into(), matches: Box::new(matches) });
        self
    }

    fn text(&self) -> Option<&str> {
        self.matcher.as_ref().map(|matcher| &*matcher.text)
    }

    pub(super) fn in_scope(&self, key: &str) -> bool {
        match &self.scope {
            Scope::Prefix(prefix) => key.starts_with(&**prefix),
            Scope::Key(wanted) => key == &**wanted,
        }
    }

    fn selected<'a>(&self, entry: Option<&'a Arc<Entry>>) -> Option<&'a Arc<Entry>> {
        entry.filter(|entry| self.selects(entry))
    }

    fn selects(&self, entry: &Entry) -> bool {
        let indexed = |(position, value): &(usize, Box<str>)| entry.field(*position) == &**value;
        self.index.as_ref().is_none_or(indexed) && self.matcher.as_ref().is_none_or(|matcher| (matcher.matches)(entry))
    }
}

/// One change of one key, and the forms in which watchers see it, each made at most once.
pub(super) struct Change {
    pub revision: Revision,
    pub current: Option<Arc<Entry>>,
    pub previous: Option<Arc<Entry>>,
}

#[derive(Default)]
pub(super) struct Forms {
    added: OnceCell<Arc<WatchEvent>>,
    modified: OnceCell<Arc<WatchEvent>>,
    deleted: OnceCell<Arc<WatchEvent>>,
}

impl Change {
    pub(super) fn key(&self) -> &str {
        self.current.as_ref().or(self.previous.as_ref()).map(|entry| &*entry.key).unwrap_or_default()
    }

    /// Memory the change keeps alive, in bytes: of the state it replaced. The one it made is alive
    /// anyway, or counted by the change that replaced it.
    pub(super) fn size(&self) -> usize {
        size_of::<Change>() + self.previous.as_ref().map_or(0, |entry| entry.size())
    }

    /// The change, of a key in the filter's scope, as its watcher sees it.
    pub(super) fn seen_by(&self, filter: &Filter, forms: &Forms) -> Option<Arc<WatchEvent>> {
        let event = |kind, entry: &Arc<Entry>, previous: Option<&Arc<Entry>>| {
            Arc::new(WatchEvent::new(kind, entry.clone(), previous.cloned()))
        };
        match (filter.selected(self.current.as_ref()), filter.selected(self.previous.as_ref())) {
            (None, None) => None,
            (Some(now), None) => Some(forms.added.get_or_init(|| event(EventKind::Added, now, None))),
            (Some(now), Some(old)) => Some(forms.modified.get_or_init(|| event(EventKind::Modified, now, Some(old)))),
            (None, Some(old)) => Some(
                forms
                    .deleted
                    .get_or_init(|| event(EventKind::Deleted, &Arc::new(old.at_revision(self.revision)), Some(old))),
            ),
        }
        .cloned()
    }
}

/// Why a watcher yields nothing more. The client relists or watches again from its last version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did not take its events quickly enough.
    TooSlow,
    /// The cache lost its place in the store's history and loaded anew.
    Reset,
    /// The cache was stopped: the resource is gone, or the server is going.
    Stopped,
}

#[derive(Default)]
struct Buffer {
    batches: VecDeque<Arc<Batch>>,
    events: usize,
    bytes: usize,
    end: Option<End>,
    waker: Option<Waker>,
}

impl Buffer {
    fn push(&mut self, batch: Arc<Batch>) {
        self.events += batch.len();
        self.bytes += batch.bytes();
        self.batches.push_back(batch);
    }

    fn pop(&mut self) -> Option<Arc<Batch>> {
        let batch = self.batches.pop_front()?;
        self.events -= batch.len();
        self.bytes -= batch.bytes();
        Some(batch)
    }
}

/// Between a group and one watcher of it.
pub(super) struct Queue {
    /// Only later changes are to come from the group.
    pub after: Revision,
    max_events: usize,
    max_bytes: usize,
    buffer: Mutex<Buffer>,
}

impl Queue {
    /// `replay` is taken whatever its size.
    pub(super) fn new(after: Revision, (max_events, max_bytes): (usize, usize), replay: Vec<Arc<Batch>>) -> Queue {
        let mut buffer = Buffer::default();
        replay.into_iter().for_each(|batch| buffer.push(batch));
        Queue { after, max_events, max_bytes, buffer: Mutex::new(buffer) }
    }

    /// A full queue ends the watch. Wakes nobody.
    pub(super) fn push(&self, batch: Arc<Batch>) {
        let mut buffer = self.buffer.lock();
        if buffer.end.is_some() {
            return;
        }
        if buffer.events >= self.max_events || buffer.bytes >= self.max_bytes {
            buffer.end = Some(End::TooSlow);
        } else {
            buffer.push(batch);
        }
    }

    /// Who waits, if there is something to wait no longer.
    pub(super) fn waker_if_due(&self) -> Option<Waker> {
        let mut buffer = self.buffer.lock();
        if buffer.batches.is_empty() && buffer.end.is_none() { None } else { buffer.waker.take() }
    }

    pub(super) fn end(&self, end: End) {
        let waker = {
            let mut buffer = self.buffer.lock();
            buffer.end.get_or_insert(end);
            buffer.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A stream of event batches. Dropping it ends the watch.
pub struct Watcher {
    queue: Arc<Queue>,
    group: Arc<Group>,
    clock: watch::Receiver<Revision>,
    yielded: Revision,
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Watcher {
    /// Everything up to `after` is known to whoever gets it.
    pub(super) fn new(
        queue: Arc<Queue>,
        group: Arc<Group>,
        clock: watch::Receiver<Revision>,
        after: Revision,
        on_drop: Box<dyn FnOnce() + Send + Sync>,
    ) -> Watcher {
        Watcher { queue, group, clock, yielded: after, on_drop: Some(on_drop) }
    }

    /// The next events in order, at least one; `None` once ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Batch>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Watcher::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<Batch>>> {
        let mut buffer = self.queue.buffer.lock();
        if let Some(batch) = buffer.pop() {
            drop(buffer);
            self.yielded = self.yielded.max(batch.last());
            return Poll::Ready(Some(batch));
        }
        if buffer.end.is_some() {
            return Poll::Ready(None);
        }
        if !buffer.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            buffer.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Every event up to and including this revision has been yielded; what a bookmark may say.
    pub fn revision(&mut self) -> Revision {
        // Read before looking at what is underway: events up to the clock are with the group before it moves.
        let clock = *self.clock.borrow();
        let nothing_waits = self.group.at_rest(|nothing_gathered| {
            let buffer = self.queue.buffer.lock();
            nothing_gathered && buffer.batches.is_empty() && buffer.end.is_none()
        });
        if nothing_waits {
            self.yielded = self.yielded.max(clock);
        }
        self.yielded
    }

    /// Why [`Watcher::next`] yields nothing more; `None` while it is open.
    pub fn end(&self) -> Option<End> {
        self.queue.buffer.lock().end
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.queue.end(End::Stopped);
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}
