//! `--token-auth-file`.
use crate::Error;
use std::path::Path;

/// The tokens of one file.
pub struct Tokens {}

impl Tokens {
    /// # Errors
    /// The file cannot be read or a line is malformed.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let _ = path;
        Ok(Tokens {})
    }
}
