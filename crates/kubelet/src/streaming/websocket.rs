//! WebSocket clients: choosing the subprotocol, messages that name a channel, and a tunnel of plain bytes.
//!
//! A message's first byte is its channel; the base64 subprotocols write it as a digit and encode the rest.
//! Source: `k8s.io/streaming/pkg/httpstream/wsstream`, KEP-4006 (v5's CLOSE), `portforward/tunneling_*.go`.
use super::{Relayed, refuse};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, Stream};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper_tungstenite::{
    HyperWebsocket,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;

/// The longest message accepted from a client. Some send a whole file as one message of standard input.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// The longest message sent as part of a tunnel.
const TUNNEL_PIECE_BYTES: usize = 32 * 1024;
const PROTOCOLS: &str = "sec-websocket-protocol";
/// In v5, says that a channel is done: the message's second byte is the channel.
const CLOSE: u8 = 255;

/// How messages carry channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Binary,
    Base64,
}

/// What came in one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Data(u8, Bytes),
    /// The client sends nothing more on this channel.
    Close(u8),
    /// Nothing for any channel.
    Nothing,
}

impl Encoding {
    pub fn encode(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Encoding::Binary => {
                let mut message = BytesMut::with_capacity(data.len() + 1);
                message.put_u8(channel);
                message.put_slice(data);
                Message::Binary(message.freeze())
            }
            Encoding::Base64 => {
                let mut message = String::with_capacity(data.len() * 4 / 3 + 5);
                message.push(char::from(b'0'.wrapping_add(channel) & 0x7f));
                BASE64.encode_string(data, &mut message);
                Message::text(message)
            }
        }
    }

    /// `closes`: the subprotocol has the CLOSE message.
    pub fn decode(self, message: Message, closes: bool) -> Received {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            _ => return Received::Nothing,
        };
        if data.is_empty() {
            return Received::Nothing;
        }
        let first = data.split_to(1).first().copied().unwrap_or_default();
        match self {
            Encoding::Binary if closes && first == CLOSE => {
                data.first().map_or(Received::Nothing, |c| Received::Close(*c))
            }
            Encoding::Binary => Received::Data(first, data),
            Encoding::Base64 => match (first.checked_sub(b'0'), BASE64.decode(&data)) {
                (Some(channel), Ok(data)) => Received::Data(channel, data.into()),
                _ => Received::Nothing,
            },
        }
    }
}

/// The subprotocols that a client offers, in its order.
pub(super) fn offered(headers: &HeaderMap) -> Vec<&str> {
    let lists = headers.get_all(PROTOCOLS).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// The answer to a handshake, and the connection once the answer is sent.
pub(super) type Accepted = (Relayed, HyperWebsocket);

/// Answers the handshake with the chosen subprotocol; an empty one is left out.
///
/// # Errors
/// The answer to a handshake that is none.
pub(super) fn accept<B>(request: &mut Request<B>, protocol: &'static str) -> Result<Accepted, Box<Relayed>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let (mut response, socket) = hyper_tungstenite::upgrade(request, Some(config))
        .map_err(|error| Box::new(refuse(StatusCode::BAD_REQUEST, format!("unable to upgrade: {error}"))))?;
    *response.body_mut() = Full::default();
    if !protocol.is_empty() {
        response.headers_mut().insert(PROTOCOLS, HeaderValue::from_static(protocol));
    }
    Ok((response, socket))
}

/// A client's byte stream inside binary messages; where one message ends means nothing.
pub(super) struct Tunnel<IO> {
    socket: WebSocketStream<IO>,
    /// What of the last message has not been read yet.
    rest: Bytes,
}

impl<IO> Tunnel<IO> {
    pub fn new(socket: WebSocketStream<IO>) -> Tunnel<IO> {
        Tunnel { socket, rest: Bytes::new() }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(data))) => self.rest = data,
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(failure(error))),
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(failure)?;
        let piece = data.get(..TUNNEL_PIECE_BYTES).unwrap_or(data);
        let message = Message::Binary(Bytes::copy_from_slice(piece));
        Pin::new(&mut self.socket).start_send(message).map_err(failure)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(failure)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(failure)
    }
}

fn failure(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[test]
    fn messages_name_their_channel() {
        let table = [
            (Encoding::Binary, Message::Binary(Bytes::from_static(b"\x01out"))),
            (Encoding::Base64, Message::text("1b3V0")),
        ];
        for (encoding, message) in table {
            assert_eq!(encoding.encode(1, b"out"), message);
            assert_eq!(encoding.decode(message, true), Received::Data(1, Bytes::from_static(b"out")));
        }
    }

    #[test]
    fn close_is_only_known_where_the_protocol_has_it() {
        let close = || Message::Binary(Bytes::from_static(&[255, 0]));
        assert_eq!(Encoding::Binary.decode(close(), true), Received::Close(0));
        assert_eq!(Encoding::Binary.decode(close(), false), Received::Data(255, Bytes::from_static(&[0])));
    }

    #[test]
    fn messages_that_say_nothing_are_passed_over() {
        let table = [
            (Encoding::Binary, Message::Binary(Bytes::new())),
            (Encoding::Binary, Message::Binary(Bytes::from_static(&[255]))),
            (Encoding::Binary, Message::Ping(Bytes::new())),
            (Encoding::Base64, Message::text("0not base64!")),
            (Encoding::Base64, Message::text(" AA==")),
        ];
        for (encoding, message) in table {
            assert_eq!(encoding.decode(message, true), Received::Nothing);
        }
    }

    #[test]
    fn offers_may_be_lists_or_repeated() {
        let mut headers = HeaderMap::new();
        headers.append(PROTOCOLS, HeaderValue::from_static("v5.channel.k8s.io, v4.channel.k8s.io"));
        headers.append(PROTOCOLS, HeaderValue::from_static("channel.k8s.io"));
        assert_eq!(offered(&headers), ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"]);
    }

    #[tokio::test]
    async fn a_tunnel_carries_bytes_in_any_portions() {
        let (near, far) = duplex(1000);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let (mut near, mut far) = (Tunnel::new(near), Tunnel::new(far));
        let sent: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            near.write_all(&sent).await.expect("write");
            near.shutdown().await.expect("shutdown");
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("read");
        assert_eq!(received, expected);
        writing.await.expect("writer");
    }
}
