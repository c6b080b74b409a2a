//! Streams into pods: exec, attach and port-forward, for WebSocket and SPDY/3.1 clients.
//!
//! Always true: the request has been authenticated and authorised before it comes here; a refusal is an
//! ordinary HTTP answer, given before any protocol is switched; after that the stream lives in a task of its
//! own until one side ends it or nothing went over it for [`IDLE_TIMEOUT`]; every buffer is bounded.
//!
//! Towards the container runtime exec and attach are always SPDY/3.1, which every CRI runtime serves and
//! which, unlike the older WebSocket subprotocols, can end standard input alone. A SPDY client's connection
//! is joined to the runtime's byte for byte; a WebSocket client's channels are bridged (`exec`).
//! Port-forwarding needs no runtime: connections are opened inside the pod's network namespace.
mod activity;
mod exec;
mod namespace;
mod port_forward;
mod runtime;
mod spdy;
#[cfg(test)]
mod testing;
mod websocket;

pub use exec::{attach, exec};
pub use namespace::PodNamespace;
pub use port_forward::{Dial, port_forward};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use std::time::Duration;

/// How long a stream may carry nothing. Source: `--streaming-connection-idle-timeout`.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
/// How long the streams of one request may take to be created. Source: `DefaultStreamCreationTimeout`.
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
const ACCEPTED_PROTOCOLS: &str = "x-accepted-stream-protocol-versions";

/// An answer of this module: a 101 without a body, or an error as text.
type Relayed = Response<Full<Bytes>>;

/// Which of a container's streams a request wants; the same that the CRI request said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub stdin: bool,
    pub stdout: bool,
    /// Never wanted together with `tty`, which has no stream of its own for errors.
    pub stderr: bool,
    pub tty: bool,
}

/// What a request asks to be upgraded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    WebSocket,
    Spdy,
}

impl Upgrade {
    /// # Errors
    /// The answer to a request that asks for neither.
    fn of(headers: &HeaderMap) -> Result<Upgrade, Box<Relayed>> {
        let has = |name: header::HeaderName, wanted: &str| {
            let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            lists.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(wanted))
        };
        let upgrading = has(header::CONNECTION, "upgrade");
        if upgrading && has(header::UPGRADE, "websocket") {
            Ok(Upgrade::WebSocket)
        } else if upgrading && has(header::UPGRADE, SPDY) {
            Ok(Upgrade::Spdy)
        } else {
            Err(Box::new(refuse(StatusCode::BAD_REQUEST, "Upgrade request required".to_owned())))
        }
    }
}

/// The protocol versions that a SPDY client offers, in its order.
fn stream_protocols(headers: &HeaderMap) -> Vec<&str> {
    let lists = headers.get_all(STREAM_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// The 101 that a SPDY client waits for.
fn switch_to_spdy(protocol: Option<HeaderValue>) -> Relayed {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    if let Some(protocol) = protocol {
        headers.insert(STREAM_PROTOCOL, protocol);
    }
    response
}

fn refuse(status: StatusCode, mut text: String) -> Relayed {
    text.push('\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
