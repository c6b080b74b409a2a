//! Service account tokens: signed JWTs that say which account, and which pod, secret or node they are bound to.
//!
//! A token is good only while the account, and the object it is bound to, exist with the uid in the token.
//! Source: "Managing Service Accounts"; claims as upstream's `pkg/serviceaccount` writes them.
mod claims;
mod issuer;
mod jwt;
mod keys;
mod verifier;

pub use issuer::{Issuer, IssuerConfig};
pub use verifier::{Verified, Verifier};

/// `extra` keys of a service account user.
pub mod extra {
    pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
    pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
    pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
    pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
    pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
}

#[cfg(test)]
mod tests;
