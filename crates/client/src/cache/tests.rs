//! What readers of a cache may rely on.
use super::*;
use futures::{channel::mpsc, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;

fn object(namespace: &str, name: &str, version: &str) -> ConfigMap {
    let metadata = ObjectMeta {
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        resource_version: Some(version.into()),
        labels: Some([("app".to_owned(), name.to_owned())].into()),
        managed_fields: Some(Vec::new()),
        ..Default::default()
    };
    ConfigMap { metadata, ..Default::default() }
}

fn drain(changes: &mut Subscription) -> Vec<String> {
    std::iter::from_fn(|| changes.try_recv()).map(|key| key.to_string()).collect()
}

#[test]
fn keys_are_coalesced_and_present_objects_come_first() {
    let cache = Cache::detached();
    cache.apply(object("a", "x", "1"));
    let mut changes = cache.subscribe();
    cache.apply(object("a", "x", "2"));
    cache.apply(object("b", "y", "3"));
    cache.apply(object("b", "y", "4"));
    assert_eq!(drain(&mut changes), ["a/x", "b/y"]);
    cache.remove(&Key::new("b", "y"));
    assert_eq!(drain(&mut changes), ["b/y"]);
    assert!(cache.get("b", "y").is_none());
}

#[test]
fn a_namespace_is_listed_alone() {
    let cache = Cache::detached();
    for (namespace, name) in [("a", "x"), ("b", "y"), ("b", "z"), ("bb", "x"), ("c", "x")] {
        cache.apply(object(namespace, name, "1"));
    }
    let names: Vec<_> = cache.list_in("b").iter().map(|o| Key::of(&**o).to_string()).collect();
    assert_eq!(names, ["b/y", "b/z"]);
}

#[test]
fn indexes_follow_changes() {
    let cache = Cache::detached();
    cache.apply(object("a", "x", "1"));
    cache.add_index("app", |o: &ConfigMap| o.metadata.labels.iter().flat_map(|l| l.get("app").cloned()).collect());
    assert_eq!(cache.by_index("app", "x").len(), 1);
    let mut moved = object("a", "x", "2");
    moved.metadata.labels = Some([("app".to_owned(), "other".to_owned())].into());
    cache.apply(moved);
    assert_eq!((cache.by_index("app", "x").len(), cache.by_index("app", "other").len()), (0, 1));
    cache.remove(&Key::new("a", "x"));
    assert!(cache.by_index("app", "other").is_empty());
}

#[test]
fn observers_see_before_and_after() {
    let cache = Cache::detached();
    cache.apply(object("a", "x", "1"));
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = seen.clone();
    let version = |o: Option<&Arc<ConfigMap>>| o.and_then(|o| o.metadata.resource_version.clone()).unwrap_or_default();
    cache.observe(move |old, new| log.lock().push(format!("{}>{}", version(old), version(new))));
    cache.apply(object("a", "x", "2"));
    cache.remove(&Key::new("a", "x"));
    assert_eq!(*seen.lock(), [">1", "1>2", "2>"]);
}

#[tokio::test(start_paused = true)]
async fn a_relist_tells_only_what_differs() {
    let (feed, events) = mpsc::unbounded();
    let events = parking_lot::Mutex::new(Some(events));
    let open = move |_| events.lock().take().map_or_else(|| stream::pending().boxed(), futures::StreamExt::boxed);
    use futures::StreamExt;
    let shutdown = CancellationToken::new();
    let cache: Cache<ConfigMap> = Cache::run(open, &Selection::default(), |_| {}, &shutdown);
    assert!(!cache.is_synced());
    let send = |event| feed.unbounded_send(Ok(event)).expect("the watch runs");
    send(Event::Init);
    send(Event::InitApply(object("a", "x", "1")));
    send(Event::InitApply(object("a", "y", "2")));
    send(Event::InitDone);
    cache.synced().await;
    assert!(cache.get("a", "x").is_some_and(|o| o.metadata.managed_fields.is_none()));
    let mut changes = cache.subscribe();
    drain(&mut changes);
    send(Event::Init);
    send(Event::InitApply(object("a", "x", "1")));
    send(Event::InitApply(object("a", "z", "3")));
    send(Event::InitDone);
    assert_eq!(changes.recv().await.map(|k| k.to_string()).as_deref(), Some("a/z"));
    assert_eq!(changes.recv().await.map(|k| k.to_string()).as_deref(), Some("a/y"));
    assert!(cache.get("a", "y").is_none());
    shutdown.cancel();
    assert_eq!(changes.recv().await, None);
}
