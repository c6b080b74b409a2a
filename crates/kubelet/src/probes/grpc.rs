//! gRPC probes: one `grpc.health.v1.Health/Check` over plain HTTP/2.
//!
//! The two messages are a string and an enum, so they are written and read by hand.
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::authority;
use crate::backoff::go_seconds;

const MAX_ANSWER_BYTES: usize = 4096;
const SERVING: u8 = 1;
/// The names of gRPC's status codes, in their order.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Asks whether `service` is serving.
///
/// # Errors
/// Upstream's words for the failed probe.
pub async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Result<(), String> {
    let target = authority(host, port);
    // Upstream's client tries to connect until its time is up.
    let stream = TcpStream::connect(&target).await.map_err(|_| {
        format!(
            "timeout: failed to connect service \"{target}\" within {}: context deadline exceeded",
            go_seconds(limit)
        )
    })?;
    let failed = |e: hyper::Error| format!("error: health rpc probe failed: {e}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(failed)?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{target}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(message(service)))
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let text = |map: &hyper::HeaderMap, name: &str| map.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let early = (text(answer.headers(), "grpc-status"), text(answer.headers(), "grpc-message"));
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|e| format!("error: health rpc probe failed: {e}"))?;
    let late = body.trailers().map(|t| (text(t, "grpc-status"), text(t, "grpc-message"))).unwrap_or_default();
    driver.abort();
    let message = early.1.or(late.1).unwrap_or_default();
    match early.0.or(late.0).as_deref() {
        None | Some("0") => {}
        Some("12") => {
            return Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            ));
        }
        Some(code) => {
            let name = code.parse::<usize>().ok().and_then(|code| CODES.get(code)).unwrap_or(&"Unknown");
            return Err(format!("error: health rpc probe failed: rpc error: code = {name} desc = {message}"));
        }
    }
    // Five bytes of frame, then field 1 as a varint.
    match body.to_bytes().get(5..7) {
        Some([0x08, SERVING]) => Ok(()),
        Some([0x08, 2]) => Err("service unhealthy (responded with \"NOT_SERVING\")".into()),
        Some([0x08, 3]) => Err("service unhealthy (responded with \"SERVICE_UNKNOWN\")".into()),
        _ => Err("service unhealthy (responded with \"UNKNOWN\")".into()),
    }
}

fn message(service: &str) -> Bytes {
    let mut payload = BytesMut::new();
    if let Some(length) = u8::try_from(service.len()).ok().filter(|length| (1..128).contains(length)) {
        payload.put_u8(0x0a);
        payload.put_u8(length);
        payload.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(payload.len()).unwrap_or(0));
    frame.put(payload);
    frame.freeze()
}
