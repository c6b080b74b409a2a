//! The watch cache against a model and at its bounds, over the embedded store.
use crate::contract::{done, put};
use crate::etcd_server;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use storage::cache::{
    Batch, Cache, End, EventKind, Extract, Facts, Fields, Filter, Labels, Options, WatchEvent, Watcher, Written,
};
use storage::embedded::Store;
use storage::{Backend, Error, Expect, Op, Revision};

const PREFIX: &str = "/registry/pods/";
/// Position of the indexed field.
const NODE: usize = 1;
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads `metadata.labels`, and the fields `metadata.name` and `node`.
#[derive(Default)]
struct Pods {
    extracted: AtomicUsize,
}

impl Extract for Pods {
    fn extract(&self, _key: &str, value: &Bytes) -> Result<Facts, String> {
        self.extracted.fetch_add(1, Ordering::Relaxed);
        let object: serde_json::Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        assert!(object["panic"].is_null(), "a fault in a kind's code");
        Ok(facts(&object))
    }
}

fn facts(object: &serde_json::Value) -> Facts {
    let none = serde_json::Map::new();
    let labels = object["metadata"]["labels"].as_object().unwrap_or(&none);
    Facts {
        labels: Labels::from_pairs(labels.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap()))),
        fields: Fields::from_values([
            object["metadata"]["name"].as_str().unwrap_or_default(),
            object["node"].as_str().unwrap_or_default(),
        ]),
        json: None,
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{namespace}/{name}")
}

fn pod(name: &str, app: &str, node: &str) -> serde_json::Value {
    serde_json::json!({"kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "node": node})
}

struct Bench {
    store: Arc<dyn Backend>,
    pods: Arc<Pods>,
    cache: Arc<Cache>,
    _dir: tempfile::TempDir,
}

async fn bench(options: Options) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Backend> = Store::open(dir.path(), Default::default()).unwrap();
    let pods = Arc::new(Pods::default());
    let cache = Cache::start(store.clone(), PREFIX, pods.clone(), Options { indexed: vec![NODE], ..options });
    cache.ready().await.unwrap();
    Bench { store, pods, cache, _dir: dir }
}

impl Bench {
    async fn put(&self, namespace: &str, name: &str, app: &str, node: &str) -> Revision {
        let value = pod(name, app, node).to_string();
        done(self.store.commit(&key(namespace, name), Expect::Any, put(value)).await.unwrap())
    }

    async fn delete(&self, namespace: &str, name: &str) -> Revision {
        done(self.store.commit(&key(namespace, name), Expect::Any, Op::Delete).await.unwrap())
    }
}

async fn next(watcher: &mut Watcher) -> Option<Arc<Batch>> {
    tokio::time::timeout(PATIENCE, watcher.next()).await.expect("no event came")
}

async fn collect(watcher: &mut Watcher, count: usize) -> Vec<Arc<WatchEvent>> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend_from_slice(&next(watcher).await.expect("the watch ended"));
    }
    events
}

fn frame(event: &WatchEvent) -> serde_json::Value {
    let frame = event.frame();
    assert!(frame.ends_with(b"}\n"));
    serde_json::from_slice(frame).unwrap()
}

#[tokio::test]
async fn a_read_after_a_commit_sees_it_and_facts_are_not_extracted_twice() {
    let bench = bench(Options::default()).await;
    let object = pod("web", "shop", "n1");
    let op = Op::Put { value: object.to_string().into(), lease: 0 };
    let written = bench.cache.commit(&key("default", "web"), Expect::Absent, op, Some(facts(&object))).await.unwrap();
    let Written::Done { entry: Some(entry), revision } = written else { panic!("{written:?}") };
    assert_eq!(bench.pods.extracted.load(Ordering::Relaxed), 0);
    assert_eq!(bench.cache.revision(), revision);
    assert_eq!(bench.cache.read_consistent().await.unwrap(), revision);
    let read = bench.cache.get(&key("default", "web")).unwrap();
    assert!(Arc::ptr_eq(&entry, &read), "one copy of the object");
    assert_eq!(
        (read.namespace(), read.name(), read.field(NODE), read.labels().get("app")),
        ("default", "web", "n1", Some("shop"))
    );
    let json: serde_json::Value = serde_json::from_slice(&read.json).unwrap();
    assert_eq!(json["metadata"]["resourceVersion"], revision.to_string());

    let taken = bench.cache.commit(&key("default", "web"), Expect::Absent, put("{}"), None).await.unwrap();
    assert!(matches!(taken, Written::Conflict { current: Some(current) } if Arc::ptr_eq(&current, &read)));
    let deleted =
        bench.cache.commit(&key("default", "web"), Expect::Revision(revision), Op::Delete, None).await.unwrap();
    let Written::Done { entry: Some(last), revision } = deleted else { panic!("{deleted:?}") };
    assert_eq!(last.revision, revision);
    assert!(String::from_utf8_lossy(&last.json).contains(&format!("\"resourceVersion\":\"{revision}\"")));
    assert!(bench.cache.get(&key("default", "web")).is_none());
}

