//! What a cache holds: the tree, the field index and the recent history, changed together.
use super::Options;
use super::entry::Entry;
use super::history::{Bounds, History};
use super::tree::{Snapshot, Tree};
use super::watch::Change;
use crate::Revision;
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

type Keyed = BTreeMap<Arc<str>, Arc<Entry>>;
type ByValue = HashMap<Box<str>, Keyed, RandomState>;

pub(super) struct State {
    tree: Tree,
    /// One map for each position in `Options::indexed`: value → entries by key.
    index: Vec<(usize, ByValue)>,
    pub history: History,
    /// Of the newest event or load this state contains.
    pub applied: Revision,
}

impl State {
    /// From what stood in the store at `revision`, ascending by key.
    pub(super) fn new(entries: Vec<Arc<Entry>>, revision: Revision, options: &Options) -> State {
        let bounds = Bounds { changes: options.history_events, bytes: options.history_bytes, age: options.history_age };
        let mut state = State {
            tree: Tree::default(),
            index: options.indexed.iter().map(|position| (*position, HashMap::default())).collect(),
            history: History::new(bounds, revision),
            applied: revision,
        };
        for entry in &entries {
            state.index_insert(entry);
        }
        state.tree = Tree::from_sorted(entries);
        state
    }

    /// Put (`Some`) or delete (`None`) a key. `None` when nothing was there to delete.
    pub(super) fn apply(
        &mut self,
        key: &str,
        revision: Revision,
        current: Option<Arc<Entry>>,
        now: Instant,
    ) -> Option<Arc<Change>> {
        self.applied = self.applied.max(revision);
        let previous = match &current {
            Some(entry) => self.tree.insert(entry.clone()),
            None => self.tree.remove(key),
        };
        if let Some(previous) = &previous {
            self.index_remove(previous, current.as_deref());
        }
        if let Some(current) = &current {
            self.index_insert(current);
        }
        if current.is_none() && previous.is_none() {
            return None;
        }
        let change = Arc::new(Change { revision, current, previous });
        self.history.push(change.clone(), now);
        Some(change)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.tree.get(key)
    }

    pub(super) fn snapshot(&self, revision: Revision) -> Snapshot {
        Snapshot::new(self.tree.clone(), revision)
    }

    /// The state at an earlier revision, made by undoing changes; `None` when they are gone.
    pub(super) fn snapshot_at(&self, revision: Revision) -> Option<Snapshot> {
        let later = self.history.after(revision)?;
        let mut tree = self.tree.clone();
        for change in later.rev() {
            match &change.previous {
                Some(previous) => drop(tree.insert(previous.clone())),
                None => drop(tree.remove(change.key())),
            }
        }
        Some(Snapshot::new(tree, revision))
    }

    /// `None` when the position is not indexed.
    pub(super) fn indexed(&self, position: usize, value: &str) -> Option<Vec<Arc<Entry>>> {
        let (_, values) = self.index.iter().find(|(indexed, _)| *indexed == position)?;
        Some(values.get(value).map(|keyed| keyed.values().cloned().collect()).unwrap_or_default())
    }

    fn index_insert(&mut self, entry: &Arc<Entry>) {
        for (position, values) in &mut self.index {
            let value = entry.field(*position);
            match values.get_mut(value) {
                Some(keyed) => drop(keyed.insert(entry.key.clone(), entry.clone())),
                None => drop(values.insert(value.into(), BTreeMap::from([(entry.key.clone(), entry.clone())]))),
            }
        }
    }

    /// Take `old` out of the index, except where `new` is about to replace it.
    fn index_remove(&mut self, old: &Entry, new: Option<&Entry>) {
        for (position, values) in &mut self.index {
            let value = old.field(*position);
            if new.is_some_and(|new| new.field(*position) == value) {
                continue;
            }
            if let Some(keyed) = values.get_mut(value) {
                keyed.remove(&old.key);
                if keyed.is_empty() {
                    values.remove(value);
                }
            }
        }
    }
}
