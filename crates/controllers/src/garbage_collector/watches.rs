//! The metadata watches that feed the graph, one a kind, following what kinds the server has.
use super::graph::{Graph, Node};
use crate::{
    discovery::{self, Kind},
    runtime::{Setup, Target},
};
use client::{Cache, Key, cache::Selection, queue::Queue};
use foldhash::HashMap;
use futures::future::BoxFuture;
use kube::{Api, Resource, api::DynamicObject, core::PartialObjectMeta};
use parking_lot::RwLock;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How often new kinds are looked for.
const REFRESH: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(2);

type Meta = PartialObjectMeta<DynamicObject>;

/// The kinds the server has.
#[derive(Default)]
pub struct Kinds(HashMap<(String, String), Kind>);

impl Kinds {
    /// The kind an owner reference names, in whatever version the server prefers.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<Kind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.0.get(&(group.to_owned(), kind.to_owned())).cloned()
    }
}

/// Events own nothing and are owned by nothing; they come in masses.
fn is_ignored(kind: &Kind) -> bool {
    kind.resource.plural == "events" && matches!(kind.resource.group.as_str(), "" | "events.k8s.io")
}

/// Keep the graph fed until shutdown; the future is done when all kinds have been listed once.
pub fn run(setup: &Setup, graph: Arc<RwLock<Graph>>, kinds: Arc<RwLock<Kinds>>) -> BoxFuture<'static, ()> {
    let (client, queue, shutdown) = (setup.client.clone(), setup.queue.clone(), setup.shutdown.clone());
    let (listed, first) = oneshot::channel();
    let feed = async move {
        let mut listed = Some(listed);
        let mut caches: HashMap<Kind, Cache<Meta>> = HashMap::default();
        loop {
            let pause = match discovery::kinds(&client).await {
                Ok(found) => {
                    let all = found.iter().map(|k| ((k.resource.group.clone(), k.resource.kind.clone()), k.clone()));
                    kinds.write().0 = all.collect();
                    follow(&client, found, &mut caches, &graph, &queue, &shutdown);
                    if let Some(listed) = listed.take() {
                        futures::future::join_all(caches.values().map(Cache::synced)).await;
                        let _ = listed.send(());
                    }
                    REFRESH
                }
                Err(failure) => {
                    tracing::debug!(%failure, "kinds not known yet");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    let stop = setup.shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { () = stop.cancelled() => {}, () = feed => {} }
    });
    Box::pin(async move {
        // An error is a shutdown.
        let _ = first.await;
    })
}

fn follow(
    client: &kube::Client,
    found: Vec<Kind>,
    caches: &mut HashMap<Kind, Cache<Meta>>,
    graph: &Arc<RwLock<Graph>>,
    queue: &Queue<Key>,
    shutdown: &tokio_util::sync::CancellationToken,
) {
    let watched = |kind: &Kind| kind.supports(&["list", "watch", "delete"]) && !is_ignored(kind);
    let found: Vec<Kind> = found.into_iter().filter(watched).collect();
    caches.retain(|kind, _| found.contains(kind));
    for kind in found {
        if caches.contains_key(&kind) {
            continue;
        }
        let api: Api<Meta> = Api::all_with(client.clone(), &kind.resource);
        let trim = |object: &mut Meta| {
            object.metadata.annotations = None;
            object.metadata.labels = None;
        };
        let cache = Cache::start_trimmed(api, &Selection::default(), trim, shutdown);
        observe(&cache, &kind, graph.clone(), queue.clone());
        caches.insert(kind, cache);
    }
}

fn observe(cache: &Cache<Meta>, kind: &Kind, graph: Arc<RwLock<Graph>>, queue: Queue<Key>) {
    let (collection, name) = (kind.path(None), kind.resource.kind.clone());
    cache.observe(move |old, new| {
        let uid = |object: &Arc<Meta>| object.meta().uid.clone().unwrap_or_default();
        let mut look = Vec::new();
        let mut graph = graph.write();
        // A new object under an old name is a deletion we were not told of.
        if let Some(old) = old.filter(|old| new.is_none_or(|new| uid(new) != uid(old))) {
            look.extend(graph.remove(&uid(old)));
        }
        if let Some(new) = new {
            let target = Target { collection: collection.clone(), kind: name.clone(), key: Key::of(&**new) };
            look.extend(graph.apply(Node::new(target, new.meta())));
        }
        drop(graph);
        for uid in look {
            queue.add(Key::cluster(&uid));
        }
    });
}
