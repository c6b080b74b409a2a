//! A writer is killed at random points, again and again, on one directory.
//!
//! The writer is this test binary run anew with a variable set; it writes from several tasks and
//! reports each acknowledged commit on its standard output. What it reported must be there after the
//! next opening; what it did not report may be there, but only whole.
use crate::contract::{done, put};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::embedded::{Options, Store};
use storage::{Backend, Expect, Op, RangeRequest, Revision, WatchMessage, prefix_end};

const DIRECTORY: &str = "STORAGE_CRASH_DIRECTORY";
const SEED: &str = "STORAGE_CRASH_SEED";
const ROUNDS: u64 = 300;
const BUDGET: Duration = Duration::from_secs(50);
const TASKS: u64 = 4;
const KEYS: u64 = 40;

/// Small files, so that rotation and cleaning are killed as well.
fn options() -> Options {
    Options { segment_bytes: 64 << 10, slack_bytes: 64 << 10, history_events: 300, ..Options::default() }
}

/// A value that proves itself whole: its key, number and length, then filler.
fn value(key: &str, number: u64) -> String {
    let len = (number * 7919) % 4000;
    format!("{key} {number} {len} {}", "x".repeat(len as usize))
}

fn assert_whole(key: &str, value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).expect("text");
    let parts: Vec<_> = text.split(' ').collect();
    assert_eq!(parts[0], key);
    assert_eq!(parts[3].len().to_string(), parts[2], "half a value under {key}");
    parts[1].parse().unwrap()
}

/// The child: writes until it is killed. Does nothing in an ordinary test run.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(DIRECTORY) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(Path::new(&dir), options()).unwrap();
        let tasks = (0..TASKS).map(|task| tokio::spawn(write_on(store.clone(), task, seed)));
        futures::future::join_all(tasks).await;
    });
}

async fn write_on(store: Arc<Store>, task: u64, seed: u64) {
    let mut random = seed * TASKS + task + 1;
    for number in 0.. {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = format!("/k/{task}/{:02}", (random >> 33) % KEYS);
        if (random >> 50).is_multiple_of(5) {
            let revision = done(store.commit(&key, Expect::Any, Op::Delete).await.unwrap());
            report(format!("D {revision} {key} -"));
        } else {
            let number = seed * 1_000_000 + number;
            let revision = done(store.commit(&key, Expect::Any, put(value(&key, number))).await.unwrap());
            report(format!("P {revision} {key} {number}"));
        }
    }
}

fn report(line: String) {
    let mut out = std::io::stdout().lock();
    // Killed in the middle of it, at worst; the reader drops a line without an end.
    let _ = writeln!(out, "\nACK {line} END").and_then(|()| out.flush());
}

/// What was acknowledged last for a key.
#[derive(Clone, Debug, PartialEq)]
struct Acknowledged {
    revision: Revision,
    number: Option<u64>,
}

#[test]
fn every_acknowledged_write_survives_kill_at_any_point() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut acknowledged: BTreeMap<String, Acknowledged> = BTreeMap::new();
    let mut newest = 1;
    let mut total = 0;
    let mut rounds = 0;
    for seed in 0..ROUNDS {
        if begun.elapsed() > BUDGET {
            break;
        }
        total += one_life(dir.path(), seed, &mut acknowledged);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        newest = runtime.block_on(verify(dir.path(), newest, &mut acknowledged));
        rounds += 1;
    }
    eprintln!("{rounds} kills, {total} acknowledged commits, revision {newest}, {:?}", begun.elapsed());
    assert!(rounds >= 20 && total > 500, "{rounds} rounds with {total} commits prove little");
}

