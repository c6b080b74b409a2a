//! The embedded store on directories that are not as it left them.
use crate::contract::{done, put, write};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::embedded::{Options, Store};
use storage::{Backend, Error, Expect, Op, RangeRequest, Revision, prefix_end};

fn open(dir: &Path) -> Result<Arc<dyn Backend>, Error> {
    Ok(Store::open(dir, Options::default())?)
}

fn refused(dir: &Path) -> String {
    match Store::open(dir, Options::default()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

async fn rows(store: &Arc<dyn Backend>) -> Vec<(String, Vec<u8>)> {
    let range = RangeRequest { start: "/".into(), end: prefix_end("/"), revision: None, limit: 0, count_only: false };
    let found = store.range(range).await.unwrap();
    found.items.into_iter().map(|kv| (kv.key.to_string(), kv.value.to_vec())).collect()
}

#[tokio::test]
async fn a_log_torn_at_any_byte_loses_only_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut ends = Vec::new();
    for number in 0..4 {
        write(&store, &format!("/k{number}"), &"v".repeat(40)).await;
        ends.push(store.size_on_disk().await.unwrap() as usize);
    }
    drop(store);
    let path = logs(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), *ends.last().unwrap(), "closing leaves nothing behind the last frame");
    for len in 0..whole.len() {
        // What a disk may show behind the cut: nothing, zeros, or something old.
        let fillers = if len % 5 == 0 { &[None, Some(0_u8), Some(0xA5)][..] } else { &[None] };
        for &filler in fillers {
            let mut torn = whole[..len].to_vec();
            if let Some(filler) = filler {
                torn.resize(whole.len() + 100, filler);
            }
            fs::write(&path, &torn).unwrap();
            for later in logs(dir.path()).iter().skip(1) {
                fs::remove_file(later).unwrap();
            }
            let store = open(dir.path()).unwrap_or_else(|error| panic!("{len} {filler:?}: {error}"));
            let survivors = ends.iter().filter(|end| **end <= len).count();
            assert_eq!(rows(&store).await.len(), survivors, "{len} {filler:?}");
            let next = write(&store, "/new", "x").await;
            assert_eq!(next, survivors as Revision + 2);
            drop(store);
            let store = open(dir.path()).unwrap();
            assert_eq!(rows(&store).await.len(), survivors + 1, "{len} {filler:?}");
        }
    }
}

#[tokio::test]
async fn damage_to_acknowledged_data_is_refused_not_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..4 {
        write(&store, &format!("/k{number}"), &"v".repeat(40)).await;
    }
    drop(store);
    let path = logs(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let last = whole.len() - 20 - 40;
    for at in (0..last - 60).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let error = refused(dir.path());
        assert!(error.contains("damaged at byte"), "{at}: {error}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(rows(&open(dir.path()).unwrap()).await.len(), 4);
}

#[tokio::test]
async fn a_value_that_changes_on_disk_under_a_running_store_is_not_served() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    write(&store, "/k", &"v".repeat(100)).await;
    let end = store.size_on_disk().await.unwrap();
    let file = fs::OpenOptions::new().write(true).open(&logs(dir.path())[0]).unwrap();
    file.write_all_at(b"!", end - 50).unwrap();
    let read = store.get("/k").await;
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
}

#[tokio::test]
async fn missing_log_files_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options { segment_bytes: 4 << 10, ..Options::default() };
    let store: Arc<dyn Backend> = Store::open(dir.path(), small).unwrap();
    for number in 0..40 {
        write(&store, &format!("/k{number}"), &"v".repeat(400)).await;
    }
    drop(store);
    let paths = logs(dir.path());
    assert!(paths.len() > 3);
    fs::rename(&paths[1], dir.path().join("away")).unwrap();
    assert!(refused(dir.path()).contains("are missing"));
    fs::rename(dir.path().join("away"), &paths[1]).unwrap();
    fs::remove_file(&paths[0]).unwrap();
    assert!(refused(dir.path()).contains("are missing"));
}

#[tokio::test]
async fn old_files_go_and_everything_needed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 16 << 10, slack_bytes: 32 << 10, history_events: 50, ..Options::default() };
    let store: Arc<dyn Backend> = Store::open(dir.path(), options.clone()).unwrap();
    let lease = store.grant_lease(3600).await.unwrap();
    let op = Op::Put { value: "leased".into(), lease };
    done(store.commit("/cold/leased", Expect::Any, op).await.unwrap());
    write(&store, "/cold/deleted", "x").await;
    store.commit("/cold/deleted", Expect::Any, Op::Delete).await.unwrap();
    for number in 0..20 {
        write(&store, &format!("/cold/{number}"), &"c".repeat(500)).await;
    }
    let mut newest = 0;
    for number in 0..1_500 {
        newest = write(&store, &format!("/hot/{}", number % 3), &format!("{number} {}", "h".repeat(300))).await;
    }
    // 21 cold keys of 0.5 kB, 3 hot ones, 50 old versions of 0.3 kB: about 30 kB are needed.
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.size_on_disk().await.unwrap() > 140 << 10 {
        assert!(Instant::now() < deadline, "{} bytes are left", store.size_on_disk().await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pinned = RangeRequest {
        start: "/hot/".into(),
        end: "/hot0".into(),
        revision: Some(newest - 20),
        limit: 0,
        count_only: false,
    };
    let old = store.range(pinned.clone()).await.unwrap();
    let before = rows(&store).await;
    assert_eq!(before.len(), 24);
    drop(store);
    let files = logs(dir.path());
    assert!(!files[0].ends_with("0000000001.log"), "{files:?}");
    let store: Arc<dyn Backend> = Store::open(dir.path(), options).unwrap();
    assert_eq!(rows(&store).await, before);
    assert_eq!(store.revision().await.unwrap(), newest);
    assert_eq!(store.range(pinned).await.unwrap().items, old.items);
    let leased = store.get("/cold/leased").await.unwrap().0.unwrap();
    assert_eq!(leased.lease, lease);
    let op = Op::Put { value: "leased".into(), lease };
    done(store.commit("/cold/another", Expect::Any, op).await.unwrap());
}

#[tokio::test]
async fn a_lease_goes_on_counting_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let begun = Instant::now();
    let lease = store.grant_lease(2).await.unwrap();
    done(store.commit("/k", Expect::Any, Op::Put { value: "v".into(), lease }).await.unwrap());
    drop(store);
    let store = open(dir.path()).unwrap();
    assert!(store.get("/k").await.unwrap().0.is_some());
    while store.get("/k").await.unwrap().0.is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let unknown = store.commit("/k", Expect::Any, Op::Put { value: "v".into(), lease }).await;
    assert!(matches!(unknown, Err(Error::LeaseNotFound)));
    drop(store);
    assert!(open(dir.path()).unwrap().get("/k").await.unwrap().0.is_none());
}

