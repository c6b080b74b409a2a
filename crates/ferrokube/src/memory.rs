//! Little memory for a small, mostly idle cluster.
//!
//! Small pages: the allocator asks for huge ones, and a process then keeps twice what it uses (37 to 44 MB of
//! anonymous memory instead of 21 MB, measured on an idle cluster). The setting is inherited over `fork` and `exec`;
//! containers are not ours to decide for.
//!
//! Code: starting runs through most of it, waiting through little. What is mapped from files and cannot have changed
//! leaves memory once the cluster has started, and what is needed again comes back page by page.
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::{
    fs, io,
    ops::Range,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
};

/// No huge pages for this process from now on.
pub fn small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}

/// The system's own setting for the process that `command` starts.
#[allow(unsafe_code)]
pub fn system_pages(command: &mut Command) {
    let restore = || rustix::thread::disable_transparent_huge_pages(false).map_err(io::Error::from);
    // SAFETY: between fork and exec the closure makes one system call; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(restore) };
}

/// The pages of this process that its files hold as well leave it; they stay in the page cache.
///
/// # Errors
/// The kernel's.
#[allow(unsafe_code)]
pub fn release_own_code() -> io::Result<()> {
    for range in unchanged_mappings(&fs::read_to_string("/proc/self/smaps")?) {
        let address = std::ptr::without_provenance_mut(range.start);
        // SAFETY: the mapping is private, read-only and without a page of its own, so the file has the same bytes.
        if unsafe { libc::madvise(address, range.len(), libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The same for another process, whose pages the kernel then also reclaims.
///
/// # Errors
/// The kernel's: the process is gone, or `process_madvise` needs a newer kernel (5.10).
#[allow(unsafe_code)]
pub fn release_code_of(pid: Pid) -> io::Result<()> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", pid.as_raw_nonzero()))?;
    for range in unchanged_mappings(&smaps) {
        let part = libc::iovec { iov_base: std::ptr::without_provenance_mut(range.start), iov_len: range.len() };
        let (fd, parts) = (process.as_raw_fd(), &raw const part);
        // SAFETY: `part` outlives the call; this advice changes no memory's content.
        if unsafe { libc::syscall(libc::SYS_process_madvise, fd, parts, 1_usize, libc::MADV_PAGEOUT, 0_u32) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Private read-only mappings of files that hold no page of their own (relocated constants are such pages),
/// from `/proc/<pid>/smaps` (proc_pid_smaps(5)).
fn unchanged_mappings(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(anonymous) = line.strip_prefix("Anonymous:") {
            if anonymous.trim() == "0 kB" {
                found.extend(candidate.take());
            }
        } else if let Some(range) = mapping(line) {
            candidate = range;
        }
    }
    found
}

/// `Some` for the first line of a mapping, with its range if it is a file's, private and read-only.
fn mapping(line: &str) -> Option<Option<Range<usize>>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let hex = |text| usize::from_str_radix(text, 16).ok();
    let range = hex(start)?..hex(end)?;
    let (permissions, inode) = (fields.next()?, fields.nth(2)?);
    Some((matches!(permissions, "r--p" | "r-xp") && inode != "0").then_some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_file_holds_too_is_given_back() {
        let smaps = "\
1000-3000 r--p 00000000 fd:00 42    /bin/x
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
3000-5000 r-xp 00002000 fd:00 42    /bin/x
Anonymous:             0 kB
5000-6000 r--p 00004000 fd:00 42    /bin/x
Anonymous:             4 kB
6000-7000 rw-p 00005000 fd:00 42    /bin/x
Anonymous:             0 kB
7000-8000 r--p 00000000 00:00 0
Anonymous:             0 kB
8000-9000 r--s 00000000 fd:00 43    /shared
Anonymous:             0 kB
";
        assert_eq!(unchanged_mappings(smaps), [0x1000..0x3000, 0x3000..0x5000]);
    }

    #[test]
    fn a_process_runs_on_without_its_code_in_memory() {
        release_own_code().expect("own mappings");
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let released = release_code_of(Pid::from_child(&child));
        child.kill().and_then(|()| child.wait()).expect("ends");
        if let Err(error) = released {
            assert!(matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)), "{error}");
        }
    }
}
