//! The container runtime's streaming server, as its client: one upgrade request per stream.
//!
//! The URL comes from the runtime and carries a token that is good for one use.
use super::{CREATION_TIMEOUT, Relayed};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an error the runtime answers is passed on.
const ERROR_BYTES: usize = 64 * 1024;

/// Why the runtime's streaming server could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("invalid streaming URL of the runtime: {0}")]
    Url(String),
    #[error("streaming over {0:?} to the runtime is not supported")]
    Scheme(String),
    #[error("error dialing backend: {0}")]
    Dial(#[from] std::io::Error),
    #[error("error dialing backend: timed out")]
    Timeout,
    #[error("error upgrading connection: {0}")]
    Http(#[from] hyper::Error),
}

/// What the runtime answers.
pub(super) enum Answer {
    /// The headers of its 101, and the connection.
    Switched(HeaderMap, TokioIo<Upgraded>),
    /// Any other answer.
    Refused(Relayed),
}

/// Asks for an upgrade to SPDY/3.1; `protocols` are the values of `X-Stream-Protocol-Version`.
///
/// # Errors
/// Nothing usable answers at the URL.
pub(super) async fn upgrade(url: &str, method: Method, protocols: &[HeaderValue]) -> Result<Answer, Error> {
    let uri: Uri = url.parse().map_err(|error| Error::Url(format!("{error}")))?;
    match uri.scheme_str() {
        Some("http") => {}
        scheme => return Err(Error::Scheme(scheme.unwrap_or_default().to_owned())),
    }
    let host = uri.host().ok_or_else(|| Error::Url("no host".to_owned()))?;
    let address = (host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(80));
    let connection = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map_err(|_| Error::Timeout)??;
    connection.set_nodelay(true)?;

    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| Error::Url(format!("{error}")))?;
    let headers = request.headers_mut();
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    headers.insert(header::HOST, HeaderValue::from_str(authority).map_err(|error| Error::Url(error.to_string()))?);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(super::SPDY));
    for protocol in protocols {
        headers.append(super::STREAM_PROTOCOL, protocol.clone());
    }

    let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
    tokio::spawn(driver.with_upgrades());
    let mut response = timeout(CREATION_TIMEOUT, sender.send_request(request)).await.map_err(|_| Error::Timeout)??;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let headers = std::mem::take(response.headers_mut());
        let upgraded = hyper::upgrade::on(response).await?;
        return Ok(Answer::Switched(headers, TokioIo::new(upgraded)));
    }
    let (parts, body) = response.into_parts();
    let body = timeout(CREATION_TIMEOUT, Limited::new(body, ERROR_BYTES).collect()).await;
    let text = match body {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::from_static(b"the runtime refused the stream"),
    };
    let mut refusal = Response::new(Full::new(text));
    *refusal.status_mut() = parts.status;
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
        refusal.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    Ok(Answer::Refused(refusal))
}