#[tokio::test]
async fn directories_that_cannot_be_used_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/data");
    let store = open(&path).unwrap();
    let in_use = refused(&path);
    let pid = std::process::id();
    assert!(in_use.contains(&format!("is in use by process {pid}; stop that one first")), "{in_use}");
    drop(store);

    fs::write(path.join("FORMAT"), "ferrokube embedded store 2\n").unwrap();
    let newer = refused(&path);
    assert!(newer.contains("written by a newer ferrokube (format 2, this one knows 1)"), "{newer}");
    fs::write(path.join("FORMAT"), "something else").unwrap();
    assert!(refused(&path).contains("is not a ferrokube data directory"));

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "precious").unwrap();
    let error = refused(&foreign);
    assert!(error.contains("thesis.tex") && error.contains("use an empty or new one"), "{error}");
    assert_eq!(fs::read(foreign.join("thesis.tex")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "nothing is left in it");

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refused(&file).contains("it must be a directory"));
}

#[tokio::test]
async fn only_the_owner_may_look_into_the_directory() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    for existing in [false, true] {
        let path = dir.path().join(existing.to_string());
        if existing {
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let _store = open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

/// A file system of its own; `None`, with the reason printed, where none can be mounted.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, options: &str) -> Option<Mounted> {
        fs::create_dir_all(path).unwrap();
        let mount =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        match mount {
            Ok(output) if output.status.success() => Some(Mounted(path.to_owned())),
            Ok(output) => {
                eprintln!("without a file system to fill: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("without a file system to fill: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let done = std::process::Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_fails_writes_until_there_is_space_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&dir.path().join("small"), "size=2m") else { return };
    let path = mounted.0.join("data");
    let store = open(&path).unwrap();
    fs::write(mounted.0.join("ballast"), vec![0; 1 << 20]).unwrap();
    let mut written = Vec::new();
    let full = loop {
        let key = format!("/k/{:04}", written.len());
        match store.commit(&key, Expect::Absent, put(vec![b'v'; 10_000])).await {
            Ok(_) => written.push(key),
            Err(error) => break error,
        }
        assert!(written.len() < 1_000);
    };
    assert!(matches!(full, Error::NoSpace(_)), "{full}");
    assert!(written.len() > 20, "{} fit", written.len());
    // Reads go on, and so do writes that fit or wait for space.
    assert_eq!(rows(&store).await.len(), written.len());
    let again = store.commit("/big", Expect::Absent, put(vec![b'v'; 500_000])).await;
    assert!(matches!(again, Err(Error::NoSpace(_))), "{again:?}");
    fs::remove_file(mounted.0.join("ballast")).unwrap();
    let after = store.revision().await.unwrap();
    let revision = done(store.commit("/big", Expect::Absent, put(vec![b'v'; 500_000])).await.unwrap());
    assert_eq!(revision, after + 1, "a failed write takes no revision");
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(rows(&store).await.len(), written.len() + 1);
    drop(store);

    mounted.remount("remount,ro");
    let error = refused(&path);
    assert!(error.contains("is mounted read-only"), "{error}");
    mounted.remount("remount,rw");
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_keeps_the_ones_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 8 << 10, slack_bytes: 8 << 10, history_events: 5, ..Options::default() };
    let store: Arc<dyn Backend> = Store::open(dir.path(), options.clone()).unwrap();
    write(&store, "/k", "x").await;
    // A mount point cannot be removed.
    let first = logs(dir.path()).remove(0);
    let second = first.with_file_name("0000000002.log");
    let bound = std::process::Command::new("mount").arg("--bind").arg(&first).arg(&first).output();
    if !bound.is_ok_and(|output| output.status.success()) {
        eprintln!("without a file that cannot be removed: nothing can be mounted");
        return;
    }
    let mounted = Mounted(first);
    while !second.exists() {
        write(&store, "/k", &"v".repeat(300)).await;
    }
    // After a failure it rests for two seconds before it tries again.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(4500) {
        write(&store, "/k", &"v".repeat(300)).await;
        assert!(second.exists(), "removed before the first");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    write(&store, "/k", "last").await;
    drop(store);
    drop(mounted);
    let store: Arc<dyn Backend> = Store::open(dir.path(), options).unwrap();
    assert_eq!(rows(&store).await, [("/k".to_owned(), b"last".to_vec())]);
}
