//! Logs for clients that open a WebSocket: each message is the next piece of the log, as bytes or in base64.
//!
//! An empty message comes first, and nothing is taken from the client but its end.
//! Source: `wsstream.NewReader` with `NewDefaultReaderProtocols`.
use crate::body::Body;
use apimachinery::ApiError;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream::SplitSink};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, handshake::derive_accept_key, protocol::Role},
};

const PROTOCOLS: &str = "sec-websocket-protocol";
/// In the order in which upstream's refusal names them.
const KNOWN: [&str; 3] = ["", "base64.binary.k8s.io", "binary.k8s.io"];

/// Whether the client wants to speak WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    super::wants_upgrade(headers)
        && headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answer the handshake, and send `log` once the connection is the client's and ours.
///
/// # Errors
/// 400 for a handshake that is none, 403 when no subprotocol of the client's is known.
pub(super) fn answer<B>(headers: &HeaderMap, upgrade: Option<OnUpgrade>, log: B) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Display + Send> + Send + Unpin + 'static,
{
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let (Some(key), Some(upgrade)) = (key, upgrade) else {
        return Err(ApiError::bad_request("the request is not a WebSocket handshake"));
    };
    let protocol = chosen(headers)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|error| ApiError::bad_request(format!("sec-websocket-key: {error}")))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answered = response.headers_mut();
    answered.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answered.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answered.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        answered.insert(PROTOCOLS, HeaderValue::from_static(protocol));
    }
    tokio::spawn(async move {
        match upgrade.await {
            Ok(client) => {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await;
                send(socket, log, protocol == "base64.binary.k8s.io").await;
            }
            Err(error) => tracing::debug!(%error, "upgrade"),
        }
    });
    Ok(response)
}

/// The first subprotocol of the client's list that we know.
fn chosen(headers: &HeaderMap) -> Result<&'static str, ApiError> {
    let lists = headers.get_all(PROTOCOLS).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).filter(|p| !p.is_empty()).collect();
    if offered.is_empty() {
        return Ok("");
    }
    offered.iter().find_map(|wanted| KNOWN.into_iter().find(|known| known == wanted)).ok_or_else(|| {
        let message =
            format!("requested protocol(s) are not supported: [{}]; supports [{}]", offered.join(" "), KNOWN.join(" "));
        ApiError::new(403, "Forbidden", message)
    })
}

/// Send until the log or the client ends.
async fn send<S, B>(socket: WebSocketStream<S>, mut log: B, encode: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let (mut out, mut from_client) = socket.split();
    let client_ended = async { while let Some(Ok(_)) = from_client.next().await {} };
    let sending = async {
        send_piece(&mut out, Bytes::new(), encode).await?;
        while let Some(frame) = log.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(piece)) => send_piece(&mut out, piece, encode).await?,
                // Trailers say nothing about a log.
                Ok(Err(_)) => {}
                Err(error) => {
                    tracing::debug!(%error, "the log broke off");
                    break;
                }
            }
        }
        out.close().await
    };
    tokio::select! {
        () = client_ended => {}
        sent = sending => {
            if let Err(error) = sent {
                tracing::debug!(%error, "log over WebSocket");
            }
        }
    }
}

async fn send_piece<S>(
    out: &mut SplitSink<WebSocketStream<S>, Message>,
    piece: Bytes,
    encode: bool,
) -> Result<(), tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    out.send(if encode { Message::text(BASE64.encode(&piece)) } else { Message::Binary(piece) }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let with = |list: &'static str| {
            let headers = HeaderMap::from_iter([(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(list))]);
            chosen(&headers).map_err(|error| error.message)
        };
        assert_eq!(chosen(&HeaderMap::new()).map_err(|error| error.message), Ok(""));
        assert_eq!(with("x, binary.k8s.io, base64.binary.k8s.io"), Ok("binary.k8s.io"));
        let refused = "requested protocol(s) are not supported: [v4.channel.k8s.io]; \
                       supports [ base64.binary.k8s.io binary.k8s.io]";
        assert_eq!(with("v4.channel.k8s.io"), Err(refused.to_owned()));
    }

    #[tokio::test]
    async fn an_empty_message_comes_before_the_log_and_a_close_after_it() {
        for (encode, want) in
            [(false, Message::Binary(Bytes::from_static(b"line\n"))), (true, Message::text("bGluZQo="))]
        {
            let (near, far) = tokio::io::duplex(1000);
            let near = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
            let mut far = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
            let sending = tokio::spawn(send(near, Full::new(Bytes::from_static(b"line\n")), encode));
            let first = far.next().await.expect("a message").expect("a whole one");
            assert!(first.is_empty(), "{first:?}");
            assert_eq!(far.next().await.expect("a message").expect("a whole one"), want);
            assert!(matches!(far.next().await, Some(Ok(Message::Close(_)))));
            sending.await.expect("it ends");
        }
    }
}
