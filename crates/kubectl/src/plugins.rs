//! Plugins: programs named `kubectl-<words>` on the path, found by the longest name that the words make.
//!
//! Source: "Extend kubectl with plugins". A plugin never takes the place of a command.
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Words that may name a plugin; more are its arguments anyway.
const MAX_WORDS: usize = 16;

/// The folders of `$PATH`.
fn folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The plugin that words ask for, and the words that are left for it.
pub fn find(words: &[OsString]) -> Option<(PathBuf, &[OsString])> {
    find_in(&folders(), words)
}

fn find_in<'a>(folders: &[PathBuf], words: &'a [OsString]) -> Option<(PathBuf, &'a [OsString])> {
    let names: Vec<String> = words
        .iter()
        .take(MAX_WORDS)
        .map(|word| word.to_string_lossy().into_owned())
        .take_while(|word| !word.starts_with('-') && !word.contains('/'))
        // A dash inside of a word stands as `_` in the program's name.
        .map(|word| word.replace('-', "_"))
        .collect();
    (1..=names.len()).rev().find_map(|n| {
        let name = format!("kubectl-{}", names.get(..n)?.join("-"));
        let program = folders.iter().map(|folder| folder.join(&name)).find(|path| is_executable(path))?;
        Some((program, words.get(n..)?))
    })
}

/// Become the plugin; the exit code when that fails.
pub fn become_plugin(program: &Path, words: &[OsString]) -> i32 {
    use std::os::unix::process::CommandExt;
    let error = std::process::Command::new(program).args(words).exec();
    eprintln!("error: {}: {error}", program.display());
    1
}

/// Every plugin of the path, in its order.
pub fn all() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        names.retain(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("kubectl-")));
        names.sort();
        found.extend(names.into_iter().filter(|path| path.is_file()));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_longest_name_wins() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("kubectl-foo", 0o755), ("kubectl-foo-bar_baz", 0o755), ("kubectl-plain", 0o644)] {
            std::fs::write(folder.path().join(name), "").unwrap();
            std::fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let found = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let folders = [folder.path().to_owned()];
            find_in(&folders, &words)
                .map(|(p, rest)| (p.file_name().unwrap().to_string_lossy().into_owned(), rest.len()))
        };
        assert_eq!(found("foo x"), Some(("kubectl-foo".into(), 1)));
        assert_eq!(found("foo bar-baz -x y"), Some(("kubectl-foo-bar_baz".into(), 2)));
        assert_eq!(found("plain"), None, "it cannot be executed");
        assert_eq!(found("--foo"), None);
    }
}
