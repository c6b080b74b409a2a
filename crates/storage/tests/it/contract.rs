//! One suite for every backend: what `storage::Backend` promises, from the outside.
use crate::etcd_server;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{
    Backend, Commit, Error, Event, Expect, Op, RangeRequest, Revision, Sink, WatchMessage, WatchStream, prefix_end,
};

type Shared = Arc<dyn Backend>;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one case over the embedded store and over etcd, where it can be run.
async fn over_all<F: Future<Output = ()>>(case: impl Fn(Shared) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let store = storage::embedded::Store::open(dir.path(), storage::embedded::Options::default()).unwrap();
    tokio::time::timeout(PATIENCE * 3, case(store)).await.expect("the embedded store takes too long");
    if let Some(server) = etcd_server::start().await {
        let etcd = server.connect().await;
        tokio::time::timeout(PATIENCE * 3, case(etcd)).await.expect("etcd takes too long");
    }
}

pub fn put(value: impl Into<Bytes>) -> Op {
    Op::Put { value: value.into(), lease: 0 }
}

pub async fn write(store: &Shared, key: &str, value: &str) -> Revision {
    done(store.commit(key, Expect::Any, put(value.to_owned())).await.unwrap())
}

pub fn done(commit: Commit) -> Revision {
    match commit {
        Commit::Done { revision, .. } => revision,
        Commit::Conflict { current } => panic!("conflict with {current:?}"),
    }
}

fn under(prefix: &str) -> RangeRequest {
    RangeRequest { start: prefix.into(), end: prefix_end(prefix), revision: None, limit: 0, count_only: false }
}

/// `key=value` of each item.
async fn state(store: &Shared, prefix: &str, revision: Option<Revision>) -> Vec<String> {
    let range = store.range(RangeRequest { revision, ..under(prefix) }).await.unwrap();
    assert_eq!(range.count as usize, range.items.len());
    range.items.iter().map(|kv| format!("{}={}", kv.key, String::from_utf8_lossy(&kv.value))).collect()
}

/// The next `count` events of a watch.
pub async fn events(watch: &mut WatchStream, count: usize) -> Vec<Event> {
    let mut found = Vec::new();
    while found.len() < count {
        let message = tokio::time::timeout(PATIENCE, watch.next()).await.expect("no event came");
        match message.expect("the watch ended").unwrap() {
            WatchMessage::Events(events) => found.extend(events),
            WatchMessage::Progress(_) => {}
        }
    }
    assert_eq!(found.len(), count, "{found:?}");
    found
}

fn shown(events: &[Event]) -> Vec<String> {
    let text = |kv: &storage::KeyValue| String::from_utf8_lossy(&kv.value).into_owned();
    events
        .iter()
        .map(|event| {
            let kind = if event.deleted { "delete" } else { "put" };
            format!("{kind} {}={} was {:?}", event.kv.key, text(&event.kv), event.previous.as_ref().map(text))
        })
        .collect()
}

