//! The hot paths of storage: durable writes, reads, and handing one change to many watchers.
//!
//! Writes include the sync, so they measure the disk under the temporary directory as well.
#![allow(clippy::unwrap_used)]
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use storage::cache::{Cache, Extract, Facts, Filter, Options};
use storage::embedded::Store;
use storage::{Backend, Expect, Op, RangeRequest, prefix_end};
use tokio::runtime::Runtime;

struct NoFacts;

impl Extract for NoFacts {
    fn extract(&self, _key: &str, _value: &Bytes) -> Result<Facts, String> {
        Ok(Facts::default())
    }
}

/// About 1 KiB, as the reference figures' ConfigMap.
fn object() -> Bytes {
    format!(r#"{{"kind":"ConfigMap","metadata":{{"name":"x"}},"data":{{"text":"{}"}}}}"#, "d".repeat(950)).into()
}

fn put() -> Op {
    Op::Put { value: object(), lease: 0 }
}

fn store(runtime: &Runtime, objects: usize) -> (tempfile::TempDir, Arc<dyn Backend>) {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Backend> = Store::open(dir.path(), Default::default()).unwrap();
    runtime.block_on(async {
        let filled = (0..objects).map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(&format!("/r/{number:05}"), Expect::Any, put()).await.unwrap() })
        });
        futures::future::join_all(filled.collect::<Vec<_>>()).await;
    });
    (dir, store)
}

fn backend(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (_dir, store) = store(&runtime, 10_000);
    let mut group = criterion.benchmark_group("embedded");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    group.bench_function("put, one at a time", |bencher| {
        bencher.to_async(&runtime).iter(|| async { store.commit("/w/one", Expect::Any, put()).await.unwrap() });
    });
    group.throughput(Throughput::Elements(128));
    group.bench_function("put, 128 at once", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let puts = (0..128).map(|number| {
                let store = store.clone();
                tokio::spawn(async move { store.commit(&format!("/w/{number}"), Expect::Any, put()).await.unwrap() })
            });
            futures::future::join_all(puts.collect::<Vec<_>>()).await
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |bencher| {
        bencher.to_async(&runtime).iter(|| async { black_box(store.get("/r/05000").await.unwrap()) });
    });
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("range of 10,000", |bencher| {
        let all =
            RangeRequest { start: "/r/".into(), end: prefix_end("/r/"), revision: None, limit: 0, count_only: false };
        bencher.to_async(&runtime).iter(|| async { black_box(store.range(all.clone()).await.unwrap()) });
    });
    group.finish();
}

fn cache(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (_dir, store) = store(&runtime, 10_000);
    let cache = runtime.block_on(async {
        let cache = Cache::start(store.clone(), "/r/", Arc::new(NoFacts), Options::default());
        cache.ready().await.unwrap();
        cache
    });
    let mut group = criterion.benchmark_group("cache");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    group.bench_function("get", |bencher| bencher.iter(|| black_box(cache.get("/r/05000"))));
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("list of 10,000", |bencher| {
        bencher.iter(|| cache.snapshot().iter("/r/").map(|entry| entry.json.len()).sum::<usize>());
    });
    const WATCHERS: usize = 500;
    const EVENTS: usize = 200;
    group.throughput(Throughput::Elements((WATCHERS * EVENTS) as u64));
    group.bench_function("500 watchers, 200 events", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let start = cache.revision();
            let watchers = (0..WATCHERS).map(|_| {
                let mut watcher = cache.watch(start, Filter::prefix("/r/")).unwrap();
                tokio::spawn(async move {
                    let mut seen = 0;
                    let mut bytes = 0;
                    while seen < EVENTS {
                        let batch = watcher.next().await.expect("the watch goes on");
                        seen += batch.len();
                        bytes += batch.frames().len();
                    }
                    bytes
                })
            });
            let watchers: Vec<_> = watchers.collect();
            let writes = (0..EVENTS).map(|number| {
                let cache = cache.clone();
                async move {
                    cache.commit(&format!("/r/{number:05}"), Expect::Any, put(), Some(Facts::default())).await.unwrap()
                }
            });
            futures::future::join_all(writes).await;
            futures::future::join_all(watchers).await
        });
    });
    group.finish();
}

fn start(criterion: &mut Criterion) {
    const OBJECTS: usize = 100_000;
    let runtime = Runtime::new().unwrap();
    let (dir, store) = store(&runtime, OBJECTS);
    drop(store);
    let mut group = criterion.benchmark_group("start");
    group.sample_size(10).measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_millis(300));
    group.throughput(Throughput::Elements(OBJECTS as u64));
    group.bench_function("open with 100,000 objects", |bencher| {
        bencher.iter(|| Store::open(dir.path(), Default::default()).unwrap());
    });
    group.bench_function("open and load the cache", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let store = loop {
                // The one before may still be closing.
                match Store::open(dir.path(), Default::default()) {
                    Ok(store) => break store,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            let cache = Cache::start(store, "/r/", Arc::new(NoFacts), Options::default());
            cache.ready().await.unwrap();
            assert_eq!(cache.snapshot().len(), OBJECTS);
        });
    });
    group.finish();
}

criterion_group!(benches, backend, cache, start);
criterion_main!(benches);
