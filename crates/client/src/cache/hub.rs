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
        let cache = entry.or_insert_with(|| {
            let cache = Cache::<K>::start(Api::all(self.client.clone()), selection, &self.shutdown);
            // Only one that holds all objects can say that it has seen a change of any.
            if *selection == Selection::default() {
                self.settled.lock().insert(K::url_path(&(), None), Arc::new(cache.clone()));
            }
            Box::new(cache)
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    #[tokio::test]
    async fn a_cache_of_all_objects_says_what_it_has_seen() {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>()
        });
        let caches = Caches::new(kube::Client::new(silent, "default"), CancellationToken::new());
        let some = Selection { labels: Some("app=a".into()), fields: None };
        let _some = caches.selected::<Pod>(&some);
        assert!(caches.settled("/api/v1/pods").is_none());
        let all = caches.of::<Pod>();
        let settled = caches.settled("/api/v1/pods").expect("it is known by its path");
        assert!(!settled.reached("5"));
        let mut pod = Pod::default();
        pod.metadata.resource_version = Some("5".into());
        all.apply(pod);
        assert!(settled.reached("5") && !settled.reached("6"));
    }
}