/// Returns how many commits were acknowledged.
fn one_life(dir: &Path, seed: u64, acknowledged: &mut BTreeMap<String, Acknowledged>) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut count = 0;
    let mut apply = |line: String| {
        let Some(text) = line.strip_prefix("ACK ").and_then(|text| text.strip_suffix(" END")) else { return };
        let [kind, revision, key, number] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let revision = revision.parse().unwrap();
        // A delete of nothing reports the revision it was true at.
        let number = (kind == "P").then(|| number.parse().unwrap());
        let entry = acknowledged.entry(key.to_owned()).or_insert(Acknowledged { revision: 0, number: None });
        if revision >= entry.revision {
            *entry = Acknowledged { revision, number };
        }
        count += 1;
    };
    // The time to live differs: some are killed while they open the store, some while they clean.
    let lifetime = Duration::from_micros(2_000 + (seed * 7_919) % 60_000);
    if !seed.is_multiple_of(4) {
        lines.by_ref().find(|line| line.starts_with("ACK ")).into_iter().for_each(&mut apply);
    }
    let killer = std::thread::spawn(move || {
        // Not waiting for anything: the moment is meant to be arbitrary.
        std::thread::sleep(lifetime);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    lines.for_each(&mut apply);
    killer.join().unwrap();
    count
}

/// Opens what the dead writer left, and returns the newest revision.
async fn verify(dir: &Path, before: Revision, acknowledged: &mut BTreeMap<String, Acknowledged>) -> Revision {
    let store = Store::open(dir, options()).unwrap();
    let range =
        RangeRequest { start: "/k/".into(), end: prefix_end("/k/"), revision: None, limit: 0, count_only: false };
    let state = store.range(range.clone()).await.unwrap();
    assert!(state.revision >= before, "the revision went from {before} back to {}", state.revision);
    let mut found = BTreeMap::new();
    for kv in &state.items {
        let number = assert_whole(&kv.key, &kv.value);
        assert!(kv.create_revision <= kv.mod_revision && kv.mod_revision <= state.revision);
        found.insert(kv.key.to_string(), Acknowledged { revision: kv.mod_revision, number: Some(number) });
    }
    for (key, expected) in acknowledged.iter() {
        assert!(expected.revision <= state.revision, "{key} lost revision {}", expected.revision);
        match found.get(key) {
            // One later commit may have become durable without its acknowledgement getting out.
            Some(now) => {
                assert!(now == expected || now.revision > expected.revision, "{key}: {expected:?}, found {now:?}")
            }
            None if expected.number.is_none() => {}
            None => {
                let deleted_later = deleted_after(&store, key, expected.revision).await;
                assert!(deleted_later, "{key} lost {expected:?}");
            }
        }
    }
    watch_agrees(&store, &state.items, state.revision).await;
    // What was found now is durable, and is the ground for the next life.
    *acknowledged = found;
    state.revision
}

/// Every event of the history is there once, in order, and leads to the current state.
async fn watch_agrees(store: &Arc<Store>, items: &[storage::KeyValue], revision: Revision) {
    if revision == 1 {
        return;
    }
    let mut from = revision.saturating_sub(200).max(2);
    let mut watch = loop {
        match store.watch("/k/", from).await {
            Ok(watch) => break watch,
            Err(storage::Error::Compacted { oldest, .. }) => from = oldest,
            Err(error) => panic!("{error}"),
        }
    };
    let pinned =
        RangeRequest { start: "/k/".into(), end: prefix_end("/k/"), revision: Some(from), limit: 0, count_only: false };
    let mut state: BTreeMap<_, _> =
        store.range(pinned).await.unwrap().items.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
    let mut next = from;
    while next <= revision {
        let WatchMessage::Events(events) = watch.next().await.unwrap().unwrap() else { break };
        for event in events {
            assert_eq!(event.kv.mod_revision, next, "an event is missing or repeated");
            if next > from {
                let previous = if event.deleted {
                    state.remove(&event.kv.key)
                } else {
                    state.insert(event.kv.key.clone(), event.kv)
                };
                assert_eq!(event.previous, previous);
            }
            next += 1;
        }
    }
    assert!(state.values().eq(items), "the watch leads to another state");
}

async fn deleted_after(store: &Arc<Store>, key: &str, revision: Revision) -> bool {
    let mut from = revision;
    loop {
        match store.watch(key, from).await {
            Ok(mut watch) => {
                let message = futures::FutureExt::now_or_never(watch.next());
                // Reading may hand over to a thread: wait for it.
                let message = match message {
                    Some(message) => message,
                    None => tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap(),
                };
                return match message {
                    Some(Ok(WatchMessage::Events(events))) => events.iter().any(|event| event.deleted),
                    _ => false,
                };
            }
            // Too long ago to tell who deleted it; then it was acknowledged long ago as well.
            Err(storage::Error::Compacted { oldest, .. }) if oldest > from => from = oldest,
            Err(error) => panic!("{error}"),
        }
    }
}
