//! Port-forwarding: each pair of a data and an error stream is one connection to a port of the pod.
//!
//! Three forms of client: SPDY/3.1 (a pair per connection, found by the headers `port` and `requestID`), the
//! same inside WebSocket messages (`SPDY/3.1+portforward.k8s.io`), and plain WebSocket channels (two per port
//! of the request, one connection each, opened by sending the port's number on both).
//! Source: `k8s.io/cri-streaming/pkg/streaming/portforward`, KEP-4006.
use super::{
    CREATION_TIMEOUT, IDLE_TIMEOUT, Relayed, Upgrade,
    activity::Activity,
    refuse,
    spdy::{self, Role, Session, Stream, StreamReader, StreamWriter},
    stream_protocols, switch_to_spdy,
    websocket::{self, Encoding, Received, Tunnel},
};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, Request, StatusCode};
use hyper_tungstenite::tungstenite::{Message, protocol::CloseFrame, protocol::frame::coding::CloseCode};
use hyper_util::rt::TokioIo;
use std::{collections::HashMap, future::Future, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::WebSocketStream;

const PROTOCOL: &str = "portforward.k8s.io";
const TUNNELED: &str = "SPDY/3.1+portforward.k8s.io";
/// Subprotocols of plain channels.
const CHANNELS: [(&str, Encoding); 2] =
    [("v4.channel.k8s.io", Encoding::Binary), ("v4.base64.channel.k8s.io", Encoding::Base64)];
/// A channel's number is one byte, and each port has two.
const MAX_PORTS: usize = 127;
const COPY_BYTES: usize = 16 * 1024;
/// The most messages that wait for one port's connection, and for the client.
const QUEUED_MESSAGES: usize = 8;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens connections to a pod's ports.
#[async_trait::async_trait]
pub trait Dial: Send + Sync {
    /// A connection to a port of the pod's loopback address.
    async fn dial(&self, port: u16) -> io::Result<TcpStream>;
}

/// Forwards connections of the client to ports of a pod. `ports` are those in the request's query, which only
/// clients with plain channels name there. The request must come from a connection served with upgrades.
pub async fn port_forward<B>(mut request: Request<B>, dialer: Arc<dyn Dial>, ports: Vec<u16>) -> Relayed {
    match Upgrade::of(request.headers()) {
        Ok(Upgrade::Spdy) => serve_spdy(&mut request, dialer),
        Ok(Upgrade::WebSocket) => serve_websocket(&mut request, dialer, ports),
        Err(refusal) => *refusal,
    }
}

fn serve_spdy<B>(request: &mut Request<B>, dialer: Arc<dyn Dial>) -> Relayed {
    let offered = stream_protocols(request.headers());
    if !offered.contains(&PROTOCOL) {
        let text = match offered.as_slice() {
            [] => "unable to upgrade: X-Stream-Protocol-Version is required".to_owned(),
            some => {
                let some = some.join(" ");
                format!(
                    "unable to upgrade: unable to negotiate protocol: client supports [{some}], server accepts [{PROTOCOL}]"
                )
            }
        };
        let mut refusal = refuse(StatusCode::FORBIDDEN, text);
        refusal.headers_mut().insert(super::ACCEPTED_PROTOCOLS, HeaderValue::from_static(PROTOCOL));
        return refusal;
    }
    let client = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match client.await {
            Ok(client) => forward_streams(TokioIo::new(client), dialer).await,
            Err(error) => tracing::debug!(%error, "port-forward: upgrade"),
        }
    });
    switch_to_spdy(Some(HeaderValue::from_static(PROTOCOL)))
}

fn serve_websocket<B>(request: &mut Request<B>, dialer: Arc<dyn Dial>, ports: Vec<u16>) -> Relayed {
    let offered = websocket::offered(request.headers());
    if offered.contains(&TUNNELED) {
        return match websocket::accept(request, TUNNELED) {
            Ok((response, socket)) => {
                tokio::spawn(async move {
                    match socket.await {
                        Ok(socket) => forward_streams(Tunnel::new(socket), dialer).await,
                        Err(error) => tracing::debug!(%error, "port-forward: upgrade"),
                    }
                });
                response
            }
            Err(refusal) => *refusal,
        };
    }
    let chosen = match offered.as_slice() {
        [] => Some(("", Encoding::Binary)),
        some => some.iter().find_map(|name| CHANNELS.iter().copied().find(|(known, _)| known == name)),
    };
    let Some((protocol, encoding)) = chosen else {
        let text = format!("requested protocol(s) are not supported: {offered:?}");
        return refuse(StatusCode::FORBIDDEN, text);
    };
    if ports.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "query parameter \"port\" is required".to_owned());
    }
    if ports.len() > MAX_PORTS {
        return refuse(StatusCode::BAD_REQUEST, format!("at most {MAX_PORTS} ports can be forwarded by one request"));
    }
    match websocket::accept(request, protocol) {
        Ok((response, socket)) => {
            tokio::spawn(async move {
                match socket.await {
                    Ok(socket) => forward_channels(socket, encoding, dialer, ports).await,
                    Err(error) => tracing::debug!(%error, "port-forward: upgrade"),
                }
            });
            response
        }
        Err(refusal) => *refusal,
    }
}

