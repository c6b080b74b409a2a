//! Shared watch caches: every object of a kind (or of a selection of it), kept current by a watch.
//!
//! One cache per kind and process, shared by all its readers through [`Caches`]. Reading never waits
//! and never does I/O. A cache re-lists by itself when the server no longer has its version (410); the
//! difference then reaches subscribers as ordinary changes, deletions included.
//! `metadata.managedFields` is dropped: nothing reads it here and it is often half of an object.
//!
//! ```ignore
//! let caches = Caches::new(client, shutdown);
//! let pods = caches.of::<Pod>();                       // starts the watch on first use
//! pods.add_index("node", |pod| pod.spec.iter().flat_map(|s| s.node_name.clone()).collect());
//! pods.synced().await;
//! let mut changes = pods.subscribe();
//! while let Some(key) = changes.recv().await {
//!     let pod: Option<Arc<Pod>> = pods.get(&key.namespace, &key.name); // None: it is gone
//! }
//! ```
mod hub;
mod store;
mod subscription;
mod watch;

pub use hub::Caches;
pub use subscription::Subscription;

use crate::Key;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event},
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    ops::{Bound, Not},
    sync::Arc,
};
use store::Store;
use subscription::Listeners;
use tokio::sync::watch as signal;
use tokio_util::sync::CancellationToken;

/// What a cache can keep; met by every k8s-openapi kind and by `PartialObjectMeta`.
pub trait Kept: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Kept for K {}

/// Which objects of a kind a cache keeps; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// A label selector, as in `kubectl -l`.
    pub labels: Option<String>,
    /// A field selector, as in `kubectl --field-selector`.
    pub fields: Option<String>,
}

impl Selection {
    /// Everything whose field equals `value`, as `spec.nodeName=node-1`.
    pub fn field(name: &str, value: &str) -> Self {
        Self { labels: None, fields: Some(format!("{name}={value}")) }
    }
}

/// Called for each change, in order, with the object before and after it; see [`Cache::observe`].
pub(crate) type Observer<K> = Box<dyn Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync>;

pub(crate) struct Inner<K> {
    store: RwLock<Store<K>>,
    listeners: Listeners<K>,
    synced: signal::Sender<bool>,
    /// The highest resource version seen.
    revision: signal::Sender<u64>,
}

/// A watch cache. A clone is another handle on the same cache; the watch ends when all handles are
/// gone or the shutdown token given at the start is cancelled.
pub struct Cache<K> {
    inner: Arc<Inner<K>>,
    /// Ends the watch when the last handle goes; `None` for caches that are fed by hand.
    _watch: Option<Arc<tokio_util::sync::DropGuard>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), _watch: self._watch.clone() }
    }
}

impl<K: Kept> Cache<K> {
    /// Start to keep the objects `api` reaches (a namespace's, or all) that `selection` selects.
    ///
    /// Returns at once; see [`Cache::synced`]. With `Api<PartialObjectMeta<…>>` only metadata is transferred.
    pub fn start(api: Api<K>, selection: &Selection, shutdown: &CancellationToken) -> Self {
        Self::start_trimmed(api, selection, |_| {}, shutdown)
    }

    /// As [`Cache::start`], passing each object through `trim` before it is kept, to drop what this
    /// process never reads.
    pub fn start_trimmed(
        api: Api<K>,
        selection: &Selection,
        trim: impl Fn(&mut K) + Send + Sync + 'static,
        shutdown: &CancellationToken,
    ) -> Self {
        Self::run(move |config| watcher::watcher(api.clone(), config), selection, trim, shutdown)
    }

    fn run<S, F>(
        open: F,
        selection: &Selection,
        trim: impl Fn(&mut K) + Send + Sync + 'static,
        shutdown: &CancellationToken,
    ) -> Self
    where
        S: futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        F: Fn(watcher::Config) -> S + Send + Sync + 'static,
    {
        let mut cache = Self::detached();
        cache.inner.synced.send_replace(false);
        let stop = shutdown.child_token();
        tokio::spawn(watch::keep(Arc::downgrade(&cache.inner), open, selection.clone(), trim, stop.clone()));
        cache._watch = Some(Arc::new(stop.drop_guard()));
        cache
    }

    /// An empty cache without a watch that counts as synced; feed it with [`Cache::apply`] and
    /// [`Cache::remove`]. For tests, simulations and sources that are not the API.
    pub fn detached() -> Self {
        let inner = Inner {
            store: RwLock::default(),
            listeners: Listeners::default(),
            synced: signal::channel(true).0,
            revision: signal::channel(0).0,
        };
        Self { inner: Arc::new(inner), _watch: None }
    }

