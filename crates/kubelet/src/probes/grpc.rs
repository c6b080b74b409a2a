//! gRPC probes: one `grpc.health.v1.Health/Check` over plain HTTP/2.
//!
//! The two messages are a string and an enum, so they are written and read by hand.
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{authority, dial_error};

const MAX_ANSWER_BYTES: usize = 4096;
const SERVING: u8 = 1;

/// Asks whether `service` is serving.
///
/// # Errors
/// Upstream's words for the failed probe.
pub async fn check(host: &str, port: u16, service: &str) -> Result<(), String> {
    let target = authority(host, port);
    let stream = TcpStream::connect(&target)
        .await
        .map_err(|e| format!("failed to connect service \"{target}\": {}", dial_error(&target, &e)))?;
    let failed = |e: hyper::Error| format!("health rpc failed: {e}");
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
    let early = answer.headers().get("grpc-status").cloned();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|e| format!("health rpc failed: {e}"))?;
    let trailer = body.trailers().and_then(|t| t.get("grpc-status")).cloned();
    driver.abort();
    match early.or(trailer).as_ref().and_then(|v| v.to_str().ok()) {
        None | Some("0") => {}
        Some("12") => {
            return Err(
                "this server does not implement the grpc health protocol (grpc.health.v1.Health): Unimplemented".into(),
            );
        }
        Some(code) => return Err(format!("error: health rpc probe failed: code {code}")),
    }
    // Five bytes of frame, then field 1 as a varint.
    match body.to_bytes().get(5..7) {
        Some([0x08, SERVING]) => Ok(()),
        _ => Err("service unhealthy (responded with \"NOT_SERVING\")".into()),
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