/// One connection in the making: its streams come in any order.
struct Pair {
    port: u16,
    deadline: Instant,
    data: Option<(StreamWriter, StreamReader)>,
    error: Option<StreamWriter>,
}

/// Serves one SPDY session until the client ends it.
async fn forward_streams<IO>(io: IO, dialer: Arc<dyn Dial>)
where
    IO: AsyncRead + AsyncWrite + Send + 'static,
{
    let activity = Arc::<Activity>::default();
    let (session, mut opened) = Session::start(io, Role::Server, activity.clone());
    let mut pairs = HashMap::<String, Pair>::new();
    let mut connections = JoinSet::new();
    let mut idle = pin!(activity.idle(IDLE_TIMEOUT));
    loop {
        let deadline = pairs.values().map(|pair| pair.deadline).min();
        let expired = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            stream = opened.recv() => match stream {
                Some(stream) => {
                    let Some((id, pair)) = admit(stream, &mut pairs).await else { continue };
                    if let Some((port, data, error)) = complete(pair) {
                        pairs.remove(&id);
                        connections.spawn(forward(dialer.clone(), port, data, error, activity.clone()));
                    }
                }
                None => break,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = expired => drop_expired(&mut pairs).await,
            () = &mut idle => break,
        }
    }
    session.close().await;
}

/// What identifies a connection. Clients that do not name it open the error stream right before the data one.
fn request_id(stream: &Stream, kind: Kind) -> Option<String> {
    match (stream.headers.get("requestid"), kind) {
        (Some(id), _) => Some(id.to_owned()),
        (None, Kind::Error) => Some(stream.id.to_string()),
        (None, Kind::Data) => stream.id.checked_sub(2).map(|id| id.to_string()),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Data,
    Error,
}

/// Takes a stream into its pair, or refuses one that makes no sense.
async fn admit(stream: Stream, pairs: &mut HashMap<String, Pair>) -> Option<(String, &mut Pair)> {
    let kind = match stream.headers.get("streamtype") {
        Some("data") => Some(Kind::Data),
        Some("error") => Some(Kind::Error),
        _ => None,
    };
    let port = stream.headers.get("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    let (Some(kind), Some(port)) = (kind, port) else {
        stream.reject().await;
        return None;
    };
    let Some(id) = request_id(&stream, kind) else {
        stream.reject().await;
        return None;
    };
    let taken = pairs.get(&id).is_some_and(|pair| match kind {
        Kind::Data => pair.data.is_some() || pair.port != port,
        Kind::Error => pair.error.is_some() || pair.port != port,
    });
    if taken {
        stream.reject().await;
        return None;
    }
    let (writer, reader) = stream.accept().await.ok()?;
    let deadline = Instant::now() + CREATION_TIMEOUT;
    let pair = pairs.entry(id.clone()).or_insert(Pair { port, deadline, data: None, error: None });
    match kind {
        Kind::Data => pair.data = Some((writer, reader)),
        // Nothing is expected from the client on the error stream.
        Kind::Error => pair.error = Some(writer),
    }
    Some((id, pair))
}

fn complete(pair: &mut Pair) -> Option<(u16, (StreamWriter, StreamReader), StreamWriter)> {
    if pair.data.is_none() || pair.error.is_none() {
        return None;
    }
    Some((pair.port, pair.data.take()?, pair.error.take()?))
}

async fn drop_expired(pairs: &mut HashMap<String, Pair>) {
    let now = Instant::now();
    let expired: Vec<String> =
        pairs.iter().filter(|(_, pair)| pair.deadline <= now).map(|(id, _)| id.clone()).collect();
    for id in expired {
        let Some(Pair { error: Some(mut error), .. }) = pairs.remove(&id) else { continue };
        let text = format!("(request={id}) timed out waiting for streams");
        let _ = error.send(text.into()).await;
        let _ = error.finish().await;
    }
}

async fn forward(
    dialer: Arc<dyn Dial>,
    port: u16,
    (mut writer, reader): (StreamWriter, StreamReader),
    mut error: StreamWriter,
    activity: Arc<Activity>,
) {
    let result = match dialer.dial(port).await {
        Ok(connection) => carry(connection, reader, &mut writer, &activity).await,
        Err(error) => Err(error),
    };
    if let Err(failed) = result {
        let _ = error.send(format!("error forwarding port {port}: {failed}").into()).await;
    }
    let _ = writer.finish().await;
    let _ = error.finish().await;
}

/// Where a client's bytes come from.
trait Source: Send {
    /// The next bytes, `None` when the client sends no more; an error when it gave the connection up.
    fn recv(&mut self) -> impl Future<Output = Result<Option<Bytes>, spdy::Error>> + Send;
}

/// Where a pod's bytes go to.
trait Target: Send {
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), spdy::Error>> + Send;
}