#[tokio::test]
async fn snapshots_stay_and_older_ones_can_be_had() {
    let bench = bench(Options { history_events: 4, ..Options::default() }).await;
    let mut revisions = Vec::new();
    for number in 0..3 {
        revisions.push(bench.put("a", &format!("p{number}"), "x", "n").await);
    }
    let early = bench.cache.snapshot();
    assert_eq!(early.revision(), revisions[2]);
    for number in 0..10 {
        bench.put("b", &format!("p{number}"), "x", "n").await;
    }
    bench.delete("a", "p0").await;
    assert_eq!((early.len(), early.count(&key("a", "")), early.count(&key("b", ""))), (3, 3, 0));
    let now = bench.cache.snapshot();
    assert_eq!((now.len(), now.count(&key("a", ""))), (12, 2));
    for (revision, expected) in [(now.revision(), 12), (now.revision() - 1, 13), (revisions[2], 3), (revisions[0], 1)] {
        let snapshot = bench.cache.snapshot_at(revision).await.unwrap();
        assert_eq!((snapshot.revision(), snapshot.len()), (revision, expected));
    }
    let future = bench.cache.snapshot_at(now.revision() + 1).await;
    assert!(matches!(future, Err(Error::Future { .. })));
    bench.store.compact(now.revision() - 2).await.unwrap();
    let compacted = bench.cache.snapshot_at(revisions[0]).await;
    assert!(matches!(compacted, Err(Error::Compacted { .. })));
}

#[tokio::test]
async fn a_watcher_sees_objects_begin_and_cease_to_match() {
    let bench = bench(Options::default()).await;
    let start = bench.cache.revision();
    let on_n1 = || Filter::prefix(PREFIX).index(NODE, "n1");
    let mut indexed = bench.cache.watch(start, on_n1()).unwrap();
    let mut scanned =
        bench.cache.watch(start, Filter::prefix(PREFIX).matching("n1", |e| e.field(NODE) == "n1")).unwrap();
    bench.put("d", "p", "x", "").await;
    let bound = bench.put("d", "p", "x", "n1").await;
    bench.put("d", "p", "y", "n1").await;
    let moved = bench.put("d", "p", "y", "n2").await;
    bench.delete("d", "p").await;
    let mut replayed = bench.cache.watch(start, on_n1()).unwrap();
    for watcher in [&mut indexed, &mut scanned, &mut replayed] {
        let events = collect(watcher, 3).await;
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Added, EventKind::Modified, EventKind::Deleted]);
        assert_eq!(frame(&events[0])["object"]["metadata"]["resourceVersion"], bound.to_string());
        let last = frame(&events[2]);
        assert_eq!((&last["type"], &last["object"]["node"]), (&"DELETED".into(), &"n1".into()));
        assert_eq!(last["object"]["metadata"]["resourceVersion"], moved.to_string());
        assert_eq!(watcher.revision(), bench.cache.revision(), "a bookmark may say so");
    }
    let one = bench.cache.watch(start, Filter::key(&key("d", "p"))).unwrap();
    let other = bench.cache.watch(start, Filter::key(&key("d", "q"))).unwrap();
    assert_eq!(bench.cache.watchers(), 5);
    drop((one, other, indexed, scanned));
    assert_eq!(bench.cache.watchers(), 1);
}

