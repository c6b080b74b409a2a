//! subPath mounts: a part of a volume, bound to a place of its own so that the container cannot move it.
//!
//! Links are followed as long as they stay in the volume; one that leads out of it, or starts at the root, fails.
//! What was opened is what is bound: a link that appears between check and use changes nothing.
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Binds `<volume>/<sub_path>` below the pod's folder and returns the place; a missing path becomes a folder.
///
/// # Errors
/// The path leaves the volume, or the system fails.
pub fn bind(
    pod_dir: &Path,
    volume: &str,
    volume_path: &Path,
    container: &str,
    index: usize,
    sub_path: &str,
) -> io::Result<PathBuf> {
    let inside = Path::new(sub_path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("subPath {sub_path:?} must stay in the volume"),
        ));
    }
    let opened = open(volume_path, sub_path)?;
    let target = pod_dir.join("volume-subpaths").join(volume).join(container).join(index.to_string());
    if super::is_mount_point(&target) {
        return Ok(target);
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let directory =
        rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) == rustix::fs::FileType::Directory;
    match directory {
        true => std::fs::create_dir_all(&target)?,
        false => std::fs::write(&target, b"")?,
    }
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    rustix::mount::mount_bind(source, &target)?;
    Ok(target)
}

fn open(volume: &Path, sub_path: &str) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(&root, sub_path, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT) => {
            // As writable as the volume itself, whatever our umask.
            let mode = Mode::from_raw_mode(rustix::fs::fstat(&root)?.st_mode & 0o7777);
            let mut so_far = PathBuf::new();
            for part in Path::new(sub_path).components() {
                so_far.push(part);
                let parent = so_far.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let parent = rustix::fs::openat2(&root, parent, flags, Mode::empty(), resolve)?;
                match rustix::fs::mkdirat(&parent, part.as_os_str(), mode) {
                    Ok(()) => rustix::fs::chmodat(&parent, part.as_os_str(), mode, rustix::fs::AtFlags::empty())?,
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(rustix::fs::openat2(&root, sub_path, flags, Mode::empty(), resolve)?)
        }
        other => Ok(other?),
    }
}
