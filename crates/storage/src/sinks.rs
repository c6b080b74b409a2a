//! Who is called for which keys.
use crate::{Event, Sink};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

struct Slot {
    prefix: Box<str>,
    sink: Weak<dyn Sink>,
    batch: Vec<Event>,
}

/// Attached sinks by the folder (a prefix that ends in `/`) they follow.
#[derive(Default)]
pub(crate) struct Sinks {
    slots: Vec<Slot>,
    folders: HashMap<Box<str>, Vec<usize>, RandomState>,
    /// Those of other prefixes.
    loose: Vec<usize>,
}

impl Sinks {
    pub(crate) fn attach(&mut self, prefix: &str, sink: Weak<dyn Sink>) {
        self.slots.push(Slot { prefix: prefix.into(), sink, batch: Vec::new() });
        self.prune();
    }

    /// Hand each sink its part of the events, in one call.
    pub(crate) fn apply(&mut self, events: &[Event]) {
        let mut touched: Vec<usize> = Vec::new();
        for event in events {
            let key = &*event.kv.key;
            let folders = key.match_indices('/').filter_map(|(at, _)| self.folders.get(key.get(..=at)?)).flatten();
            for index in folders.chain(&self.loose) {
                let Some(slot) = self.slots.get_mut(*index).filter(|slot| key.starts_with(&*slot.prefix)) else {
                    continue;
                };
                if slot.batch.is_empty() {
                    touched.push(*index);
                }
                slot.batch.push(event.clone());
            }
        }
        let mut dead = false;
        for index in touched {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let batch = std::mem::take(&mut slot.batch);
            match slot.sink.upgrade() {
                Some(sink) => {
                    // A sink's failure must not become the store's.
                    if catch_unwind(AssertUnwindSafe(|| sink.apply(&batch))).is_err() {
                        sink.reset();
                    }
                }
                None => dead = true,
            }
        }
        if dead {
            self.prune();
        }
    }

    /// Tell every sink that it may have missed something.
    pub(crate) fn reset(&mut self) {
        self.prune();
        for sink in self.slots.iter().filter_map(|slot| slot.sink.upgrade()) {
            sink.reset();
        }
    }

    fn prune(&mut self) {
        self.slots.retain(|slot| slot.sink.strong_count() > 0);
        self.folders.clear();
        self.loose.clear();
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.prefix.ends_with('/') {
                self.folders.entry(slot.prefix.clone()).or_default().push(index);
            } else {
                self.loose.push(index);
            }
        }
    }
}
