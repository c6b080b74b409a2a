//! Writing key material: whole or not at all, and private to its owner from the first byte.
use crate::Error;
use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

/// Write a file that holds a secret, mode 0600.
///
/// # Errors
/// The folder cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    write(path, content, 0o600)
}

/// Write a file that everyone may read, mode 0644.
///
/// # Errors
/// The folder cannot be written.
pub fn write_public(path: &Path, content: &[u8]) -> Result<(), Error> {
    write(path, content, 0o644)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let wrap = |source| Error::File { path: path.to_owned(), source };
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = Path::new(&partial);
    let _ = fs::remove_file(partial);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(partial).map_err(wrap)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(partial, path));
    if written.is_err() {
        let _ = fs::remove_file(partial);
    }
    written.map_err(wrap)?;
    // A power loss must not bring the old one back.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(wrap)
}
