//! How much disk folders take: bytes and inodes, as `du` counts them.
//!
//! Walking is not free. A folder is walked again only once twenty times as long has passed as the last walk took,
//! so that at most a twentieth of a core goes into it.
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const REST: u32 = 20;
/// A result younger than this is as good as new.
const FRESH: Duration = Duration::from_secs(5);
/// What nobody asked about for so long is forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// What a folder takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub bytes: u64,
    pub inodes: u64,
}

impl Taken {
    /// Both together.
    pub fn and(self, other: Taken) -> Taken {
        Taken { bytes: self.bytes.saturating_add(other.bytes), inodes: self.inodes.saturating_add(other.inodes) }
    }
}

struct Walked {
    taken: Taken,
    at: Instant,
    again: Instant,
}

/// The last walks. Bounded by the folders asked about lately.
#[derive(Default)]
pub struct DiskUsage(Mutex<HashMap<PathBuf, Walked>>);

impl DiskUsage {
    /// What `folder` takes, not necessarily of this moment. Nothing, if it is not there.
    pub async fn of(&self, folder: &Path) -> Taken {
        if let Some(known) = self.0.lock().get(folder).filter(|known| known.again > Instant::now()) {
            return known.taken;
        }
        let path = folder.to_owned();
        let began = Instant::now();
        let taken = tokio::task::spawn_blocking(move || walk(&path)).await.unwrap_or_default();
        let now = Instant::now();
        let again = now + (now.duration_since(began) * REST).max(FRESH);
        let mut all = self.0.lock();
        all.retain(|_, known| now.duration_since(known.at) < FORGET);
        all.insert(folder.to_owned(), Walked { taken, at: now, again });
        taken
    }
}

/// Counts each inode once and stays on the folder's file system.
fn walk(folder: &Path) -> Taken {
    let mut taken = Taken::default();
    let Ok(top) = std::fs::symlink_metadata(folder) else { return taken };
    let (device, mut linked, mut left) = (top.dev(), HashSet::new(), vec![folder.to_owned()]);
    let mut count = |metadata: &std::fs::Metadata| {
        if metadata.nlink() > 1 && !metadata.is_dir() && !linked.insert(metadata.ino()) {
            return;
        }
        taken.bytes = taken.bytes.saturating_add(metadata.blocks().saturating_mul(512));
        taken.inodes += 1;
    };
    count(&top);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() != device {
                continue;
            }
            count(&metadata);
            if metadata.is_dir() {
                left.push(entry.path());
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let inside = dir.path().join("a");
        std::fs::create_dir(&inside).expect("made");
        std::fs::write(inside.join("f"), vec![1_u8; 100_000]).expect("written");
        let before = walk(dir.path());
        assert_eq!(before.inodes, 3);
        assert!(before.bytes >= 100_000, "{before:?}");
        std::fs::hard_link(inside.join("f"), inside.join("g")).expect("linked");
        assert_eq!(walk(dir.path()).inodes, 3);
        assert_eq!(walk(&dir.path().join("none")), Taken::default());
    }
}
