//! hostPath volumes: the checks and creations each type asks for.
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Checks, or creates, what `type_` demands at `path`.
///
/// # Errors
/// Upstream's words for what is wrong with the path.
pub fn check(path: &str, type_: &str) -> Result<(), String> {
    let place = Path::new(path);
    let metadata = fs::metadata(place).ok();
    let is = |wanted: fn(&fs::FileType) -> bool| metadata.as_ref().is_some_and(|m| wanted(&m.file_type()));
    let failed = |what: &str| Err(format!("hostPath type check failed: {path} is not {what}"));
    match type_ {
        "" => Ok(()),
        "DirectoryOrCreate" if metadata.is_none() => create_dir(place),
        "Directory" | "DirectoryOrCreate" => {
            if is(fs::FileType::is_dir) {
                Ok(())
            } else {
                failed("a directory")
            }
        }
        "FileOrCreate" if metadata.is_none() => create_file(place),
        "File" | "FileOrCreate" => {
            if is(fs::FileType::is_file) {
                Ok(())
            } else {
                failed("a file")
            }
        }
        "Socket" => {
            if is(FileTypeExt::is_socket) {
                Ok(())
            } else {
                failed("a socket file")
            }
        }
        "CharDevice" => {
            if is(FileTypeExt::is_char_device) {
                Ok(())
            } else {
                failed("a character device")
            }
        }
        "BlockDevice" => {
            if is(FileTypeExt::is_block_device) {
                Ok(())
            } else {
                failed("a block device")
            }
        }
        other => Err(format!("{other} is an invalid volume type")),
    }
}

fn create_dir(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|e| e.to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())
}

fn create_file(path: &Path) -> Result<(), String> {
    fs::File::create_new(path).map_err(|e| e.to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        assert!(check(&at("new/dir"), "Directory").is_err());
        assert!(check(&at("new/dir"), "DirectoryOrCreate").is_ok());
        assert!(check(&at("new/dir"), "Directory").is_ok());
        assert!(check(&at("new/file"), "FileOrCreate").is_ok());
        assert!(check(&at("new/file"), "Directory").expect_err("a file").ends_with("is not a directory"));
        assert!(check(&at("absent"), "").is_ok());
        assert!(check("/dev/null", "CharDevice").is_ok());
    }
}
