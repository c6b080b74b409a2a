//! Exec and attach: the client's streams joined to those of the runtime's streaming server.
//!
//! Channels of WebSocket clients: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize. What the runtime writes to
//! the error stream, a `Status`, reaches the client unchanged as one message, after all output. A runtime
//! that vanishes without a status is a failure, never a success.
//! Source: `k8s.io/streaming/pkg/remotecommand`, KEP-4006.
use super::{
    CREATION_TIMEOUT, IDLE_TIMEOUT, Options, Relayed, STREAM_PROTOCOL, Upgrade,
    activity::Activity,
    refuse,
    runtime::{self, Answer},
    spdy::{Error, Headers, Role, Session, StreamReader, StreamWriter},
    switch_to_spdy,
    websocket::{self, Encoding, Received},
};
use bytes::{Bytes, BytesMut};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper_tungstenite::tungstenite::{self, Message, protocol::CloseFrame, protocol::frame::coding::CloseCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::WebSocketStream;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// The longest `Status` passed on.
const MAX_STATUS_BYTES: usize = 1 << 20;
/// How long the client may take to answer the closing of its WebSocket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Copy buffer of joined connections, each way.
const COPY_BYTES: usize = 32 * 1024;

/// A subprotocol of WebSocket clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Protocol {
    name: &'static str,
    encoding: Encoding,
    /// The error channel carries a `Status`; before v4 it was its message as text, and nothing on success.
    status: bool,
    /// Channels can be closed one by one.
    closes: bool,
}

impl Protocol {
    const fn new(name: &'static str, encoding: Encoding, status: bool, closes: bool) -> Protocol {
        Protocol { name, encoding, status, closes }
    }
}

const PROTOCOLS: [Protocol; 6] = [
    Protocol::new("v5.channel.k8s.io", Encoding::Binary, true, true),
    Protocol::new("v4.channel.k8s.io", Encoding::Binary, true, false),
    Protocol::new("v4.base64.channel.k8s.io", Encoding::Base64, true, false),
    Protocol::new("channel.k8s.io", Encoding::Binary, false, false),
    Protocol::new("base64.channel.k8s.io", Encoding::Base64, false, false),
    Protocol::new("", Encoding::Binary, false, false),
];

/// Runs a command in a container. `runtime_url` is what the runtime's `Exec` call answered for exactly these
/// options. The request must come from a connection served with upgrades.
pub async fn exec<B>(request: Request<B>, runtime_url: String, options: Options) -> Relayed {
    serve(request, &runtime_url, options).await
}

/// Joins a client to a container's main process. `runtime_url` is what the runtime's `Attach` call answered
/// for exactly these options. The request must come from a connection served with upgrades.
pub async fn attach<B>(request: Request<B>, runtime_url: String, options: Options) -> Relayed {
    serve(request, &runtime_url, options).await
}

async fn serve<B>(mut request: Request<B>, runtime_url: &str, options: Options) -> Relayed {
    if !(options.stdin || options.stdout || options.stderr) {
        return refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr".to_owned());
    }
    match Upgrade::of(request.headers()) {
        Ok(Upgrade::Spdy) => join(&mut request, runtime_url).await,
        Ok(Upgrade::WebSocket) => serve_websocket(&mut request, runtime_url, options).await,
        Err(refusal) => *refusal,
    }
}

fn unreachable_runtime(error: &runtime::Error) -> Relayed {
    let status = match error {
        runtime::Error::Scheme(_) => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::BAD_GATEWAY,
    };
    refuse(status, error.to_string())
}

/// SPDY on both sides: once the runtime agreed, bytes go through as they are.
async fn join<B>(request: &mut Request<B>, runtime_url: &str) -> Relayed {
    let protocols: Vec<HeaderValue> = request.headers().get_all(STREAM_PROTOCOL).iter().cloned().collect();
    let answer = runtime::upgrade(runtime_url, request.method().clone(), &protocols).await;
    let (headers, mut backend) = match answer {
        Ok(Answer::Switched(headers, backend)) => (headers, backend),
        Ok(Answer::Refused(refusal)) => return refusal,
        Err(error) => return unreachable_runtime(&error),
    };
    let client = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut client = match client.await {
            Ok(client) => TokioIo::new(client),
            Err(error) => return tracing::debug!(%error, "exec: upgrade"),
        };
        // Idleness is the runtime's to judge: its streaming server ends connections nobody uses.
        let copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, COPY_BYTES, COPY_BYTES).await;
        if let Err(error) = copied {
            tracing::debug!(%error, "exec: connection ended");
        }
    });
    switch_to_spdy(headers.get(STREAM_PROTOCOL).cloned())
}

