//! The watchers of one cache, found by what they select.
//!
//! Those that select the same are a group. A group of one key, or of one indexed field value, is asked
//! only about events that can concern it; the rest are kept by key prefix.
use super::group::Group;
use super::watch::{Change, End, Filter, Forms, Queue, Scope};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a group is kept.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Key(Box<str>),
    Value(usize, Box<str>),
    /// A prefix that ends in `/`.
    Folder(Box<str>),
    Anywhere,
}

pub(super) struct Registry {
    indexed: Vec<usize>,
    count: usize,
    places: HashMap<Place, Vec<Arc<Group>>, RandomState>,
}

impl Registry {
    pub(super) fn new(indexed: Vec<usize>) -> Registry {
        Registry { indexed, count: 0, places: HashMap::default() }
    }

    fn place_of(&self, filter: &Filter) -> Place {
        match (&filter.scope, &filter.index) {
            (Scope::Key(key), _) => Place::Key(key.clone()),
            (_, Some((position, value))) if self.indexed.contains(position) => Place::Value(*position, value.clone()),
            (Scope::Prefix(prefix), _) if prefix.ends_with('/') => Place::Folder(prefix.clone()),
            _ => Place::Anywhere,
        }
    }

    /// The group it joined.
    pub(super) fn insert(&mut self, filter: Filter, queue: Arc<Queue>) -> Arc<Group> {
        self.count += 1;
        let groups = self.places.entry(self.place_of(&filter)).or_default();
        let group = match groups.iter().find(|group| group.filter == filter) {
            Some(group) => group.clone(),
            None => {
                let group = Group::new(filter);
                groups.push(group.clone());
                group
            }
        };
        group.join(queue);
        group
    }

    pub(super) fn remove(&mut self, group: &Arc<Group>, queue: &Arc<Queue>) {
        self.count -= 1;
        if group.leave(queue) {
            return;
        }
        let place = self.place_of(&group.filter);
        let Some(groups) = self.places.get_mut(&place) else { return };
        groups.retain(|found| !Arc::ptr_eq(found, group));
        if groups.is_empty() {
            self.places.remove(&place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn end_all(&mut self, end: End) {
        for group in self.places.values().flatten() {
            group.end(end);
        }
    }

    /// Offers the changes to everyone concerned. What became due with them is to be delivered to afterwards.
    pub(super) fn dispatch(&self, changes: &[Arc<Change>]) -> Vec<Arc<Group>> {
        let mut due = Vec::new();
        if self.count == 0 {
            return due;
        }
        for change in changes {
            let forms = Forms::default();
            let key = change.key();
            // What is found under the key or a folder of it is known to be in scope.
            let mut offer = |groups: Option<&Vec<Arc<Group>>>, in_scope: bool| {
                for group in groups.into_iter().flatten() {
                    if (in_scope || group.filter.in_scope(key)) && group.offer(change, &forms) {
                        due.push(group.clone());
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
        due
    }
}
