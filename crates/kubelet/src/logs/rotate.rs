//! Rotation: a log that has grown too large is renamed and begun anew.
use std::io;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, tz::TimeZone};

/// A log could not be rotated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to rotate log {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("failed to reopen container log {container_id:?}: {source}")]
    Reopen { container_id: String, source: cri::Error },
}

/// Renames a log that is larger than `max_bytes`, makes the runtime begin a new one, and deletes the oldest
/// so that `max_files` are left, the new one included. Says whether it did.
///
/// # Errors
/// The folder cannot be changed, or the runtime did not reopen the log; then it has its old name again.
pub async fn rotate(
    runtime: &dyn cri::Runtime,
    container_id: &str,
    path: &Path,
    max_bytes: u64,
    max_files: usize,
) -> Result<bool, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    match tokio::fs::metadata(path).await {
        Ok(metadata) if metadata.len() > max_bytes && max_bytes > 0 => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A rotation that was cut off between renaming and reopening leaves no file under the log's name.
            let reopened = runtime.reopen_container_log(container_id).await;
            return reopened.map(|()| false).map_err(|source| reopen_failed(container_id, source));
        }
        Err(error) => return Err(failed(error)),
    }
    // Beside the one being renamed and the new one.
    let others = max_files.saturating_sub(2);
    let earlier = super::every_rotated(path);
    for oldest in earlier.iter().take(earlier.len().saturating_sub(others)) {
        tokio::fs::remove_file(oldest).await.map_err(failed)?;
    }
    let to = rotated_name(path, Timestamp::now());
    tokio::fs::rename(path, &to).await.map_err(failed)?;
    if let Err(source) = runtime.reopen_container_log(container_id).await {
        // The runtime still writes to the renamed file; without its name, nobody would find it.
        tokio::fs::rename(&to, path).await.map_err(failed)?;
        return Err(reopen_failed(container_id, source));
    }
    Ok(true)
}

fn reopen_failed(container_id: &str, source: cri::Error) -> Error {
    Error::Reopen { container_id: container_id.to_owned(), source }
}

/// `<path>.<YYYYMMDD-HHMMSS>` in UTC.
pub(super) fn rotated_name(path: &Path, now: Timestamp) -> PathBuf {
    let stamp = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{stamp}"));
    name.into()
}