async fn serve_websocket<B>(request: &mut Request<B>, runtime_url: &str, options: Options) -> Relayed {
    let Some(protocol) = negotiate(&websocket::offered(request.headers())) else {
        let text = format!("requested protocol(s) are not supported: {:?}", websocket::offered(request.headers()));
        return refuse(StatusCode::FORBIDDEN, text);
    };
    let (response, socket) = match websocket::accept(request, protocol.name) {
        Ok(accepted) => accepted,
        Err(refusal) => return *refusal,
    };
    let version = [HeaderValue::from_static("v4.channel.k8s.io")];
    let backend = match runtime::upgrade(runtime_url, Method::POST, &version).await {
        Ok(Answer::Switched(headers, _)) if headers.get(STREAM_PROTOCOL) != version.first() => {
            return refuse(StatusCode::BAD_GATEWAY, "the runtime does not speak v4.channel.k8s.io".to_owned());
        }
        Ok(Answer::Switched(_, backend)) => backend,
        Ok(Answer::Refused(refusal)) => return refusal,
        Err(error) => return unreachable_runtime(&error),
    };
    tokio::spawn(async move {
        match socket.await {
            Ok(socket) => bridge(socket, protocol, backend, options).await,
            Err(error) => tracing::debug!(%error, "exec: upgrade"),
        }
    });
    response
}

/// v5 if the client has it, then the client's first choice; a client that offers nothing gets the oldest.
fn negotiate(offered: &[&str]) -> Option<Protocol> {
    let named = |name: &str| PROTOCOLS.iter().copied().find(|protocol| protocol.name == name);
    if offered.is_empty() {
        return named("");
    }
    let newest = offered.iter().find(|name| **name == "v5.channel.k8s.io");
    newest.into_iter().chain(offered).find_map(|name| named(name))
}

/// The runtime's streams; those not asked for are absent.
struct Streams {
    stdin: Option<StreamWriter>,
    resize: Option<StreamWriter>,
    stdout: Option<StreamReader>,
    stderr: Option<StreamReader>,
    error: StreamReader,
}

impl Streams {
    /// The runtime waits for all of them before it starts anything.
    async fn open(session: &Session, options: Options) -> Result<Streams, Error> {
        let open = async |wanted: bool, kind: &str| match wanted {
            true => session.open(Headers::default().with("streamtype", kind)).await.map(Some),
            false => Ok(None),
        };
        let error = session.open(Headers::default().with("streamtype", "error")).await?;
        let stdin = open(options.stdin, "stdin").await?;
        let stdout = open(options.stdout, "stdout").await?;
        let stderr = open(options.stderr && !options.tty, "stderr").await?;
        let resize = open(options.tty, "resize").await?;
        // Half-closing the directions that are never used, as other clients do.
        let error = read_only(error).await;
        let stdout = match stdout {
            Some(stdout) => Some(read_only(stdout).await),
            None => None,
        };
        let stderr = match stderr {
            Some(stderr) => Some(read_only(stderr).await),
            None => None,
        };
        let (stdin, resize) = (stdin.map(|(writer, _)| writer), resize.map(|(writer, _)| writer));
        Ok(Streams { stdin, resize, stdout, stderr, error })
    }
}

/// A runtime that has already left may still have left something to read.
async fn read_only((writer, reader): (StreamWriter, StreamReader)) -> StreamReader {
    let _ = writer.finish().await;
    reader
}

async fn bridge<C, R>(socket: WebSocketStream<C>, protocol: Protocol, runtime: R, options: Options)
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    R: AsyncRead + AsyncWrite + Send + 'static,
{
    let activity = Arc::<Activity>::default();
    let (session, _) = Session::start(runtime, Role::Client, activity.clone());
    let (mut sink, source) = socket.split();
    let opened = timeout(CREATION_TIMEOUT, Streams::open(&session, options)).await.unwrap_or(Err(Error::NotAccepted));
    let Streams { stdin, resize, stdout, stderr, error } = match opened {
        Ok(streams) => streams,
        Err(error) => {
            let status = failure(&format!("error creating streams to the runtime: {error}"));
            let _ = send_status(&mut sink, protocol, status).await;
            let _ = sink.close().await;
            return;
        }
    };
    let input = client_input(source, protocol, stdin, resize, &activity);
    tokio::pin!(input);
    let output = async {
        greet(&mut sink, protocol, options).await?;
        forward_output(&mut sink, protocol, stdout, stderr, error).await
    };
    let finished = tokio::select! {
        result = output => result,
        () = &mut input => return,
        () = activity.idle(IDLE_TIMEOUT) => return,
    };
    if let Err(error) = finished {
        return tracing::debug!(%error, "exec: client went away");
    }
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    // Reading on until the client closes too: otherwise what is still on its way to it could be lost.
    let closing = async {
        let _ = sink.send(Message::Close(Some(normal))).await;
        input.await;
    };
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
    session.close().await;
}