    /// Put or replace an object and tell subscribers.
    pub fn apply(&self, object: K) {
        self.inner.apply(object);
    }

    /// Remove an object and tell subscribers.
    pub fn remove(&self, key: &Key) {
        self.inner.remove(key);
    }

    /// The object, as last seen; `namespace` is `""` for objects of the cluster.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.at(&Key::new(namespace, name))
    }

    /// The object at `key`, as last seen.
    pub fn at(&self, key: &Key) -> Option<Arc<K>> {
        self.inner.store.read().objects.get(key).cloned()
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.inner.store.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = Key::new(namespace, "");
        let store = self.inner.store.read();
        let rest = store.objects.range((Bound::Included(from), Bound::Unbounded));
        rest.take_while(|(key, _)| &*key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.inner.store.read().objects.keys().cloned().collect()
    }

    /// How many objects are kept.
    pub fn len(&self) -> usize {
        self.inner.store.read().objects.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keep a secondary index: `values` names the values an object is found under. A second index of
    /// the same name is the same index: the first function stays.
    pub fn add_index(&self, name: &'static str, values: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        self.inner.store.write().add_index(name, Box::new(values));
    }

    /// The objects found under `value` in the index `name`, ordered by key. Empty if there is no such index.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        self.inner.store.read().by_index(name, value)
    }

    /// Wait until the first list is complete (or the cache has been shut down).
    pub async fn synced(&self) {
        // An error means that the watch has ended, which only shutdown does.
        let _ = self.inner.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.inner.synced.borrow()
    }

    /// The keys that change from here on, plus those of every object present now.
    ///
    /// A key that changes several times before it is received is received once. A subscriber that
    /// stops receiving holds up this cache's watch, and with it only this cache.
    pub fn subscribe(&self) -> Subscription {
        let store = self.inner.store.read();
        self.inner.listeners.subscribe(store.objects.keys().cloned())
    }

    /// Call `observer` for every object present now (as added) and for each later change with the
    /// object before and after it. It runs on the watch's task: it must only put keys somewhere.
    pub fn observe(&self, observer: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync + 'static) {
        let store = self.inner.store.read();
        for object in store.objects.values() {
            observer(None, Some(object));
        }
        self.inner.listeners.observe(Box::new(observer));
    }
}

/// A cache whose kind does not matter: whether it has caught up with a write. See [`Caches::settled`].
pub trait Settled: Send + Sync {
    /// Whether a change at least as new as `resource_version` has been seen. Versions of one kind are
    /// ordered numbers (KEP-5504); what is no number counts as seen.
    fn reached(&self, resource_version: &str) -> bool;
    /// Whether the object `uid` at `key` is present and not being deleted.
    fn alive(&self, key: &Key, uid: &str) -> bool;
    /// Changes with each event of the cache.
    fn ticks(&self) -> signal::Receiver<u64>;
}

impl<K: Kept> Settled for Cache<K> {
    fn reached(&self, resource_version: &str) -> bool {
        resource_version.parse().is_ok_and(|version: u64| *self.inner.revision.borrow() < version).not()
    }

    fn alive(&self, key: &Key, uid: &str) -> bool {
        self.at(key).is_some_and(|object| {
            let meta = object.meta();
            meta.uid.as_deref() == Some(uid) && meta.deletion_timestamp.is_none()
        })
    }

    fn ticks(&self) -> signal::Receiver<u64> {
        self.inner.revision.subscribe()
    }
}

impl<K: Kept> Inner<K> {
    fn seen(&self, object: &K) {
        let version = object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
        self.revision.send_modify(|revision| *revision = version.max(*revision));
    }

    fn apply(&self, object: K) {
        let key = Key::of(&object);
        let object = Arc::new(object);
        // Subscribers are told under the lock, so that they see changes in the order they happened.
        let mut store = self.store.write();
        let old = store.insert(key.clone(), object.clone());
        let store = parking_lot::RwLockWriteGuard::downgrade(store);
        self.listeners.tell(&key, old.as_ref(), Some(&object));
        drop(store);
        self.seen(&object);
    }

    fn remove(&self, key: &Key) {
        let mut store = self.store.write();
        let old = store.remove(key);
        let store = parking_lot::RwLockWriteGuard::downgrade(store);
        if let Some(old) = old {
            self.listeners.tell(key, Some(&old), None);
        }
        drop(store);
        self.revision.send_modify(|_| {});
    }
}

#[cfg(test)]
mod tests;
