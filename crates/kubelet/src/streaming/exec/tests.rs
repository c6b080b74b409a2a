//! Exec and attach from the client's HTTP request to a runtime that plays a part.
use super::*;
use crate::streaming::testing;
use std::collections::HashMap;
use tokio::sync::mpsc;

const ALL: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };
const TTY: Options = Options { stdin: true, stdout: true, stderr: false, tty: true };
const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;
const EXIT_3: &str = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;

/// The runtime's ends of one request's streams.
struct Served {
    session: Session,
    streams: HashMap<String, (StreamWriter, StreamReader)>,
}

impl Served {
    fn take(&mut self, kind: &str) -> (StreamWriter, StreamReader) {
        self.streams.remove(kind).expect(kind)
    }

    /// Like a streaming server: the status, then the connection is closed with streams still open.
    async fn end(mut self, status: &str) {
        let (mut error, _) = self.take("error");
        error.send(Bytes::from(status.to_owned())).await.expect("status");
        self.session.close().await;
    }
}

/// A runtime's streaming server that hands over each request once `count` streams are open.
async fn runtime(count: usize) -> (String, mpsc::Receiver<Served>) {
    let (sender, receiver) = mpsc::channel(1);
    let url = testing::serve(move |mut request| {
        let sender = sender.clone();
        async move {
            assert_eq!(Upgrade::of(request.headers()).ok(), Some(Upgrade::Spdy));
            let version = request.headers().get(STREAM_PROTOCOL).cloned();
            assert_eq!(version, Some(HeaderValue::from_static("v4.channel.k8s.io")));
            let client = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let io = TokioIo::new(client.await.expect("upgrade"));
                let (session, mut opened) = Session::start(io, Role::Server, Arc::default());
                let mut streams = HashMap::new();
                while streams.len() < count {
                    let stream = opened.recv().await.expect("stream");
                    let kind = stream.headers.get("streamtype").expect("streamtype").to_owned();
                    streams.insert(kind, stream.accept().await.expect("accept"));
                }
                let _ = sender.send(Served { session, streams }).await;
            });
            switch_to_spdy(version)
        }
    })
    .await;
    (url, receiver)
}

async fn kubelet(runtime_url: String, options: Options) -> String {
    testing::serve(move |request| exec(request, runtime_url.clone(), options)).await
}

/// All that comes on each channel until the server closes.
async fn receive<C: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<C>,
    encoding: Encoding,
) -> Vec<(u8, String)> {
    let mut channels: Vec<(u8, String)> = Vec::new();
    while let Some(message) = socket.next().await {
        let message = message.expect("message");
        if let Message::Close(frame) = &message {
            assert_eq!(frame.as_ref().map(|frame| frame.code), Some(CloseCode::Normal));
        }
        if let Received::Data(channel, data) = encoding.decode(message, false) {
            let text = str::from_utf8(&data).expect("UTF-8");
            match channels.last_mut() {
                Some((last, before)) if *last == channel => before.push_str(text),
                _ => channels.push((channel, text.to_owned())),
            }
        }
    }
    channels
}

fn message(channel: u8, data: &str) -> Message {
    Encoding::Binary.encode(channel, data.as_bytes())
}

#[tokio::test]
async fn the_end_of_stdin_reaches_the_command() {
    let (runtime_url, mut served) = runtime(4).await;
    tokio::spawn(async move {
        let mut served = served.recv().await.expect("request");
        let ((_stdin, mut stdin), (mut stdout, _)) = (served.take("stdin"), served.take("stdout"));
        while let Some(data) = stdin.recv().await.expect("stdin") {
            stdout.send(data).await.expect("stdout");
        }
        served.end(SUCCESS).await;
    });
    let url = kubelet(runtime_url, ALL).await;
    let mut socket = testing::websocket(&url, "v4.channel.k8s.io, v5.channel.k8s.io").await.expect("upgrade");
    let line = "hi\n".repeat(100_000);
    socket.send(message(STDIN, &line)).await.expect("send");
    socket.send(Message::Binary(Bytes::from_static(&[255, STDIN]))).await.expect("close");
    let received = receive(&mut socket, Encoding::Binary).await;
    assert_eq!(received, [(STDOUT, line), (ERROR, SUCCESS.to_owned())]);
}