/// An empty message on the first channel to be read tells the client that the connection stands.
async fn greet<C>(
    sink: &mut SplitSink<WebSocketStream<C>, Message>,
    protocol: Protocol,
    options: Options,
) -> Result<(), tungstenite::Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let channel = match options {
        Options { stdout: true, .. } => STDOUT,
        Options { stderr: true, tty: false, .. } => STDERR,
        _ => ERROR,
    };
    sink.send(protocol.encoding.encode(channel, b"")).await
}

/// Hands the client's messages to the runtime until the client ends the connection.
async fn client_input<C>(
    mut source: SplitStream<WebSocketStream<C>>,
    protocol: Protocol,
    mut stdin: Option<StreamWriter>,
    mut resize: Option<StreamWriter>,
    activity: &Activity,
) where
    C: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        match protocol.encoding.decode(message, protocol.closes) {
            Received::Data(STDIN, data) => {
                activity.touch();
                send(&mut stdin, data).await;
            }
            Received::Data(RESIZE, data) => send(&mut resize, data).await,
            Received::Close(STDIN) => {
                if let Some(stdin) = stdin.take() {
                    let _ = stdin.finish().await;
                }
            }
            Received::Close(RESIZE) => {
                if let Some(resize) = resize.take() {
                    let _ = resize.finish().await;
                }
            }
            Received::Data(..) | Received::Close(_) | Received::Nothing => {}
        }
    }
}

/// What comes for a stream that is gone or was not asked for is dropped.
async fn send(stream: &mut Option<StreamWriter>, data: Bytes) {
    if let Some(writer) = stream
        && writer.send(data).await.is_err()
    {
        *stream = None;
    }
}

async fn forward_output<C>(
    sink: &mut SplitSink<WebSocketStream<C>, Message>,
    protocol: Protocol,
    mut stdout: Option<StreamReader>,
    mut stderr: Option<StreamReader>,
    error: StreamReader,
) -> Result<(), tungstenite::Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let (mut error, mut status) = (Some(error), BytesMut::new());
    while stdout.is_some() || stderr.is_some() || error.is_some() {
        let (channel, data) = tokio::select! {
            data = next(&mut stdout) => (STDOUT, data),
            data = next(&mut stderr) => (STDERR, data),
            data = next(&mut error) => (ERROR, data),
        };
        match data {
            Some(data) if channel == ERROR => {
                let room = MAX_STATUS_BYTES - status.len();
                status.extend_from_slice(data.get(..room).unwrap_or(&data));
            }
            Some(data) => sink.send(protocol.encoding.encode(channel, &data)).await?,
            None => {}
        }
    }
    if status.is_empty() {
        status = BytesMut::from(&failure("the runtime ended the stream without a status")[..]);
    }
    send_status(sink, protocol, status.freeze()).await
}

/// The next piece of a stream. One that ended, or broke off, becomes `None` and is not waited for again.
async fn next(stream: &mut Option<StreamReader>) -> Option<Bytes> {
    let Some(reader) = stream else { return std::future::pending().await };
    let data = reader.recv().await.unwrap_or(None);
    if data.is_none() {
        *stream = None;
    }
    data
}

/// A `Status` of our own.
fn failure(message: &str) -> Bytes {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("Internal error occurred: {message}"), "reason": "InternalError",
        "details": {"causes": [{"message": message}]}, "code": 500,
    });
    Bytes::from(status.to_string())
}

async fn send_status<C>(
    sink: &mut SplitSink<WebSocketStream<C>, Message>,
    protocol: Protocol,
    status: Bytes,
) -> Result<(), tungstenite::Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let text = if protocol.status { status } else { legacy_status(status) };
    if text.is_empty() {
        return Ok(());
    }
    sink.send(protocol.encoding.encode(ERROR, &text)).await
}

/// What the subprotocols before v4 say: nothing on success, otherwise the message.
fn legacy_status(status: Bytes) -> Bytes {
    match serde_json::from_slice::<Value>(&status) {
        Ok(value) if value.get("status").and_then(Value::as_str) == Some("Success") => Bytes::new(),
        Ok(value) => match value.get("message").and_then(Value::as_str) {
            Some(message) => Bytes::from(message.to_owned()),
            None => status,
        },
        Err(_) => status,
    }
}

#[cfg(test)]
mod tests;
