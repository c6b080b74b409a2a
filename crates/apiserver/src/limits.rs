//! Every bound of the API server, in one place.
//!
//! Sources: `k8s.io/apiserver/pkg/server/config.go` and `endpoints/handlers`; what upstream leaves
//! to its HTTP library is bounded here explicitly.
use std::time::Duration;

/// Request bodies, and the result of a patch.
pub const BODY_BYTES: usize = 3 * 1024 * 1024;
/// The answer to a larger one, with upstream's wording.
pub const BODY_TOO_LARGE: &str = "Request entity too large: limit is 3145728";
/// Request line and headers of an HTTP/1.1 request.
pub const HEADER_BYTES: usize = 1024 * 1024;
/// Of an HTTP/1.1 request: a user behind an authenticating proxy may be in hundreds of groups, each a header. The HTTP
/// library fills a table of this size for every request, whatever it holds: at 2,000, a tenth of the cost of a GET.
pub const HEADERS: usize = 512;
/// HTTP/2 header lists.
pub const H2_HEADER_LIST_BYTES: u32 = 1024 * 1024;
pub const H2_STREAMS: u32 = 250;
/// Unsent bytes of one HTTP/2 stream.
pub const H2_SEND_BUFFER: usize = 512 * 1024;
pub const CONNECTIONS: usize = 16_384;
/// How long an HTTP/2 connection without any stream stays.
pub const IDLE: Duration = Duration::from_secs(90);
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// From the first byte of a request to the end of its headers.
pub const HEADER_READ: Duration = Duration::from_secs(32);
/// How long open requests may go on once the server is told to stop.
pub const DRAIN: Duration = Duration::from_secs(5);
pub const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
pub const H2_PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest time a request waits for a seat of its priority level; less if a quarter of its time is less.
pub const QUEUE_WAIT: Duration = Duration::from_secs(60);

/// Streamed lists are produced in pieces of about this size.
pub const LIST_CHUNK_BYTES: usize = 128 * 1024;
/// Frames of one watch that are ready together are sent together up to this size.
pub const WATCH_CHUNK_BYTES: usize = 64 * 1024;
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Responses of at least this size are compressed for clients that accept gzip.
pub const GZIP_BYTES: usize = 128 * 1024;

/// Attempts of `generateName` before AlreadyExists is returned (KEP-4420).
pub const GENERATE_NAME_ATTEMPTS: usize = 8;
/// Attempts of a patch against an object that keeps changing.
pub const PATCH_ATTEMPTS: usize = 5;
/// Attempts of the server's own read-modify-write operations.
pub const UPDATE_ATTEMPTS: usize = 32;
/// How long a read waits for the cache to reach the revision it must show.
pub const FRESH_WAIT: Duration = Duration::from_secs(3);
pub const WARNING_BYTES: usize = 4 * 1024;
/// How much of a body that is too large is taken and forgotten before the answer.
pub const BODY_DISCARD_BYTES: usize = 32 * 1024 * 1024;