impl Source for StreamReader {
    fn recv(&mut self) -> impl Future<Output = Result<Option<Bytes>, spdy::Error>> + Send {
        StreamReader::recv(self)
    }
}

impl Target for StreamWriter {
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), spdy::Error>> + Send {
        StreamWriter::send(self, bytes)
    }
}

/// Moves bytes until the pod ends the connection or the client gives it up. A client that merely sends no
/// more still gets the rest of the answer.
async fn carry(
    connection: TcpStream,
    mut source: impl Source,
    target: &mut impl Target,
    activity: &Activity,
) -> io::Result<()> {
    let (mut read, mut write) = connection.into_split();
    // True when the client gave up.
    let upload = async {
        loop {
            match source.recv().await {
                Ok(Some(bytes)) => {
                    // The pod reads no more, but may still have something to say.
                    if write.write_all(&bytes).await.is_err() {
                        return false;
                    }
                }
                Ok(None) => {
                    let _ = write.shutdown().await;
                    return false;
                }
                Err(_) => return true,
            }
        }
    };
    let download = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(COPY_BYTES);
            if read.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            activity.touch();
            if target.send(buffer.split().freeze()).await.is_err() {
                return Ok(());
            }
        }
    };
    let mut download = pin!(download);
    tokio::select! {
        result = &mut download => result,
        gone = upload => match gone {
            true => Ok(()),
            false => download.await,
        },
    }
}

/// A port's client side among plain channels.
struct Channel {
    number: u8,
    encoding: Encoding,
    messages: mpsc::Sender<Message>,
}

impl Target for Channel {
    async fn send(&mut self, bytes: Bytes) -> Result<(), spdy::Error> {
        let message = self.encoding.encode(self.number, &bytes);
        self.messages.send(message).await.map_err(|_| spdy::Error::Closed)
    }
}

impl Source for mpsc::Receiver<Bytes> {
    async fn recv(&mut self) -> Result<Option<Bytes>, spdy::Error> {
        // Without a way to half-close, the end of the channel is the end of the client.
        mpsc::Receiver::recv(self).await.map(Some).ok_or(spdy::Error::Closed)
    }
}

/// Serves plain channels until the client leaves or every port's connection has ended.
async fn forward_channels<C>(socket: WebSocketStream<C>, encoding: Encoding, dialer: Arc<dyn Dial>, ports: Vec<u16>)
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
{
    let activity = Arc::<Activity>::default();
    let (mut sink, mut source) = socket.split();
    let (messages, mut outgoing) = mpsc::channel(QUEUED_MESSAGES);
    let mut incoming = Vec::with_capacity(ports.len());
    let mut connections = JoinSet::new();
    for (number, port) in (0u8..).step_by(2).zip(ports) {
        let (sender, receiver) = mpsc::channel(QUEUED_MESSAGES);
        incoming.push(sender);
        let data = Channel { number, encoding, messages: messages.clone() };
        let error = Channel { number: number + 1, encoding, messages: messages.clone() };
        connections.spawn(forward_channel(dialer.clone(), port, receiver, data, error, activity.clone()));
    }
    drop(messages);
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            if let Received::Data(channel, data) = encoding.decode(message, false)
                && channel % 2 == 0
                && let Some(connection) = incoming.get(usize::from(channel / 2))
            {
                activity.touch();
                let _ = connection.send(data).await;
            }
        }
    };
    let mut reading = pin!(reading);
    let writing = async {
        while let Some(message) = outgoing.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = &mut reading => return,
        () = activity.idle(IDLE_TIMEOUT) => {}
    }
    let closing = async {
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sink.send(Message::Close(Some(normal))).await;
        reading.await;
    };
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
}

async fn forward_channel(
    dialer: Arc<dyn Dial>,
    port: u16,
    source: mpsc::Receiver<Bytes>,
    mut data: Channel,
    mut error: Channel,
    activity: Arc<Activity>,
) {
    for channel in [&mut data, &mut error] {
        if channel.send(Bytes::copy_from_slice(&port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    let result = match dialer.dial(port).await {
        Ok(connection) => carry(connection, source, &mut data, &activity).await,
        Err(error) => Err(error),
    };
    if let Err(failed) = result {
        let _ = error.send(format!("error forwarding port {port}: {failed}").into()).await;
    }
}

#[cfg(test)]
mod tests;
