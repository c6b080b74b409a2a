//! Where programs are looked for: `PATH`, and the folders for system programs behind it.
//!
//! `runc`, `nft` and `iptables` are in `/usr/sbin`, which Debian leaves out of the `PATH` of users and of
//! `su`; under some supervisors it is empty. Containerd and the network plugins inherit ours, so it is completed once, here.
use std::{env, ffi::OsString, path::PathBuf};

const SYSTEM_FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];

/// `path` with the folders it lacks at its end; `None` when it lacks none.
fn completed(path: &std::ffi::OsStr) -> Option<OsString> {
    let given = env::split_paths(path);
    let mut folders: Vec<PathBuf> = given.filter(|folder| !folder.as_os_str().is_empty()).collect();
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
        let users = "/usr/local/bin:/usr/bin:/bin";
        assert_eq!(completed(users), Some(format!("{users}:/usr/local/sbin:/usr/sbin:/sbin")));
        assert_eq!(
            completed("/sbin:/bin").as_deref(),
            Some("/sbin:/bin:/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        );
        assert_eq!(completed(&format!("/usr/local/sbin:/usr/sbin:/sbin:{users}")), None);
        // An empty part would be the working directory.
        assert_eq!(completed(""), Some(SYSTEM_FOLDERS.join(":")));
    }
}
