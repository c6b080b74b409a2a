//! The Container Runtime Interface, v1: its messages, the [`Runtime`] seam, and a client for a runtime's
//! unix socket.
//!
//! Always true: every call has a deadline; an error says which call failed and with which gRPC code; a call
//! the runtime does not know yet (`GetContainerEvents`, `RuntimeConfig` on older containerd) is an error the
//! caller can tell apart with [`Error::is_unimplemented`].
mod client;
mod error;
mod runtime;

pub use client::Client;
pub use error::Error;
pub use runtime::{EventStream, HintStream, Runtime};

/// The CRI v1 messages.
#[allow(clippy::all, clippy::unwrap_used, missing_docs)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

#[allow(clippy::all, clippy::unwrap_used, missing_docs)]
mod containerd {
    tonic::include_proto!("containerd.services.events.v1");
}

/// gRPC status codes, as the errors of a runtime carry them.
pub use tonic::Code;