#[tokio::test]
async fn exit_codes_pass_through_and_come_last() {
    for (protocols, encoding, status) in [
        ("v5.channel.k8s.io", Encoding::Binary, EXIT_3),
        ("v4.channel.k8s.io", Encoding::Binary, EXIT_3),
        ("v4.base64.channel.k8s.io", Encoding::Base64, EXIT_3),
        ("base64.channel.k8s.io", Encoding::Base64, "command terminated with non-zero exit code: 3"),
        ("channel.k8s.io", Encoding::Binary, "command terminated with non-zero exit code: 3"),
        ("", Encoding::Binary, "command terminated with non-zero exit code: 3"),
    ] {
        let (runtime_url, mut served) = runtime(4).await;
        tokio::spawn(async move {
            let mut served = served.recv().await.expect("request");
            let ((stdout, _), (mut stderr, _)) = (served.take("stdout"), served.take("stderr"));
            stderr.send(Bytes::from_static(b"no such file")).await.expect("stderr");
            stdout.finish().await.expect("stdout");
            stderr.finish().await.expect("stderr");
            served.end(EXIT_3).await;
        });
        let url = kubelet(runtime_url, ALL).await;
        let mut socket = testing::websocket(&url, protocols).await.expect("upgrade");
        let received = receive(&mut socket, encoding).await;
        let expected = [(STDOUT, String::new()), (STDERR, "no such file".to_owned()), (ERROR, status.to_owned())];
        assert_eq!(received, expected, "{protocols}");
    }
}

#[tokio::test]
async fn success_says_nothing_before_v4() {
    let (runtime_url, mut served) = runtime(4).await;
    tokio::spawn(async move { served.recv().await.expect("request").end(SUCCESS).await });
    let url = kubelet(runtime_url, ALL).await;
    let mut socket = testing::websocket(&url, "channel.k8s.io").await.expect("upgrade");
    assert_eq!(receive(&mut socket, Encoding::Binary).await, [(STDOUT, String::new())]);
}

#[tokio::test]
async fn terminal_sizes_reach_the_runtime() {
    let (runtime_url, mut served) = runtime(4).await;
    let url = kubelet(runtime_url, TTY).await;
    let mut socket = testing::websocket(&url, "v5.channel.k8s.io").await.expect("upgrade");
    let size = r#"{"Width":80,"Height":24}"#;
    socket.send(message(RESIZE, size)).await.expect("send");
    let mut served = served.recv().await.expect("request");
    let (_resize, mut resize) = served.take("resize");
    assert_eq!(resize.recv().await.expect("size").as_deref(), Some(size.as_bytes()));
    assert!(!served.streams.contains_key("stderr"));
    tokio::spawn(served.end(SUCCESS));
    receive(&mut socket, Encoding::Binary).await;
}

