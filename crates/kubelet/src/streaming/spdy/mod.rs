//! SPDY/3.1 as Kubernetes speaks it: multiplexed streams over one upgraded connection.
//!
//! Always true: no frame of a peer makes this code panic or buffer without a bound; a frame that breaks the
//! protocol ends its session, never the process.
//!
//! Flow-control windows are read and ignored, and none are granted: the implementation that API servers,
//! kubectl and container runtimes share does the same, so whoever waited for a window would wait for ever.
//! A slow stream holds back its whole connection instead. Source: SPDY protocol draft 3.1.
pub(super) mod frame;
pub(super) mod headers;
pub(super) mod session;

pub(super) use headers::Headers;
pub(super) use session::{Role, Session, Stream, StreamReader, StreamWriter};

/// What ended a session or a stream of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer broke the protocol; the session is over.
    #[error("SPDY protocol error: {0}")]
    Protocol(&'static str),
    /// The peer gave up this stream, with the status of its `RST_STREAM`.
    #[error("stream was reset (status {0})")]
    Reset(u32),
    /// The session ended before the stream did.
    #[error("connection closed")]
    Closed,
    /// No `SYN_REPLY` came in time.
    #[error("timed out waiting for the stream to be accepted")]
    NotAccepted,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Statuses of `RST_STREAM`.
pub(super) mod reset {
    pub const REFUSED_STREAM: u32 = 3;
    pub const CANCEL: u32 = 5;
}

/// Statuses of `GOAWAY`.
pub(super) mod goaway {
    pub const OK: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
}
