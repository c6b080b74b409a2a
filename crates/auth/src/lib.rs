//! Who a request is from, and what they may do.
//!
//! Authentication turns a request into a [`UserInfo`]; authorization answers whether that user may do what
//! [`Attributes`] describe. Nothing here writes: all state is read through `storage::Lookup`, so dropping any cache is
//! always safe. A credential that is given but wrong is refused; it never counts as anonymous.
pub mod authenticator;
pub mod authorizer;
pub mod bootstrap_token;
pub mod certificate;
pub mod impersonation;
pub mod node;
pub mod rbac;
pub mod request_header;
pub mod service_account;
pub mod static_token;
#[cfg(test)]
mod testing;
mod user;

pub use authenticator::{Authenticator, Credentials, Rejected};
pub use authorizer::{Attributes, Authorizer, Decision};
pub use user::{UserInfo, groups, users};

/// What is wrong with the settings given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {why}")]
    File { path: String, why: String },
    #[error("key: {0}")]
    Key(String),
    #[error("{0}")]
    Mode(String),
}
