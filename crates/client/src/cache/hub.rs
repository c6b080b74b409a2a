//! The caches of a process: one per kind and selection, started on first use.
//!
//! All parts of a process share one hub, so that a kind is watched and held in memory once.
use super::{Cache, Kept, Selection, Settled};
use foldhash::HashMap;
use kube::Api;
use parking_lot::Mutex;
use std::{
    any::{Any, TypeId},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

type Kinds = HashMap<(TypeId, Selection), Box<dyn Any + Send + Sync>>;

/// Hands out the shared cache of a kind. Clones share.
#[derive(Clone)]
pub struct Caches {
    client: kube::Client,
    shutdown: CancellationToken,
    kinds: Arc<Mutex<Kinds>>,
    settled: Arc<Mutex<HashMap<String, Arc<dyn Settled>>>>,
}

impl Caches {
    /// A hub whose caches read through `client` and end with `shutdown`.
    pub fn new(client: kube::Client, shutdown: CancellationToken) -> Self {
        Self { client, shutdown, kinds: Arc::default(), settled: Arc::default() }
    }

    /// The cache of all objects of kind `K`, in all namespaces.
    pub fn of<K: Kept<DynamicType = ()>>(&self) -> Cache<K> {
        self.selected(&Selection::default())
    }

    /// The cache of the objects of kind `K` that `selection` selects, in all namespaces.
    pub fn selected<K: Kept<DynamicType = ()>>(&self, selection: &Selection) -> Cache<K> {
        let mut kinds = self.kinds.lock();
        let entry = kinds.entry((TypeId::of::<K>(), selection.clone()));
        let cache = entry
            .or_insert_with(|| Box::new(Cache::<K>::start(Api::all(self.client.clone()), selection, &self.shutdown)));
        match cache.downcast_ref::<Cache<K>>() {
            Some(cache) => cache.clone(),
            None => unreachable!("caches are kept under the type of what they hold"),
        }
    }

    /// The cache of all objects of a kind, if it is kept, by the path of their collection
    /// (`/apis/apps/v1/deployments`).
    pub fn settled(&self, path: &str) -> Option<Arc<dyn Settled>> {
        self.settled.lock().get(path).cloned()
    }

    /// Use `cache` as the cache of all objects of its kind. For tests, with [`Cache::detached`].
    pub fn set<K: Kept<DynamicType = ()>>(&self, cache: Cache<K>) {
        self.settled.lock().insert(K::url_path(&(), None), Arc::new(cache.clone()));
        self.kinds.lock().insert((TypeId::of::<K>(), Selection::default()), Box::new(cache));
    }
}