#[tokio::test]
async fn watchers_of_the_same_event_share_its_bytes() {
    let bench = bench(Options::default()).await;
    let start = bench.cache.revision();
    let mut watchers: Vec<_> =
        (0..20).map(|_| bench.cache.watch(start, Filter::prefix(&key("d", ""))).unwrap()).collect();
    bench.put("d", "p", "x", "n").await;
    bench.put("e", "p", "x", "n").await;
    let mut frames = Vec::new();
    for watcher in &mut watchers {
        frames.push(next(watcher).await.unwrap().frames().clone());
    }
    assert!(frames.iter().all(|frame| frame.as_ptr() == frames[0].as_ptr()));
}

#[tokio::test]
async fn history_and_buffers_are_bounded() {
    let bench = bench(Options { history_events: 5, watcher_events: 3, ..Options::default() }).await;
    let start = bench.cache.revision();
    let mut slow = bench.cache.watch(start, Filter::prefix(PREFIX)).unwrap();
    for number in 0..8 {
        bench.put("d", &number.to_string(), "x", "n").await;
    }
    assert_eq!(collect(&mut slow, 3).await.len(), 3, "what was queued is still delivered");
    assert!(next(&mut slow).await.is_none());
    assert_eq!(slow.end(), Some(End::TooSlow));
    let late = bench.cache.watch(start, Filter::prefix(PREFIX));
    assert!(matches!(late, Err(Error::Compacted { requested, .. }) if requested == start));
    let mut recent = bench.cache.watch(bench.cache.revision() - 2, Filter::prefix(PREFIX)).unwrap();
    assert_eq!(collect(&mut recent, 2).await.len(), 2);
    bench.cache.stop();
    assert!(next(&mut recent).await.is_none());
    assert_eq!(recent.end(), Some(End::Stopped));
}

#[tokio::test]
async fn unreadable_objects_are_left_out_and_do_not_stop_the_store() {
    let bench = bench(Options::default()).await;
    bench.put("d", "good", "x", "n").await;
    for bad in ["not json", "[]", r#"{"panic":1,"metadata":{}}"#] {
        done(bench.store.commit(&key("d", "bad"), Expect::Any, put(bad)).await.unwrap());
    }
    bench.put("d", "better", "x", "n").await;
    let names: Vec<_> = bench.cache.snapshot().iter(PREFIX).map(|entry| entry.name().to_owned()).collect();
    assert_eq!(names, ["better", "good"]);
}

