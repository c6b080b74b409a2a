//! Events that go out together, and the bytes in which they do.
use super::watch::WatchEvent;
use crate::Revision;
use bytes::{Bytes, BytesMut};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A batch takes no more events once its frames are about this long, in bytes: four TLS records.
const BATCH_BYTES: usize = 64 << 10;
/// What a JSON frame has around its object, at most, in bytes.
const AROUND: usize = 32;

/// Events in the order of their revisions, at least one. A crowd of watchers that select the same gets the same batches:
/// what goes out on the wire is put together once, by whoever asks first.
pub struct Batch {
    events: Vec<Arc<WatchEvent>>,
    bytes: usize,
    frames: OnceLock<Bytes>,
    other_frames: OnceLock<Bytes>,
}

impl Batch {
    /// The frames of all events one after the other, as [`WatchEvent::frame`] gives them.
    pub fn frames(&self) -> &Bytes {
        self.frames.get_or_init(|| match &*self.events {
            [event] => event.frame().clone(),
            events => {
                let mut out = BytesMut::with_capacity(self.bytes);
                for event in events {
                    event.put_frame(&mut out);
                }
                out.freeze()
            }
        })
    }

    /// As [`Batch::frames`], in the one other encoding there is: see [`WatchEvent::other_frame`].
    pub fn other_frames(&self, build: impl Fn(&WatchEvent) -> Bytes) -> &Bytes {
        self.other_frames.get_or_init(|| match &*self.events {
            [event] => event.other_frame(|| build(event)).clone(),
            events => {
                let mut out = BytesMut::with_capacity(self.bytes);
                for event in events {
                    out.extend_from_slice(event.other_frame(|| build(event)));
                }
                out.freeze()
            }
        })
    }

    /// Memory its events account for, in bytes: about that of their frames.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first(&self) -> Revision {
        self.events.first().map_or(0, |event| event.revision())
    }

    pub(super) fn last(&self) -> Revision {
        self.events.last().map_or(0, |event| event.revision())
    }

    /// What of it is later than `revision`, if anything is.
    pub(super) fn after(self: &Arc<Batch>, revision: Revision) -> Option<Arc<Batch>> {
        if self.first() > revision {
            return Some(self.clone());
        }
        let mut later = Gathering::default();
        for event in self.events.iter().filter(|event| event.revision() > revision) {
            later.push(event.clone());
        }
        later.take()
    }
}

impl Deref for Batch {
    type Target = [Arc<WatchEvent>];

    fn deref(&self) -> &[Arc<WatchEvent>] {
        &self.events
    }
}

/// A batch in the making.
#[derive(Default)]
pub(super) struct Gathering {
    events: Vec<Arc<WatchEvent>>,
    bytes: usize,
}

impl Gathering {
    pub(super) fn push(&mut self, event: Arc<WatchEvent>) {
        self.bytes += event.entry.json.len() + AROUND;
        self.events.push(event);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The next event belongs in another batch.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }

    /// What was gathered; `None` if nothing was.
    pub(super) fn take(&mut self) -> Option<Arc<Batch>> {
        let Gathering { events, bytes } = std::mem::take(self);
        (!events.is_empty())
            .then(|| Arc::new(Batch { events, bytes, frames: OnceLock::new(), other_frames: OnceLock::new() }))
    }
}

/// As few batches as they fit in.
pub(super) fn batches(events: impl Iterator<Item = Arc<WatchEvent>>) -> Vec<Arc<Batch>> {
    let mut batches = Vec::new();
    let mut gathering = Gathering::default();
    for event in events {
        if gathering.is_full() {
            batches.extend(gathering.take());
        }
        gathering.push(event);
    }
    batches.extend(gathering.take());
    batches
}
