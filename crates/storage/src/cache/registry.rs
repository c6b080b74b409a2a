//! The watchers of one cache, found by what they select.
//!
//! A watcher of one key, or of one indexed field value, is asked only about events that can concern
//! it; the rest are grouped by key prefix.
use super::watch::{Change, End, Filter, Forms, Queue, Scope};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

type Slots = Vec<(u64, Arc<Queue>)>;

/// Where a watcher is kept.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Key(Box<str>),
    Value(usize, Box<str>),
    /// A prefix that ends in `/`.
    Folder(Box<str>),
    Anywhere,
}

pub(super) struct Registry {
    indexed: Vec<usize>,
    next_id: u64,
    count: usize,
    places: HashMap<Place, Slots, RandomState>,
}

impl Registry {
    pub(super) fn new(indexed: Vec<usize>) -> Registry {
        Registry { indexed, next_id: 0, count: 0, places: HashMap::default() }
    }

    pub(super) fn place_of(&self, filter: &Filter) -> Place {
        match (&filter.scope, &filter.index) {
            (Scope::Key(key), _) => Place::Key(key.clone()),
            (_, Some((position, value))) if self.indexed.contains(position) => Place::Value(*position, value.clone()),
            (Scope::Prefix(prefix), _) if prefix.ends_with('/') => Place::Folder(prefix.clone()),
            _ => Place::Anywhere,
        }
    }

    pub(super) fn insert(&mut self, place: Place, queue: Arc<Queue>) -> u64 {
        self.next_id += 1;
        self.count += 1;
        self.places.entry(place).or_default().push((self.next_id, queue));
        self.next_id
    }

    pub(super) fn remove(&mut self, place: &Place, id: u64) {
        let Some(slots) = self.places.get_mut(place) else { return };
        if let Some(at) = slots.iter().position(|(found, _)| *found == id) {
            slots.swap_remove(at);
            self.count -= 1;
        }
        if slots.is_empty() {
            self.places.remove(place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn end_all(&mut self, end: End) {
        for (_, queue) in self.places.values().flatten() {
            queue.end(end);
        }
    }

    /// Queue the changes for everyone concerned; the wakers are to be woken afterwards, once each.
    pub(super) fn dispatch(&self, changes: &[Arc<Change>]) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if self.count == 0 {
            return wakers;
        }
        for change in changes {
            let forms = Forms::default();
            let key = change.key();
            // What is found under the key or a folder of it is known to be in scope.
            let mut offer = |slots: Option<&Slots>, in_scope: bool| {
                for (_, queue) in slots.into_iter().flatten().filter(|(_, queue)| queue.after < change.revision) {
                    if !in_scope && !queue.filter.in_scope(key) {
                        continue;
                    }
                    if let Some(event) = change.seen_by(&queue.filter, &forms) {
                        wakers.extend(queue.push(event));
                    }
                }
            };
            offer(self.places.get(&Place::Key(key.into())), true);
            offer(self.places.get(&Place::Anywhere), false);
            for (at, _) in key.match_indices('/') {
                let folder = key.get(..=at).unwrap_or_default();
                offer(self.places.get(&Place::Folder(folder.into())), true);
            }
            for position in &self.indexed {
                let value =
                    |entry: &Option<_>| entry.as_ref().map(|entry: &Arc<super::Entry>| entry.field(*position).into());
                let (new, old): (Option<Box<str>>, Option<Box<str>>) =
                    (value(&change.current), value(&change.previous));
                if old != new {
                    offer(old.and_then(|old| self.places.get(&Place::Value(*position, old))), false);
                }
                offer(new.and_then(|new| self.places.get(&Place::Value(*position, new))), false);
            }
        }
        wakers
    }
}