#[tokio::test]
async fn a_cache_loads_what_is_there_and_waits_for_what_is_to_come() {
    let bench = bench(Options::default()).await;
    for number in 0..2_500 {
        let value = pod(&number.to_string(), "x", &format!("n{}", number % 10)).to_string();
        let store = bench.store.clone();
        let key = key("d", &format!("{number:05}"));
        drop(tokio::spawn(async move { store.commit(&key, Expect::Any, put(value)).await.unwrap() }));
    }
    let target = bench.cache.revision().max(1) + 2_500;
    tokio::time::timeout(PATIENCE, bench.cache.wait_for(target)).await.unwrap().unwrap();
    let second = Cache::start(
        bench.store.clone(),
        PREFIX,
        bench.pods.clone(),
        Options { indexed: vec![NODE], ..Options::default() },
    );
    second.ready().await.unwrap();
    for cache in [&bench.cache, &second] {
        let snapshot = cache.snapshot();
        assert_eq!((snapshot.len(), snapshot.revision()), (2_500, target));
        let (on_node, revision) = cache.indexed(NODE, "n3");
        assert_eq!((on_node.len(), revision), (250, target));
        assert!(on_node.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert_eq!(cache.indexed(0, "77").0.len(), 1, "a field without an index is searched");
    }
    let later = tokio::spawn({
        let cache = bench.cache.clone();
        async move { cache.wait_for(target + 1).await }
    });
    bench.put("other", "p", "x", "n").await;
    tokio::time::timeout(PATIENCE, later).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_cache_over_etcd_reads_its_own_writes() {
    let Some(server) = etcd_server::start().await else { return };
    let store = server.connect().await;
    let cache = Cache::start(store.clone(), PREFIX, Arc::new(Pods::default()), Options::default());
    cache.ready().await.unwrap();
    let mut watcher = cache.watch(cache.revision(), Filter::prefix(PREFIX)).unwrap();
    for number in 0..20 {
        let name = number.to_string();
        let op = put(pod(&name, "x", "n").to_string());
        let written = cache.commit(&key("d", &name), Expect::Absent, op, None).await.unwrap();
        let Written::Done { entry: Some(entry), revision } = written else { panic!("{written:?}") };
        assert_eq!(entry.revision, revision);
        // Another prefix moves the store's revision, not this cache's events.
        store.commit("/registry/other", Expect::Any, put("x")).await.unwrap();
        let reached = tokio::time::timeout(PATIENCE, cache.read_consistent()).await.expect("no progress").unwrap();
        assert!(reached > revision);
        assert_eq!(cache.snapshot().len(), number + 1);
    }
    let events = collect(&mut watcher, 20).await;
    assert!(events.windows(2).all(|pair| pair[0].revision() < pair[1].revision()));
}

#[derive(Clone, Debug)]
enum Step {
    Put { name: u8, app: u8, node: u8 },
    Delete { name: u8 },
    Watch { back: usize, filter: Wanted },
    Poll { watcher: usize },
}

#[derive(Clone, Debug)]
enum Wanted {
    All,
    Namespace,
    Key(u8),
    Node(u8),
    App(u8),
}

/// Name, app and node of a pod; the first half of the names lie in namespace `a`.
type Pod = (u8, u8, u8);

fn namespace_of(name: u8) -> &'static str {
    if name < 4 { "a" } else { "b" }
}

impl Wanted {
    fn filter(&self) -> Filter {
        match *self {
            Wanted::All => Filter::prefix(PREFIX),
            Wanted::Namespace => Filter::prefix(&key("a", "")),
            Wanted::Key(name) => Filter::key(&key(namespace_of(name), &name.to_string())),
            Wanted::Node(node) => Filter::prefix(PREFIX).index(NODE, &node.to_string()),
            Wanted::App(app) => {
                let app = app.to_string();
                Filter::prefix(PREFIX).matching(app.clone(), move |entry| entry.labels().get("app") == Some(&app))
            }
        }
    }

    fn wants(&self, (name, app, node): Pod) -> bool {
        match *self {
            Wanted::All => true,
            Wanted::Namespace => namespace_of(name) == "a",
            Wanted::Key(wanted) => name == wanted,
            Wanted::Node(wanted) => node == wanted,
            Wanted::App(wanted) => app == wanted,
        }
    }
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        Just(Wanted::All),
        Just(Wanted::Namespace),
        (0_u8..8).prop_map(Wanted::Key),
        (0_u8..3).prop_map(Wanted::Node),
        (0_u8..3).prop_map(Wanted::App),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..8, 0_u8..3, 0_u8..3).prop_map(|(name, app, node)| Step::Put { name, app, node }),
        2 => (0_u8..8).prop_map(|name| Step::Delete { name }),
        1 => (0_usize..20, wanted()).prop_map(|(back, filter)| Step::Watch { back, filter }),
        2 => (0_usize..8).prop_map(|watcher| Step::Poll { watcher }),
    ]
}

/// What happened, for the model: revision, state before, state after.
type Happened = (Revision, Option<Pod>, Option<Pod>);

/// An event as a watcher should see it: kind, revision, the object in it.
type Seen = (EventKind, Revision, Pod);

fn expected(history: &[Happened], after: Revision, filter: &Wanted) -> Vec<Seen> {
    let wants = |pod: &Option<Pod>| pod.filter(|pod| filter.wants(*pod));
    let later = history.iter().filter(|(revision, ..)| *revision > after);
    later
        .filter_map(|(revision, before, now)| match (wants(before), wants(now)) {
            (None, Some(now)) => Some((EventKind::Added, *revision, now)),
            (Some(_), Some(now)) => Some((EventKind::Modified, *revision, now)),
            (Some(before), None) => Some((EventKind::Deleted, *revision, before)),
            (None, None) => None,
        })
        .collect()
}

fn seen(event: &WatchEvent) -> Seen {
    let frame = frame(event);
    assert_eq!(frame["type"], event.kind.as_str());
    let object = &frame["object"];
    assert_eq!(object["metadata"]["resourceVersion"], event.revision().to_string());
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u8>().unwrap();
    let pod =
        (number(&object["metadata"]["name"]), number(&object["metadata"]["labels"]["app"]), number(&object["node"]));
    (event.kind, event.revision(), pod)
}

