//! What only etcd has: TLS, connections that break, history compacted by others.
use crate::contract::{done, events, put, write};
use crate::etcd_server;
use std::sync::Arc;
use std::time::Duration;
use storage::cache::{Cache, End, Extract, Facts, Filter, Options};
use storage::etcd::Etcd;
use storage::{Backend, Error, Expect, Op};

const PATIENCE: Duration = Duration::from_secs(30);

struct NoFacts;

impl Extract for NoFacts {
    fn extract(&self, _key: &str, _value: &bytes::Bytes) -> Result<Facts, String> {
        Ok(Facts::default())
    }
}

const OBJECT: &str = r#"{"metadata":{}}"#;

/// A write that is repeated until it is known to have happened exactly once.
async fn create(store: &Arc<dyn Backend>, key: &str) -> u64 {
    loop {
        match store.commit(key, Expect::Absent, put(OBJECT)).await {
            Ok(storage::Commit::Done { revision, .. }) => return revision,
            Ok(storage::Commit::Conflict { current }) => return current.unwrap().mod_revision,
            Err(Error::Timeout(_) | Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn client_certificates_are_shown_and_the_server_is_verified() {
    let Some(server) = etcd_server::start_with_tls().await else { return };
    let store = server.connect().await;
    let revision = write(&store, "/a", "x").await;
    assert_eq!(store.get("/a").await.unwrap().0.unwrap().mod_revision, revision);

    let stranger = storage::etcd::Options { cert: None, key: None, ..server.options.clone() };
    let refused = Etcd::connect(stranger).await.unwrap().get("/a").await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");

    let half = storage::etcd::Options { key: None, ..server.options.clone() };
    let error = Etcd::connect(half).await.err().unwrap().to_string();
    assert!(error.contains("both a client certificate and its key"), "{error}");
    let missing = storage::etcd::Options { ca: Some("/nonexistent/ca.crt".into()), ..server.options.clone() };
    let error = Etcd::connect(missing).await.err().unwrap().to_string();
    assert!(error.contains("/nonexistent/ca.crt"), "{error}");
}

#[tokio::test]
async fn a_killed_etcd_costs_no_event_and_repeats_none() {
    let Some(mut server) = etcd_server::start().await else { return };
    let store = server.connect().await;
    let cache = Cache::start(store.clone(), "/k/", Arc::new(NoFacts), Options::default());
    cache.ready().await.unwrap();
    let mut watcher = cache.watch(cache.revision(), Filter::prefix("/k/")).unwrap();
    let mut watch = store.watch("/k/", store.revision().await.unwrap() + 1).await.unwrap();
    let mut written = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            written.push(create(&store, &format!("/k/{round}-{number}")).await);
        }
        server.kill();
        server.restart();
    }
    written.push(create(&store, "/k/last").await);
    let found = tokio::time::timeout(PATIENCE, events(&mut watch, written.len())).await.unwrap();
    assert_eq!(found.iter().map(|event| event.kv.mod_revision).collect::<Vec<_>>(), written);
    let mut seen = Vec::new();
    while seen.len() < written.len() {
        let batch = tokio::time::timeout(PATIENCE, watcher.next()).await.unwrap().expect("the watch goes on");
        seen.extend(batch.iter().map(|event| event.revision()));
    }
    assert_eq!(seen, written);
}

#[tokio::test]
async fn a_cache_that_fell_behind_the_compaction_loads_anew_and_ends_its_watchers() {
    let Some(mut server) = etcd_server::start().await else { return };
    let store = server.connect().await;
    write(&store, "/k/a", OBJECT).await;
    // A proxy that is cut keeps the cache's connection away while history goes on without it.
    let proxy = crate::tcp_proxy::Proxy::start(&server.options.endpoints[0]).await;
    let options = storage::etcd::Options { endpoints: vec![proxy.endpoint()], ..server.options.clone() };
    let behind: Arc<dyn Backend> = Etcd::connect(options).await.unwrap();
    let cache = Cache::start(behind, "/k/", Arc::new(NoFacts), Options::default());
    cache.ready().await.unwrap();
    let mut watcher = cache.watch(cache.revision(), Filter::prefix("/k/")).unwrap();
    proxy.cut();
    write(&store, "/k/b", OBJECT).await;
    done(store.commit("/k/a", Expect::Any, Op::Delete).await.unwrap());
    let newest = write(&store, "/k/c", OBJECT).await;
    store.compact(newest).await.unwrap();
    proxy.mend();
    assert!(tokio::time::timeout(PATIENCE, watcher.next()).await.unwrap().is_none());
    assert_eq!(watcher.end(), Some(End::Reset));
    tokio::time::timeout(PATIENCE, cache.wait_for(newest)).await.unwrap().unwrap();
    let keys: Vec<_> = cache.snapshot().iter("/k/").map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["/k/b", "/k/c"]);
    assert!(matches!(cache.watch(newest - 2, Filter::prefix("/k/")), Err(Error::Compacted { .. })));
    server.kill();
}

#[tokio::test]
async fn history_is_compacted_by_one_of_all_servers() {
    let Some(server) = etcd_server::start().await else { return };
    let often = storage::etcd::Options { compaction_interval: Duration::from_millis(200), ..server.options.clone() };
    server.connect().await;
    let one: Arc<dyn Backend> = Etcd::connect(often.clone()).await.unwrap();
    let _other = Etcd::connect(often).await.unwrap();
    let first = write(&one, "/a", "1").await;
    let compacted = async {
        loop {
            write(&one, "/a", "2").await;
            let old = storage::RangeRequest {
                start: "/".into(),
                end: String::new(),
                revision: Some(first),
                limit: 0,
                count_only: false,
            };
            match one.range(old).await {
                Err(Error::Compacted { .. }) => break,
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, compacted).await.expect("nothing was compacted");
}

#[tokio::test]
async fn revisions_fetched_together_are_still_later_than_the_writes_before_them() {
    let Some(server) = etcd_server::start().await else { return };
    let store = server.connect().await;
    let readers = (0..32).map(|reader| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                let written = write(&store, &format!("/k/{reader}"), "x").await;
                assert!(store.revision().await.unwrap() >= written);
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn objects_of_one_lifetime_share_a_lease_up_to_a_number() {
    let Some(server) = etcd_server::start().await else { return };
    let store = server.connect().await;
    let mut leases = Vec::new();
    for _ in 0..1_001 {
        leases.push(store.grant_lease(3600).await.unwrap());
    }
    assert!(leases[..1_000].iter().all(|lease| *lease == leases[0]));
    assert_ne!(leases[1_000], leases[0]);
}
