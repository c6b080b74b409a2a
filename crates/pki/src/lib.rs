//! Keys, certificates, TLS settings and kubeconfigs.
//!
//! The only crate that knows how certificates are made, and how TLS connections are accepted. All cryptography is aws-lc-rs. Private
//! keys leave it only as PEM, and files that hold one are written with mode 0600.
mod accept;
mod authority;
mod files;
mod key;
pub mod kubeconfig;
pub mod service_account;
pub mod tls;

pub use accept::accept;
pub use authority::{Authority, Pair, Request, Usage, certificate_request, covers, self_signed, valid_between};
pub use files::{write_private, write_public};
pub use key::PrivateKey;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: not valid PEM: {why}")]
    Pem { what: &'static str, why: String },
    #[error("{what}: {why}")]
    Key { what: &'static str, why: String },
    #[error("certificate: {0}")]
    Certificate(String),
    #[error("certificate request: {0}")]
    CertificateRequest(String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
    #[error("kubeconfig {path}: {why}")]
    Kubeconfig { path: std::path::PathBuf, why: String },
}
