//! Tables of entries and queries, and whole logs read from a folder.
#![allow(clippy::unwrap_used)]
use super::*;
use std::path::Path;

fn query(text: &str) -> Vec<(String, String)> {
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

#[test]
fn entries() {
    for (entry, wanted) in [
        ("2026-01-01T00:00:00Z stdout F hello world", Some((Stream::Stdout, false, "hello world"))),
        ("2026-01-01T00:00:00Z stderr P:x part", Some((Stream::Stderr, true, "part"))),
        ("2026-01-01T00:00:00Z stdout F ", Some((Stream::Stdout, false, ""))),
        ("2026-01-01T00:00:00Z stdin F x", None),
        ("2026-01-01T00:00:00Z stdout X x", None),
        ("nonsense", None),
        ("", None),
    ] {
        let found = parse(entry.as_bytes()).map(|l| (l.stream, l.partial, std::str::from_utf8(l.text).unwrap()));
        assert_eq!(found, wanted, "{entry}");
    }
}

#[test]
fn queries() {
    let now: jiff::Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
    let parsed = Options::parse(&query("follow=true&tailLines=5&timestamps=1&limitBytes=9&sinceSeconds=60"), now);
    let wanted = Options {
        follow: true,
        tail: Some(5),
        timestamps: true,
        limit_bytes: Some(9),
        since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        ..Options::default()
    };
    assert_eq!(parsed, Ok(wanted));
    for (text, refusal) in [
        ("tailLines=x", Refusal::Undecodable),
        ("sinceTime=yesterday", Refusal::Undecodable),
        ("tailLines=-1", Refusal::Invalid),
        ("limitBytes=0", Refusal::Invalid),
        ("sinceSeconds=0", Refusal::Invalid),
        ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", Refusal::Invalid),
        ("stream=Both", Refusal::Invalid),
        ("stream=Stdout&tailLines=1", Refusal::Invalid),
    ] {
        assert_eq!(Options::parse(&query(text), now), Err(refusal), "{text}");
    }
    let follow = |text| Options::parse(&query(text), now).unwrap().follow;
    assert_eq!([follow("follow=false"), follow("follow=0"), follow("follow=")], [false, false, true]);
    assert_eq!(Options::parse(&query("tail=all"), now), Ok(Options::default()));
}

const OLD: &str = "2026-01-01T00:00:01.5Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n";
const NEW: &str = "2026-01-01T00:00:03Z stdout P thr\n2026-01-01T00:00:03Z stdout F ee\nbroken\n\
                   2026-01-01T00:00:04Z stdout F four";

async fn text(path: &Path, options: &Options) -> String {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(4);
    let collect = async {
        let mut all = Vec::new();
        while let Some(part) = receiver.recv().await {
            all.extend_from_slice(&part);
        }
        String::from_utf8(all).unwrap()
    };
    let (ended, all) = tokio::join!(read(path, options, sender, || async { true }), collect);
    ended.unwrap();
    all
}

#[tokio::test]
async fn a_log_with_a_rotated_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    std::fs::write(folder.path().join("0.log.20260101-000002"), OLD).unwrap();
    std::fs::write(folder.path().join("0.log.20250101-000002.gz"), "compressed").unwrap();
    std::fs::write(&path, NEW).unwrap();
    let since = Some("2026-01-01T00:00:03Z".parse().unwrap());
    for (options, wanted) in [
        (Options::default(), "one\ntwo\nthree\nfour\n"),
        (Options { tail: Some(0), ..Options::default() }, ""),
        (Options { tail: Some(1), ..Options::default() }, "four\n"),
        (Options { tail: Some(5), ..Options::default() }, "two\nthree\nfour\n"),
        (Options { tail: Some(50), ..Options::default() }, "one\ntwo\nthree\nfour\n"),
        (Options { since, ..Options::default() }, "three\nfour\n"),
        (Options { limit_bytes: Some(5), ..Options::default() }, "one\nt"),
        (Options { stream: Some(Stream::Stderr), ..Options::default() }, "two\n"),
        (
            Options { timestamps: true, limit_bytes: Some(68), ..Options::default() },
            "2026-01-01T00:00:01.500000000Z one\n2026-01-01T00:00:02.000000000Z tw",
        ),
    ] {
        assert_eq!(text(&path, &options).await, wanted, "{options:?}");
    }
    assert_eq!(last_lines(path.to_str().unwrap(), 2, 100).as_deref(), Some("four\n"));
    assert_eq!(last_lines(path.to_str().unwrap(), 9, 8).as_deref(), Some("ee\nfour\n"));
    assert_eq!(last_lines("/nowhere", 9, 8), None);
}

#[tokio::test(start_paused = true)]
async fn following_goes_on_across_a_rotation_until_the_container_stops() {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    std::fs::write(&path, OLD).unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let stopped = std::sync::Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (path, stopped) = (path.clone(), stopped.clone());
        let options = Options { follow: true, tail: Some(1), ..Options::default() };
        async move { read(&path, &options, sender, || async { stopped.load(Ordering::Relaxed) }).await }
    });
    assert_eq!(receiver.recv().await.unwrap(), "two\n");
    let mut old = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    old.write_all(b"2026-01-01T00:00:03Z stdout F thr").unwrap();
    old.write_all(b"ee\n").unwrap();
    std::fs::rename(&path, super::rotate::rotated_name(&path, jiff::Timestamp::UNIX_EPOCH)).unwrap();
    std::fs::write(&path, "2026-01-01T00:00:04Z stdout F four\n").unwrap();
    assert_eq!(receiver.recv().await.unwrap(), "three\n");
    assert_eq!(receiver.recv().await.unwrap(), "four\n");
    stopped.store(true, Ordering::Relaxed);
    assert_eq!(receiver.recv().await, None);
    reading.await.unwrap().unwrap();
}

#[test]
fn the_start_of_the_last_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let long = format!("{}\n", "x".repeat(CHUNK));
    for (content, lines, wanted) in [
        ("", 1, (0, 0)),
        ("a\nb\n", 0, (4, 0)),
        ("a\nb\n", 1, (2, 1)),
        ("a\nb", 1, (2, 1)),
        ("a\nb\n", 2, (0, 2)),
        ("a\nb\n", 3, (0, 2)),
        (&format!("{long}{long}b\n"), 2, (long.len() as u64, 2)),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(tail_start(&mut File::open(&path).unwrap(), lines).unwrap(), wanted, "{lines}");
    }
    assert_eq!(
        super::rotate::rotated_name(Path::new("/l/0.log"), jiff::Timestamp::UNIX_EPOCH),
        Path::new("/l/0.log.19700101-000000")
    );
}