#[tokio::test]
async fn a_runtime_that_vanishes_is_a_failure() {
    let (runtime_url, mut served) = runtime(4).await;
    tokio::spawn(async move { drop(served.recv().await) });
    let url = kubelet(runtime_url, ALL).await;
    let mut socket = testing::websocket(&url, "v5.channel.k8s.io").await.expect("upgrade");
    let received = receive(&mut socket, Encoding::Binary).await;
    let (channel, status) = received.last().expect("status");
    let status: Value = serde_json::from_str(status).expect("JSON");
    assert_eq!((*channel, &status["status"], &status["reason"]), (ERROR, &json!("Failure"), &json!("InternalError")));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_runtimes_connection() {
    let (runtime_url, mut served) = runtime(4).await;
    let url = kubelet(runtime_url, ALL).await;
    let socket = testing::websocket(&url, "v5.channel.k8s.io").await.expect("upgrade");
    let mut served = served.recv().await.expect("request");
    drop(socket);
    let (_stdin, mut stdin) = served.take("stdin");
    // Reset or closed, whichever arrives first; never a regular end of standard input.
    assert!(stdin.recv().await.is_err());
}

#[tokio::test]
async fn spdy_clients_are_joined_to_the_runtime() {
    let (runtime_url, mut served) = runtime(4).await;
    tokio::spawn(async move {
        let mut served = served.recv().await.expect("request");
        let ((_stdin, mut stdin), (mut stdout, _)) = (served.take("stdin"), served.take("stdout"));
        while let Some(data) = stdin.recv().await.expect("stdin") {
            stdout.send(data).await.expect("stdout");
        }
        served.end(EXIT_3).await;
    });
    let url = kubelet(runtime_url, ALL).await;
    let version = [HeaderValue::from_static("v4.channel.k8s.io")];
    let answer = runtime::upgrade(&url, Method::POST, &version).await.expect("answer");
    let Answer::Switched(headers, io) = answer else { panic!("refused") };
    assert_eq!(headers.get(STREAM_PROTOCOL), version.first());
    let (session, _) = Session::start(io, Role::Client, Arc::default());
    let Streams { stdin, mut stdout, mut error, .. } = Streams::open(&session, ALL).await.expect("streams");
    let mut stdin = stdin.expect("stdin");
    stdin.send(Bytes::from_static(b"hi")).await.expect("send");
    stdin.finish().await.expect("finish");
    assert_eq!(next(&mut stdout).await.as_deref(), Some(&b"hi"[..]));
    assert_eq!(error.recv().await.expect("status").as_deref(), Some(EXIT_3.as_bytes()));
}

#[tokio::test]
async fn what_the_runtime_refuses_is_passed_on() {
    let runtime_url = testing::serve(async |_| refuse(StatusCode::NOT_FOUND, "unknown token".to_owned())).await;
    let url = kubelet(runtime_url, ALL).await;
    let error = testing::websocket(&url, "v5.channel.k8s.io").await.expect_err("refused");
    let tungstenite::Error::Http(response) = error else { panic!("{error}") };
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn refusals_come_before_the_upgrade() {
    let none = Options::default();
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let with = |more: (&'static str, &'static str)| [&upgrade[..], &[more]].concat();
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let table = [
        (none, "http://127.0.0.1:1/", vec![], 400, "you must specify at least 1 of stdin, stdout, stderr\n"),
        (ALL, "http://127.0.0.1:1/", vec![], 400, "Upgrade request required\n"),
        (
            ALL,
            "http://127.0.0.1:1/",
            with(("sec-websocket-protocol", "soap")),
            403,
            "requested protocol(s) are not supported: [\"soap\"]\n",
        ),
        (ALL, "https://127.0.0.1:1/", with(key), 501, "streaming over \"https\" to the runtime is not supported\n"),
        (ALL, "unix", with(key), 501, "streaming over \"\" to the runtime is not supported\n"),
    ];
    for (options, url, headers, status, text) in table {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let answer = exec(request, url.to_owned(), options).await;
        assert_eq!(answer.status(), status, "{text}");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("body").to_bytes();
        assert_eq!(body, text);
    }
}

#[test]
fn v5_comes_first_and_then_the_clients_order() {
    let table: [(&[&str], Option<&str>); 5] = [
        (&["v4.channel.k8s.io", "v5.channel.k8s.io"], Some("v5.channel.k8s.io")),
        (&["unknown", "base64.channel.k8s.io", "v4.channel.k8s.io"], Some("base64.channel.k8s.io")),
        (&["v5.base64.channel.k8s.io"], None),
        (&[""], Some("")),
        (&[], Some("")),
    ];
    for (offered, expected) in table {
        assert_eq!(negotiate(offered).map(|protocol| protocol.name), expected, "{offered:?}");
    }
}