#[tokio::test]
async fn commits_compare_and_report_what_stood_there() {
    over_all(|store| async move {
        let (none, start) = store.get("/a/1").await.unwrap();
        assert_eq!(none, None);
        assert!(start > 0, "0 has a meaning of its own in the API");

        let first = done(store.commit("/a/1", Expect::Absent, put("one")).await.unwrap());
        assert!(first > start);
        match store.commit("/a/1", Expect::Absent, put("two")).await.unwrap() {
            Commit::Conflict { current: Some(kv) } => {
                assert_eq!((&kv.value[..], kv.mod_revision, kv.create_revision), (&b"one"[..], first, first));
            }
            other => panic!("{other:?}"),
        }
        let second = match store.commit("/a/1", Expect::Revision(first), put("two")).await.unwrap() {
            Commit::Done { revision, previous: Some(previous) } => {
                assert_eq!((&previous.value[..], previous.mod_revision), (&b"one"[..], first));
                revision
            }
            other => panic!("{other:?}"),
        };
        assert!(second > first);
        let stale = store.commit("/a/1", Expect::Revision(first), Op::Delete).await.unwrap();
        assert!(matches!(stale, Commit::Conflict { current: Some(_) }));
        let (kv, revision) = store.get("/a/1").await.unwrap();
        let kv = kv.unwrap();
        assert_eq!(
            (&*kv.key, &kv.value[..], kv.create_revision, kv.mod_revision),
            ("/a/1", &b"two"[..], first, second)
        );
        assert_eq!(revision, second);
        assert_eq!(store.revision().await.unwrap(), second);

        match store.commit("/a/1", Expect::Revision(second), Op::Delete).await.unwrap() {
            Commit::Done { revision, previous: Some(previous) } => {
                assert!(revision > second);
                assert_eq!(previous.value, "two");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(store.get("/a/1").await.unwrap().0, None);
        let missing = store.commit("/a/1", Expect::Revision(second), put("three")).await.unwrap();
        assert!(matches!(missing, Commit::Conflict { current: None }));
        let before = store.revision().await.unwrap();
        let nothing = store.commit("/a/1", Expect::Any, Op::Delete).await.unwrap();
        assert!(matches!(nothing, Commit::Done { previous: None, .. }));
        assert_eq!(store.revision().await.unwrap(), before, "deleting nothing is no change");
        let again = done(store.commit("/a/1", Expect::Absent, put("again")).await.unwrap());
        assert_eq!(store.get("/a/1").await.unwrap().0.unwrap().create_revision, again);
    })
    .await;
}

#[tokio::test]
async fn ranges_are_ordered_paged_counted_and_pinned() {
    over_all(|store| async move {
        for number in 0..25 {
            write(&store, &format!("/r/a/{number:02}"), "x").await;
        }
        write(&store, "/r/b/00", "y").await;
        write(&store, "/r0", "outside").await;
        let pinned = write(&store, "/r/b/01", "y").await;
        write(&store, "/r/a/03", "changed").await;
        write(&store, "/r/a/99", "new").await;
        store.commit("/r/a/05", Expect::Any, Op::Delete).await.unwrap();

        let mut request = RangeRequest { revision: Some(pinned), limit: 10, ..under("/r/a/") };
        let mut keys = Vec::new();
        let mut counts = Vec::new();
        loop {
            let page = store.range(request.clone()).await.unwrap();
            assert_eq!(page.revision, pinned);
            counts.push(page.count);
            keys.extend(page.items.iter().map(|kv| (kv.key.to_string(), kv.value.clone())));
            let Some(last) = page.items.last().filter(|_| page.items.len() as u64 != page.count) else { break };
            request.start = format!("{}\0", last.key);
        }
        let expected: Vec<_> = (0..25).map(|n| (format!("/r/a/{n:02}"), Bytes::from("x"))).collect();
        assert_eq!(keys, expected);
        assert_eq!(counts, [25, 15, 5]);

        let newest = state(&store, "/r/a/", None).await;
        assert_eq!(newest.len(), 25);
        assert!(newest.contains(&"/r/a/03=changed".into()) && newest.contains(&"/r/a/99=new".into()));
        assert!(!newest.iter().any(|row| row.starts_with("/r/a/05")));
        assert_eq!(state(&store, "/r/b/", None).await, ["/r/b/00=y", "/r/b/01=y"]);
        assert_eq!(state(&store, "/nothing/", None).await, [""; 0]);
        let counted = store.range(RangeRequest { count_only: true, ..under("/r/a/") }).await.unwrap();
        assert_eq!((counted.count, counted.items.len()), (25, 0));
        let one_key = RangeRequest { end: "/r/a/03\0".into(), ..under("/r/a/03") };
        assert_eq!(store.range(one_key).await.unwrap().items.len(), 1);
        let future = store.range(RangeRequest { revision: Some(pinned + 1000), ..under("/r/") }).await;
        assert!(matches!(future, Err(Error::Future { .. })), "{future:?}");
    })
    .await;
}

#[tokio::test]
async fn a_watch_sees_every_event_from_its_revision_on_once_and_in_order() {
    over_all(|store| async move {
        write(&store, "/w/a", "before").await;
        let from = write(&store, "/w/a", "1").await;
        write(&store, "/other", "no").await;
        write(&store, "/w/b", "2").await;
        let mut watch = store.watch("/w/", from).await.unwrap();
        assert_eq!(shown(&events(&mut watch, 2).await), [r#"put /w/a=1 was Some("before")"#, "put /w/b=2 was None"]);
        store.commit("/w/a", Expect::Any, Op::Delete).await.unwrap();
        write(&store, "/w/a", "3").await;
        let later = events(&mut watch, 2).await;
        assert_eq!(shown(&later), [r#"delete /w/a= was Some("1")"#, "put /w/a=3 was None"]);
        assert!(later[0].kv.mod_revision < later[1].kv.mod_revision);
        assert_eq!(later[1].kv.create_revision, later[1].kv.mod_revision);

        let next = store.revision().await.unwrap() + 1;
        let mut fresh = store.watch("/w/", next).await.unwrap();
        write(&store, "/w/c", "4").await;
        assert_eq!(shown(&events(&mut fresh, 1).await), ["put /w/c=4 was None"]);
    })
    .await;
}

#[tokio::test]
async fn many_writers_lose_nothing_and_every_watcher_agrees_on_the_order() {
    over_all(|store| async move {
        const WRITERS: usize = 16;
        const EACH: usize = 20;
        let from = store.revision().await.unwrap() + 1;
        let mut watches = Vec::new();
        for _ in 0..3 {
            watches.push(store.watch("/m/", from).await.unwrap());
        }
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    loop {
                        let (current, _) = store.get("/m/counter").await.unwrap();
                        let value: u64 =
                            current.as_ref().map_or(0, |kv| String::from_utf8_lossy(&kv.value).parse().unwrap());
                        let expect = current.map_or(Expect::Absent, |kv| Expect::Revision(kv.mod_revision));
                        let next = put((value + 1).to_string());
                        if let Commit::Done { .. } = store.commit("/m/counter", expect, next).await.unwrap() {
                            break;
                        }
                    }
                    write(&store, &format!("/m/{writer}"), &number.to_string()).await;
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let total = WRITERS * EACH;
        assert_eq!(store.get("/m/counter").await.unwrap().0.unwrap().value, total.to_string());
        let mut seen = Vec::new();
        for watch in &mut watches {
            let events = events(watch, total * 2).await;
            assert!(events.windows(2).all(|pair| pair[0].kv.mod_revision < pair[1].kv.mod_revision));
            seen.push(shown(&events));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
        let counts: Vec<_> = seen[0].iter().filter(|line| line.starts_with("put /m/counter=")).collect();
        for (at, line) in counts.iter().enumerate() {
            assert!(line.starts_with(&format!("put /m/counter={} ", at + 1)), "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn compacted_revisions_are_refused_and_newer_ones_stay() {
    over_all(|store| async move {
        let first = write(&store, "/c/a", "1").await;
        write(&store, "/c/b", "1").await;
        let floor = write(&store, "/c/a", "2").await;
        write(&store, "/c/a", "3").await;
        store.compact(floor).await.unwrap();
        store.compact(floor).await.unwrap();
        let old = store.range(RangeRequest { revision: Some(first), ..under("/c/") }).await;
        assert!(matches!(old, Err(Error::Compacted { requested, .. }) if requested == first), "{old:?}");
        let refused = match store.watch("/c/", first).await {
            Ok(mut watch) => tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(refused, Err(Error::Compacted { .. })), "{refused:?}");
        assert_eq!(state(&store, "/c/", Some(floor)).await, ["/c/a=2", "/c/b=1"]);
        assert_eq!(state(&store, "/c/", None).await, ["/c/a=3", "/c/b=1"]);
        let mut watch = store.watch("/c/", floor).await.unwrap();
        let found = events(&mut watch, 2).await;
        assert_eq!(found.iter().map(|e| &e.kv.value[..]).collect::<Vec<_>>(), [b"2", b"3"]);
        let future = store.compact(floor + 1000).await;
        assert!(matches!(future, Err(Error::Future { .. })), "{future:?}");
    })
    .await;
}

#[tokio::test]
async fn keys_under_a_lease_are_deleted_with_ordinary_events() {
    over_all(|store| async move {
        let lease = store.grant_lease(1).await.unwrap();
        let from = store.revision().await.unwrap() + 1;
        for key in ["/l/a", "/l/b", "/l/kept"] {
            let op = Op::Put { value: "v".into(), lease };
            done(store.commit(key, Expect::Absent, op).await.unwrap());
        }
        assert_eq!(store.get("/l/a").await.unwrap().0.unwrap().lease, lease);
        write(&store, "/l/kept", "without a lease").await;
        let mut watch = store.watch("/l/", from).await.unwrap();
        let found = events(&mut watch, 6).await;
        let mut gone: Vec<_> = found.iter().filter(|event| event.deleted).map(|event| &*event.kv.key).collect();
        gone.sort_unstable();
        assert_eq!(gone, ["/l/a", "/l/b"]);
        assert_eq!(state(&store, "/l/", None).await, ["/l/kept=without a lease"]);
        let unknown = store.commit("/l/x", Expect::Any, Op::Put { value: "v".into(), lease: 123_456 }).await;
        assert!(matches!(unknown, Err(Error::LeaseNotFound)), "{unknown:?}");
    })
    .await;
}

#[tokio::test]
async fn values_over_the_limit_are_refused() {
    over_all(|store| async move {
        let fits = vec![b'x'; 1_500_000];
        done(store.commit("/big/a", Expect::Any, put(fits.clone())).await.unwrap());
        assert_eq!(store.get("/big/a").await.unwrap().0.unwrap().value, fits);
        let over = store.commit("/big/b", Expect::Any, put(vec![b'x'; 2_000_000])).await;
        assert!(matches!(over, Err(Error::TooLarge { .. })), "{over:?}");
        assert_eq!(store.get("/big/b").await.unwrap().0, None);
        assert!(store.size_on_disk().await.unwrap() > 0);
    })
    .await;
}

#[derive(Default)]
struct Recorder(Mutex<Vec<(Revision, String)>>);

impl Sink for Recorder {
    fn apply(&self, events: &[Event]) {
        let mut seen = self.0.lock();
        seen.extend(events.iter().map(|event| (event.kv.mod_revision, event.kv.key.to_string())));
    }

    fn reset(&self) {
        panic!("nothing was lost");
    }
}

#[tokio::test]
async fn a_sink_has_seen_everything_its_clock_says() {
    over_all(|store| async move {
        let recorder = Arc::new(Recorder::default());
        let weak: Weak<Recorder> = Arc::downgrade(&recorder);
        let attached = store.attach("/s/", weak).await.unwrap();
        let mut expected = Vec::new();
        for number in 0..50 {
            let key = format!("/s/{number}");
            expected.push((write(&store, &key, "x").await, key));
            write(&store, "/t/other", "x").await;
        }
        let newest = store.revision().await.unwrap();
        assert!(attached.revision < expected[0].0);
        let mut clock = attached.clock;
        store.request_progress();
        tokio::time::timeout(PATIENCE, clock.wait_for(|now| *now >= newest)).await.expect("progress").unwrap();
        assert_eq!(*recorder.0.lock(), expected);
    })
    .await;
}
