//! The data directory: who may use it, and which files in it are the log.
//!
//! `LOCK` is held for as long as the store is open. `FORMAT` names the format; a directory with other
//! things in it and no `FORMAT`, or with a newer one, is refused rather than touched. Nobody but its owner may
//! look into it.
use crate::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const FORMAT_NEW: &str = "FORMAT.new";
const FORMAT_NAME: &str = "ferrokube embedded store";
const FORMAT_VERSION: u32 = 1;
const SEGMENT_SUFFIX: &str = ".log";

/// An open, locked data directory.
pub(super) struct Directory {
    path: PathBuf,
    /// For syncing the names in it.
    handle: File,
    _lock: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Directory, Error> {
        let failed = |what: &str, error: io::Error| describe(path, what, &error);
        create_durably(path).map_err(|error| failed("be created", error))?;
        refuse_foreign(path)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(|error| failed("be written to", error))?;
        if let Err(error) = lock.try_lock() {
            return Err(match error {
                fs::TryLockError::WouldBlock => in_use(path, &mut lock),
                fs::TryLockError::Error(error) => failed("be locked", error),
            });
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(|e| failed("be written to", e))?;
        let handle = File::open(path).map_err(|error| failed("be read", error))?;
        let directory = Directory { path: path.to_owned(), handle, _lock: lock };
        directory.check_format()?;
        make_private(path).map_err(|error| failed("be kept from other users", error))?;
        Ok(directory)
    }

    fn check_format(&self) -> Result<(), Error> {
        let failed = |what: &str, error: io::Error| describe(&self.path, what, &error);
        let text = match fs::read(self.path.join(FORMAT)) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.create_format();
            }
            Err(error) => return Err(failed("be read", error)),
        };
        let version = text.strip_prefix(FORMAT_NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
        let path = self.path.display();
        match version {
            Some(FORMAT_VERSION) => Ok(()),
            Some(version) if version > FORMAT_VERSION => Err(Error::Unavailable(format!(
                "{path} was written by a newer ferrokube (format {version}, this one knows {FORMAT_VERSION}); \
                 use that version, or another data directory"
            ))),
            _ => Err(Error::Unavailable(format!(
                "{path} is not a ferrokube data directory ({FORMAT} says {:?}); use another data directory",
                text.chars().take(60).collect::<String>()
            ))),
        }
    }

    fn create_format(&self) -> Result<(), Error> {
        let failed = |error: io::Error| describe(&self.path, "be written to", &error);
        let new = self.path.join(FORMAT_NEW);
        let write = || {
            let mut file = File::create(&new)?;
            writeln!(file, "{FORMAT_NAME} {FORMAT_VERSION}")?;
            file.sync_all()?;
            fs::rename(&new, self.path.join(FORMAT))?;
            self.sync()
        };
        write().map_err(failed)
    }

    /// Make creations, renames and removals in the directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    pub(super) fn segment_path(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number:010}{SEGMENT_SUFFIX}"))
    }

    /// Numbers of the log's segments, ascending and without a gap.
    pub(super) fn segments(&self) -> Result<Vec<u32>, Error> {
        let failed = |error: io::Error| describe(&self.path, "be read", &error);
        let mut numbers = Vec::new();
        for found in fs::read_dir(&self.path).map_err(failed)? {
            let name = found.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SEGMENT_SUFFIX)?.parse::<u32>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        match numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            Some(gap) => Err(Error::Corrupt(format!(
                "{}: files between {:010}{SEGMENT_SUFFIX} and {:010}{SEGMENT_SUFFIX} are missing",
                self.path.display(),
                gap[0],
                gap[1]
            ))),
            None => Ok(numbers),
        }
    }

    /// Durably; also when it is gone already.
    pub(super) fn remove_segment(&self, number: u32) -> io::Result<()> {
        match fs::remove_file(self.segment_path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.sync()
    }
}

/// Create the directory and whatever is missing above it, so that a power loss cannot undo it.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    File::open(parent)?.sync_all()
}

/// A directory without a `FORMAT` has to be empty but for what a beginning that was cut short leaves.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| describe(path, "be read", &error);
    if path.join(FORMAT).exists() {
        return Ok(());
    }
    for found in fs::read_dir(path).map_err(failed)? {
        let name = found.map_err(failed)?.file_name();
        // The format itself may have been written by another process just now.
        if ![LOCK, FORMAT, FORMAT_NEW, "lost+found"].iter().any(|own| name == *own) {
            return Err(Error::Unavailable(format!(
                "{} is not a ferrokube data directory (it holds {:?} and no {FORMAT}); use an empty or new one",
                path.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}

/// Only the owner may look in, as with etcd's: secrets are among what is stored.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(permissions.mode() & 0o700))
}

fn describe(path: &Path, what: &str, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "; check its owner and mode, or run with the privileges it needs",
        io::ErrorKind::ReadOnlyFilesystem => "; its file system is mounted read-only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space first",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "; it must be a directory",
        _ => "",
    };
    let text = format!("the data directory {} cannot {what}: {error}{advice}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace(text),
        _ => Error::Unavailable(text),
    }
}

fn in_use(path: &Path, lock: &mut File) -> Error {
    let mut pid = String::new();
    // Only for the message; the lock itself is what counts.
    let _ = lock.take(20).read_to_string(&mut pid);
    let by = pid.trim().parse::<u32>().map(|pid| format!("process {pid}")).unwrap_or("another process".to_owned());
    Error::Unavailable(format!("the data directory {} is in use by {by}; stop that one first", path.display()))
}
