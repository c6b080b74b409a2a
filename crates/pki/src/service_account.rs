//! The keys that sign service-account tokens. The tokens themselves are `auth`'s.
use crate::{Error, PrivateKey};

/// A new RSA-2048 key: (private PEM, public PEM).
///
/// # Errors
/// The random source fails.
pub fn generate_key() -> Result<(String, String), Error> {
    let key = PrivateKey::generate_rsa()?;
    Ok((key.to_pem().to_owned(), key.public_pem()?))
}
