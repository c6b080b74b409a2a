//! The ordered map of all entries, and snapshots of it.
//!
//! Entries sit in chunks; the map is a vector of chunks; both are copied on write only while a
//! snapshot shares them. A snapshot therefore costs one `Arc` clone, a write with no snapshot
//! outstanding changes things in place, and a write beside one copies a chunk's pointers.
use super::entry::Entry;
use crate::Revision;
use std::sync::Arc;

/// Entries a chunk holds at most; a full one is split in two.
const CHUNK: usize = 128;

type Chunk = Vec<Arc<Entry>>;

#[derive(Clone, Default)]
pub(super) struct Tree {
    chunks: Arc<Vec<Arc<Chunk>>>,
    len: usize,
}

impl Tree {
    /// From entries in ascending key order.
    pub(super) fn from_sorted(entries: Vec<Arc<Entry>>) -> Tree {
        let len = entries.len();
        let chunks = entries.chunks(CHUNK * 3 / 4).map(|part| Arc::new(part.to_vec())).collect();
        Tree { chunks: Arc::new(chunks), len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let at = chunk.binary_search_by(|entry| (*entry.key).cmp(key)).ok()?;
        chunk.get(at)
    }

    /// Returns what stood there before.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let chunks = Arc::make_mut(&mut self.chunks);
        let index = chunks.partition_point(|chunk| first_key(chunk) <= &*entry.key).saturating_sub(1);
        let Some(shared) = chunks.get_mut(index) else {
            chunks.push(Arc::new(vec![entry]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(shared);
        match chunk.binary_search_by(|found| found.key.cmp(&entry.key)) {
            Ok(at) => chunk.get_mut(at).map(|place| std::mem::replace(place, entry)),
            Err(at) => {
                chunk.insert(at, entry);
                self.len += 1;
                if chunk.len() > CHUNK {
                    // Appending in key order is common; leave the left part well filled then.
                    let cut = if at + 1 == chunk.len() { CHUNK * 7 / 8 } else { CHUNK / 2 };
                    let right = chunk.split_off(cut);
                    chunks.insert(index + 1, Arc::new(right));
                }
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        let index = self.chunk_of(key)?;
        let at = self.chunks.get(index)?.binary_search_by(|entry| (*entry.key).cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(index)?);
        let removed = chunk.remove(at);
        self.len -= 1;
        let left = chunk.len();
        if left == 0 {
            chunks.remove(index);
        } else if left < CHUNK / 8 && chunks.get(index + 1).is_some_and(|next| next.len() + left <= CHUNK * 3 / 4) {
            let next = chunks.remove(index + 1);
            if let Some(chunk) = chunks.get_mut(index) {
                Arc::make_mut(chunk).extend(next.iter().cloned());
            }
        }
        Some(removed)
    }

    /// The chunk that holds `key` if anything does.
    fn chunk_of(&self, key: &str) -> Option<usize> {
        self.chunks.partition_point(|chunk| first_key(chunk) <= key).checked_sub(1)
    }

    /// Position of the first entry for which `before` is false.
    fn seek(&self, before: impl Fn(&str) -> bool) -> Position {
        let chunk = self.chunks.partition_point(|chunk| before(first_key(chunk))).saturating_sub(1);
        let at = self.chunks.get(chunk).map_or(0, |entries| entries.partition_point(|entry| before(&entry.key)));
        Position { chunk, at }
    }

    fn entries_between(&self, start: Position, end: Position) -> usize {
        let before = |position: Position| {
            let whole: usize = self.chunks.iter().take(position.chunk).map(|chunk| chunk.len()).sum();
            whole + position.at
        };
        before(end).saturating_sub(before(start))
    }
}

#[derive(Clone, Copy)]
struct Position {
    chunk: usize,
    at: usize,
}

fn first_key(chunk: &Arc<Chunk>) -> &str {
    chunk.first().map(|entry| &*entry.key).unwrap_or_default()
}

/// All objects of a cache at one revision. Cheap to make, to clone and to hold for a response's time.
#[derive(Clone)]
pub struct Snapshot {
    tree: Tree,
    revision: Revision,
}

/// Part of a range.
pub struct Page {
    /// Ascending by key.
    pub entries: Vec<Arc<Entry>>,
    /// How many more entries the range has after these.
    pub remaining: usize,
}

impl Snapshot {
    pub(super) fn new(tree: Tree, revision: Revision) -> Snapshot {
        Snapshot { tree, revision }
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.tree.get(key)
    }

    /// All entries, under whatever key.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tree.len() == 0
    }

    /// Entries whose key starts with `prefix`, ascending by key, without copying anything.
    pub fn iter<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        self.iter_after(prefix, None)
    }

    /// As [`Snapshot::iter`], from the first key greater than `after`.
    pub fn iter_after<'a>(&'a self, prefix: &'a str, after: Option<&str>) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let start = self.start(prefix, after);
        let chunks = self.tree.chunks.get(start.chunk..).unwrap_or_default();
        let mut skip = start.at;
        chunks
            .iter()
            .flat_map(move |chunk| chunk.get(std::mem::take(&mut skip)..).unwrap_or_default())
            .take_while(move |entry| entry.key.starts_with(prefix))
    }

    /// Up to `limit` (0: all) entries under `prefix` with a key greater than `after`.
    pub fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Page {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let entries: Vec<_> = self.iter_after(prefix, after).take(limit).cloned().collect();
        let left = self.tree.entries_between(self.start(prefix, after), self.end(prefix));
        Page { remaining: left.saturating_sub(entries.len()), entries }
    }

    /// Entries under `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        self.tree.entries_between(self.start(prefix, None), self.end(prefix))
    }

    fn start(&self, prefix: &str, after: Option<&str>) -> Position {
        match after {
            Some(after) if after >= prefix => self.tree.seek(|key| key <= after),
            _ => self.tree.seek(|key| key < prefix),
        }
    }

    fn end(&self, prefix: &str) -> Position {
        self.tree.seek(|key| key < prefix || key.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Facts;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(key: &str, revision: Revision) -> Arc<Entry> {
        Arc::new(
            Entry::new(key.into(), 1, revision, br#"{"metadata":{}}"#, Facts::default())
                .unwrap_or_else(|error| panic!("{error}")),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_an_ordered_map_and_snapshots_do_not_move(
            steps in prop::collection::vec((0_u32..600, any::<bool>(), 0_u8..40), 1..1500),
        ) {
            let mut tree = Tree::default();
            let mut model = BTreeMap::new();
            let mut held: Vec<(Snapshot, Vec<(String, u64)>)> = Vec::new();
            for (revision, (number, delete, hold)) in steps.into_iter().enumerate() {
                let key = format!("/{}/{number:03}", number % 3);
                let revision = revision as u64;
                let before = if delete { tree.remove(&key) } else { tree.insert(entry(&key, revision)) };
                let expected = if delete { model.remove(&key) } else { model.insert(key.clone(), revision) };
                prop_assert_eq!(before.map(|e| e.revision), expected);
                if hold == 0 {
                    let state = model.iter().map(|(k, r)| (k.clone(), *r)).collect();
                    held.push((Snapshot::new(tree.clone(), revision), state));
                }
            }
            held.push((Snapshot::new(tree, 0), model.iter().map(|(k, r)| (k.clone(), *r)).collect()));
            for (snapshot, state) in &held {
                prop_assert_eq!(snapshot.len(), state.len());
                for prefix in ["", "/", "/0/", "/1/", "/2/", "/3/", "/1/1"] {
                    let expected: Vec<_> = state.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
                    let found: Vec<_> = snapshot.iter(prefix).map(|e| (e.key.to_string(), e.revision)).collect();
                    prop_assert_eq!(&found, &expected);
                    prop_assert_eq!(snapshot.count(prefix), expected.len());
                    let mut paged = Vec::new();
                    let mut after: Option<String> = None;
                    loop {
                        let page = snapshot.range(prefix, after.as_deref(), 7);
                        paged.extend(page.entries.iter().map(|e| (e.key.to_string(), e.revision)));
                        prop_assert_eq!(page.remaining, expected.len() - paged.len());
                        after = page.entries.last().map(|e| e.key.to_string());
                        if page.remaining == 0 { break }
                    }
                    prop_assert_eq!(&paged, &expected);
                }
                for (key, revision) in state {
                    prop_assert_eq!(snapshot.get(key).map(|e| e.revision), Some(*revision));
                }
            }
        }
    }
}
