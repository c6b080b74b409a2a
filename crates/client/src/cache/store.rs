//! The objects of a cache and their secondary indexes. Pure data; locking is the cache's.
use crate::Key;
use foldhash::{HashMap, HashMapExt};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

type Values<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    name: &'static str,
    values: Values<K>,
    found: HashMap<String, BTreeSet<Key>>,
}

pub struct Store<K> {
    pub objects: BTreeMap<Key, Arc<K>>,
    indexes: Vec<Index<K>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), indexes: Vec::new() }
    }
}

impl<K> Index<K> {
    fn add(&mut self, key: &Key, object: &K) {
        for value in (self.values)(object) {
            self.found.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.values)(object) {
            let Some(keys) = self.found.get_mut(&value) else { continue };
            keys.remove(key);
            if keys.is_empty() {
                self.found.remove(&value);
            }
        }
    }
}

impl<K> Store<K> {
    pub fn insert(&mut self, key: Key, object: Arc<K>) -> Option<Arc<K>> {
        let old = self.objects.insert(key.clone(), object.clone());
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.add(&key, &object);
        }
        old
    }

    pub fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for index in &mut self.indexes {
            index.remove(key, &old);
        }
        Some(old)
    }

    pub fn add_index(&mut self, name: &'static str, values: Values<K>) {
        if self.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Index { name, values, found: HashMap::new() };
        for (key, object) in &self.objects {
            index.add(key, object);
        }
        self.indexes.push(index);
    }

    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let index = self.indexes.iter().find(|index| index.name == name);
        let keys = index.and_then(|index| index.found.get(value));
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key).cloned()).collect()
    }
}
