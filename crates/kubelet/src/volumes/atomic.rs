//! Files of a volume that change all at once.
//!
//! The files lie in a folder named after the time; `..data` links to it, and each visible name links through
//! `..data`. Exchanging that one link with a rename changes everything together; readers see old or new, never
//! a mixture. Nothing is written when nothing changed.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

/// A file's content and permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Files by their path within the volume.
pub type Files = BTreeMap<String, File>;

const DATA: &str = "..data";

/// Makes `dir` hold exactly `files`; with `group`, owned by it and readable for it.
///
/// # Errors
/// A path leaves the volume, or the file system fails.
pub fn write(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    for path in files.keys() {
        check(path)?;
    }
    let current = fs::read_link(dir.join(DATA)).ok();
    if let Some(current) = &current
        && same(&dir.join(current), files)
    {
        return Ok(false);
    }
    let stamp = format!("..{}", jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%f"));
    let fresh = dir.join(&stamp);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.content)?;
        let mode = if group.is_some() { file.mode | ((file.mode & 0o400) >> 3) } else { file.mode };
        if group.is_some() {
            std::os::unix::fs::chown(&target, None, group)?;
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
    }
    let temporary = dir.join("..data_tmp");
    let _ = fs::remove_file(&temporary);
    symlink(&stamp, &temporary)?;
    fs::rename(&temporary, dir.join(DATA))?;
    link_names(dir, files)?;
    if let Some(old) = current {
        let _ = fs::remove_dir_all(dir.join(old));
    }
    Ok(true)
}

fn check(path: &str) -> io::Result<()> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    match plain && !path.is_empty() && !path.starts_with("..") {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {path:?} in the volume"))),
    }
}

fn same(dir: &Path, files: &Files) -> bool {
    let mut count = 0;
    let equal = files.iter().all(|(path, file)| fs::read(dir.join(path)).is_ok_and(|content| content == file.content));
    if equal {
        count_files(dir, &mut count);
    }
    equal && count == files.len()
}

fn count_files(dir: &Path, count: &mut usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path(), count),
            _ => *count += 1,
        }
    }
}

/// Visible names are the first parts of the paths.
fn link_names(dir: &Path, files: &Files) -> io::Result<()> {
    let names: std::collections::BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !names.contains(&*name) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { content: text.into(), mode: 0o644 };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn replaces_all_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(write(dir.path(), &files(&[("a", "1"), ("d/b", "2")]), None).expect("written"));
        assert_eq!(fs::read_to_string(dir.path().join("d/b")).expect("there"), "2");
        assert!(!write(dir.path(), &files(&[("a", "1"), ("d/b", "2")]), None).expect("unchanged"));
        assert!(write(dir.path(), &files(&[("a", "3")]), None).expect("written"));
        assert_eq!(fs::read_to_string(dir.path().join("a")).expect("there"), "3");
        assert!(!dir.path().join("d").exists());
        let hidden = fs::read_dir(dir.path()).expect("a folder").count();
        assert_eq!(hidden, 3, "one data folder, its link, and one name");
    }

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().expect("a folder");
        for path in ["../a", "/a", "", "a/../../b", "..a"] {
            assert!(write(dir.path(), &files(&[(path, "")]), None).is_err(), "{path}");
        }
    }
}