struct Watching {
    after: Revision,
    filter: Wanted,
    watcher: Watcher,
    seen: Vec<Seen>,
    /// They select the same and take nothing.
    _crowd: Vec<Watcher>,
}

impl Watching {
    fn take(&mut self) {
        while let Some(Some(batch)) = futures::FutureExt::now_or_never(self.watcher.next()) {
            self.note(&batch);
        }
    }

    fn note(&mut self, batch: &Batch) {
        let frames: Vec<_> = batch.iter().map(|event| event.frame().clone()).collect();
        assert_eq!(batch.frames(), &frames.concat());
        self.seen.extend(batch.iter().map(|event| seen(event)));
    }
}

/// Each watcher is in a crowd of this many others.
async fn against_the_model(steps: Vec<Step>, crowd: usize) {
    let bench = bench(Options::default()).await;
    let mut model: BTreeMap<u8, Pod> = BTreeMap::new();
    let mut history: Vec<Happened> = Vec::new();
    let mut watching: Vec<Watching> = Vec::new();
    let start = bench.cache.revision();
    for step in steps {
        match step {
            Step::Put { name, app, node } => {
                let (text, now) = (name.to_string(), (name, app, node));
                let revision = bench.put(namespace_of(name), &text, &app.to_string(), &node.to_string()).await;
                history.push((revision, model.insert(name, now), Some(now)));
            }
            Step::Delete { name } => {
                let revision = bench.delete(namespace_of(name), &name.to_string()).await;
                if let Some(before) = model.remove(&name) {
                    history.push((revision, Some(before), None));
                }
            }
            Step::Watch { back, filter } => {
                let after = history.iter().rev().nth(back).map_or(start, |(revision, ..)| *revision);
                let open = || bench.cache.watch(after, filter.filter()).unwrap();
                let (watcher, _crowd) = (open(), (0..crowd).map(|_| open()).collect());
                watching.push(Watching { after, filter, watcher, seen: Vec::new(), _crowd });
            }
            Step::Poll { watcher } => {
                let count = watching.len().max(1);
                if let Some(one) = watching.get_mut(watcher % count) {
                    one.take();
                }
            }
        }
    }
    for one in &mut watching {
        let expected = expected(&history, one.after, &one.filter);
        one.take();
        while crowd > 0 && one.seen.len() < expected.len() {
            assert!(one.watcher.revision() < bench.cache.revision(), "a bookmark would lie");
            let batch = next(&mut one.watcher).await.unwrap();
            one.note(&batch);
        }
        assert_eq!(one.seen, expected, "{:?} after {}", one.filter, one.after);
        assert_eq!(one.watcher.revision(), bench.cache.revision());
        // The state it began with plus what it saw is the state now.
        let began = bench.cache.snapshot_at(one.after).await.unwrap();
        let of = |entry: &storage::cache::Entry| {
            seen(&WatchEvent::new(EventKind::Added, Arc::new(entry.at_revision(entry.revision)), None)).2
        };
        let mut state: BTreeMap<u8, Pod> = began
            .iter(PREFIX)
            .map(|entry| of(entry))
            .filter(|pod| one.filter.wants(*pod))
            .map(|pod| (pod.0, pod))
            .collect();
        for (kind, _, pod) in &one.seen {
            match kind {
                EventKind::Deleted => drop(state.remove(&pod.0)),
                EventKind::Added => assert!(state.insert(pod.0, *pod).is_none()),
                EventKind::Modified => assert!(state.insert(pod.0, *pod).is_some()),
            }
        }
        let wanted: BTreeMap<u8, Pod> =
            model.values().filter(|pod| one.filter.wants(**pod)).map(|pod| (pod.0, *pod)).collect();
        assert_eq!(state, wanted);
    }
}

fn run_against_the_model(steps: Vec<Step>, crowd: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(against_the_model(steps, crowd));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_watcher_sees_each_matching_event_once_and_in_order(steps in prop::collection::vec(step(), 1..120)) {
        run_against_the_model(steps, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn so_does_each_of_a_crowd(steps in prop::collection::vec(step(), 1..120)) {
        run_against_the_model(steps, 80);
    }
}
