//! The lock that says a cluster's process runs, and starting that process in the background.
use super::{containerd::open_log, layout::Layout, steps};
use anyhow::{Context, Result, anyhow};
use rustix::{
    fs::{FlockOperation, flock},
    process::Pid,
};
use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long another command may take.
const TURN_PATIENCE: Duration = Duration::from_secs(120);
const TURN_POLL: Duration = Duration::from_millis(50);
/// The word for the cluster's own process, which users have no use for.
pub const SERVE: &str = "serve-cluster";

/// Held as long as the cluster's process lives; the kernel lets go of it whatever happens.
pub struct Lock {
    _file: File,
}

/// `start`, `stop` and `delete` of one data directory take turns.
pub struct Turn {
    _folder: File,
}

/// Waits until no other process starts, stops or deletes the cluster; the data directory is there.
///
/// # Errors
/// The directory is gone, or the other process does not come to an end.
pub fn turn(layout: &Layout) -> Result<Turn> {
    let root = layout.root();
    let deadline = Instant::now() + TURN_PATIENCE;
    loop {
        let folder = File::open(root).with_context(|| format!("opening {}", root.display()))?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            // Deleted, and perhaps made anew, in between: then it is another folder that counts.
            Ok(()) if is_still(&folder, root) => return Ok(Turn { _folder: folder }),
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error).with_context(|| format!("locking {}", root.display())),
        }
        if Instant::now() > deadline {
            return Err(anyhow!("another process is starting, stopping or deleting the cluster in {}", root.display()));
        }
        std::thread::sleep(TURN_POLL);
    }
}

fn is_still(folder: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (open, now) = (folder.metadata().map(identity), fs::metadata(path).map(identity));
    open.ok().is_some_and(|open| now.ok() == Some(open))
}

fn lock_file(layout: &Layout) -> Result<File> {
    let path = layout.lock();
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(&path).with_context(|| format!("opening {}", path.display()))
}

/// Take the lock and write our process ID into it; `None` when another process holds it.
///
/// # Errors
/// The data directory cannot be written.
pub fn lock(layout: &Layout) -> Result<Option<Lock>> {
    let mut file = lock_file(layout)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error).context("locking the data directory"),
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())?;
    Ok(Some(Lock { _file: file }))
}

/// The process that holds the lock.
pub fn running(layout: &Layout) -> Option<Pid> {
    let mut file = File::open(layout.lock()).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// Ask the process to end, then insist. Whether there was one.
///
/// # Errors
/// It cannot be signalled.
pub fn end(layout: &Layout, patience: Duration) -> Result<bool> {
    let Some(pid) = running(layout) else { return Ok(false) };
    end_process(pid, patience, || running(layout).is_none())?;
    Ok(true)
}

/// As [`end`], when the lock has been removed: the process is known by its words.
///
/// # Errors
/// It cannot be signalled.
pub fn end_orphan(layout: &Layout, patience: Duration) -> Result<()> {
    let root = layout.root().as_os_str().as_encoded_bytes();
    let is_ours = |words: &[&[u8]]| words.get(1) == Some(&SERVE.as_bytes()) && words.contains(&root);
    for pid in processes().filter(|pid| runs(*pid, is_ours)) {
        end_process(pid, patience, || !runs(pid, is_ours))?;
    }
    Ok(())
}

/// Those of this machine.
pub fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Whether a process is there and was started with such words; the first is the program.
pub fn runs(pid: Pid, such: impl Fn(&[&[u8]]) -> bool) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    such(&line.split(|byte| *byte == 0).collect::<Vec<_>>())
}

/// SIGTERM, and SIGKILL once `patience` is over.
///
/// # Errors
/// It cannot be signalled.
pub fn end_process(pid: Pid, patience: Duration, gone: impl Fn() -> bool) -> Result<()> {
    use rustix::process::{Signal, kill_process};
    for (signal, wait) in [(Signal::TERM, patience), (Signal::KILL, Duration::from_secs(5))] {
        match kill_process(pid, signal) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error).context("ending a process"),
        }
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline {
            if gone() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Err(anyhow!("process {} does not end", pid.as_raw_nonzero()))
}

/// Start `serve` in the background and show its steps until it is ready.
///
/// # Errors
/// Why the cluster did not become ready.
pub fn launch(layout: &Layout, executable: &Path, verbosity: u8) -> Result<()> {
    let (read, write) = rustix::pipe::pipe().context("making a pipe")?;
    let log = open_log(&layout.log("ferrokube"))?;
    let mut command = Command::new(executable);
    command
        .arg(SERVE)
        .arg("--data-dir")
        .arg(layout.root())
        .arg(format!("--report-fd={}", write.as_raw_fd()))
        .arg(format!("--v={verbosity}"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut child = command.spawn().context("starting the cluster's process")?;
    drop(write);
    let followed = steps::follow(File::from(read));
    if followed.is_err() {
        // It ends by itself after reporting; make sure of it.
        let _ = end(layout, Duration::from_secs(15));
        let _ = child.wait();
    }
    followed.map_err(|why| anyhow!("{why}\nThe log: {}", layout.log("ferrokube").display()))
}

/// The reporting end that our parent gave us, and a session of our own, so that no terminal ends us.
///
/// # Errors
/// The descriptor is not open.
pub fn detach(report_fd: i32) -> Result<File> {
    // Fails only when we lead a session already.
    let _ = rustix::process::setsid();
    // SAFETY: our parent made this descriptor for us and nothing else in this process uses it.
    let pipe = unsafe { OwnedFd::from_raw_fd(report_fd) };
    rustix::io::fcntl_setfd(&pipe, rustix::io::FdFlags::CLOEXEC).context("--report-fd")?;
    Ok(File::from(pipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_one_another_and_the_folder() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().join("data");
        fs::create_dir(&root).expect("made");
        let layout = Layout::new(&root).expect("layout");
        let first = turn(&layout).expect("a turn");
        let other = std::thread::spawn({
            let layout = layout.clone();
            move || turn(&layout)
        });
        // Whoever waited for the old folder must get the new one. It is taken before it is there: nobody sees a gap.
        let new = dir.path().join("new");
        fs::create_dir(&new).expect("made");
        let second = turn(&Layout::new(&new).expect("layout")).expect("a turn in the new folder");
        fs::rename(&new, &root).expect("replaced");
        drop(first);
        assert!(!other.is_finished());
        drop(second);
        assert!(is_still(&other.join().expect("no panic").expect("a turn")._folder, &root));
        fs::remove_dir(&root).expect("removed");
        assert!(turn(&layout).is_err());
    }
}
