//! Where programs are looked for: `PATH`, and the folders for system programs behind it.
//!
//! `runc`, `nft` and `iptables` are in `/usr/sbin`, which Debian leaves out of the `PATH` of users and of
//! `su`. Containerd and the network plugins inherit ours, so it is completed once, here.
use std::{env, ffi::OsString, path::PathBuf};

const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// `path` with the folders it lacks at its end; `None` when it lacks none.
fn completed(path: &std::ffi::OsStr) -> Option<OsString> {
    let mut folders: Vec<PathBuf> = env::split_paths(path).collect();
    let before = folders.len();
    for folder in SYSTEM_FOLDERS.map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    (folders.len() > before).then(|| env::join_paths(folders).ok()).flatten()
}

/// Complete this process's `PATH`. To be called first, before any thread is started.
#[allow(unsafe_code)]
pub fn complete() {
    if let Some(path) = completed(&env::var_os("PATH").unwrap_or_default()) {
        // SAFETY: called first in `main`, when no other thread can be reading the environment.
        unsafe { env::set_var("PATH", path) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_last() {
        let completed = |path: &str| completed(path.as_ref()).map(|p| p.to_string_lossy().into_owned());
        assert_eq!(completed("/usr/bin:/bin").as_deref(), Some("/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"));
        assert_eq!(completed("/sbin:/bin").as_deref(), Some("/sbin:/bin:/usr/local/sbin:/usr/sbin"));
        assert_eq!(completed("/usr/local/sbin:/usr/sbin:/sbin"), None);
    }
}
