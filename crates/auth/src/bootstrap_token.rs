//! Bootstrap tokens.
use std::sync::Arc;
use storage::Lookup;

/// Tokens kept in `kube-system` secrets.
pub struct Tokens {}

impl Tokens {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        let _ = lookup;
        Tokens {}
    }
}
