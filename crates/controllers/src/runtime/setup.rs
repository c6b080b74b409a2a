//! What a controller is given to set itself up: caches that fill its queue.
use super::{execute::Executor, owners};
use crate::Flags;
use apimachinery::labels::Selector;
use client::{
    Cache, Caches, Key,
    cache::{Kept, Selection},
    events::Recorder,
    queue::Queue,
};
use futures::future::BoxFuture;
use kube::Resource;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One controller's access to caches, its queue, the flags and its own client.
pub struct Setup {
    pub flags: Arc<Flags>,
    pub caches: Caches,
    pub client: kube::Client,
    pub recorder: Recorder,
    pub queue: Queue<Key>,
    pub shutdown: CancellationToken,
    pub(super) synced: Vec<BoxFuture<'static, ()>>,
}

impl Setup {
    pub(crate) fn new(
        flags: Arc<Flags>,
        caches: Caches,
        client: kube::Client,
        recorder: Recorder,
        shutdown: CancellationToken,
    ) -> Self {
        Self { flags, caches, client, recorder, queue: Queue::new(), shutdown, synced: Vec::new() }
    }

    pub(super) fn executor(&self) -> Executor {
        Executor { client: self.client.clone(), recorder: self.recorder.clone() }
    }

    /// The shared cache of a kind; work starts once it is complete.
    pub fn cache<K: Kept<DynamicType = ()>>(&mut self) -> Cache<K> {
        let cache = self.caches.of::<K>();
        let synced = cache.clone();
        self.synced.push(Box::pin(async move { synced.synced().await }));
        cache
    }

    /// Start to work only when `ready` is done.
    pub fn wait_for(&mut self, ready: BoxFuture<'static, ()>) {
        self.synced.push(ready);
    }

    /// A shared cache of some objects of a kind.
    pub fn cache_selected<K: Kept<DynamicType = ()>>(&mut self, selection: &Selection) -> Cache<K> {
        let cache = self.caches.selected::<K>(selection);
        let synced = cache.clone();
        self.synced.push(Box::pin(async move { synced.synced().await }));
        cache
    }

    /// Have the keys handled that `keys` derives from a change in `cache`: the object before and after it.
    pub fn follow<K: Kept>(
        &self,
        cache: &Cache<K>,
        keys: impl Fn(Option<&K>, Option<&K>, &mut dyn FnMut(Key)) + Send + Sync + 'static,
    ) {
        let queue = self.queue.clone();
        cache.observe(move |old, new| keys(old.map(|o| &**o), new.map(|o| &**o), &mut |key| queue.add(key)));
    }

    /// Have the key of each changed object of kind `K` handled.
    pub fn watch<K: Kept<DynamicType = ()>>(&mut self) -> Cache<K> {
        self.watch_mapped::<K>(|object, add| add(Key::of(object)))
    }

    /// Have the keys handled that `keys` derives from an object before and after each change.
    pub fn watch_mapped<K: Kept<DynamicType = ()>>(
        &mut self,
        keys: impl Fn(&K, &mut dyn FnMut(Key)) + Send + Sync + 'static,
    ) -> Cache<K> {
        let cache = self.cache::<K>();
        let queue = self.queue.clone();
        cache.observe(move |old, new| {
            for object in old.into_iter().chain(new) {
                keys(object, &mut |key| queue.add(key));
            }
        });
        cache
    }

    /// Have the keys handled that `keys` derives from a change: the object before it and after it.
    pub fn watch_changes<K: Kept<DynamicType = ()>>(
        &mut self,
        keys: impl Fn(Option<&K>, Option<&K>, &mut dyn FnMut(Key)) + Send + Sync + 'static,
    ) -> Cache<K> {
        let cache = self.cache::<K>();
        self.follow(&cache, keys);
        cache
    }

    /// As [`Setup::watch_controlled`]; a child that nobody controls is brought to those of its
    /// namespace's owners whose `selector` it matches, to be adopted.
    pub fn watch_claimed<K, O>(&mut self, owners: &Cache<O>, selector: fn(&O) -> Option<Selector>) -> Cache<K>
    where
        K: Kept<DynamicType = ()>,
        O: Kept<DynamicType = ()>,
    {
        let owners = owners.clone();
        let cache = self.watch_mapped::<K>(move |child, add| {
            let meta = child.meta();
            if owners::controller_of(meta).is_some() {
                if let Some(key) = owners::controller_key::<O>(meta) {
                    add(key);
                }
                return;
            }
            for owner in owners.list_in(meta.namespace.as_deref().unwrap_or_default()) {
                if selector(&owner).is_some_and(|selector| selector.matches(crate::pods::labels(meta))) {
                    add(Key::of(&*owner));
                }
            }
        });
        owners::add_index(&cache);
        cache
    }

    /// Have the key of the controlling object of kind `O` handled when one of its children of kind
    /// `K` changes; the cache is indexed for [`owners::controlled`] and [`owners::candidates`].
    pub fn watch_controlled<K, O>(&mut self) -> Cache<K>
    where
        K: Kept<DynamicType = ()>,
        O: Resource<DynamicType = ()> + 'static,
    {
        let cache = self.watch_mapped::<K>(|child, add| {
            if let Some(key) = owners::controller_key::<O>(child.meta()) {
                add(key);
            }
        });
        owners::add_index(&cache);
        cache
    }
}
