//! Port-forwarding from the client's HTTP request to local servers.
use super::*;
use crate::streaming::{
    namespace::PodNamespace,
    runtime::{self, Answer},
    spdy::Headers,
    testing,
};
use http::Method;
use tokio::net::TcpListener;

async fn kubelet(ports: Vec<u16>) -> String {
    testing::serve(move |request| port_forward(request, Arc::new(PodNamespace::host()), ports.clone())).await
}

/// A server that sends everything back once the client is done, behind a greeting.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                connection.write_all(b"hello ").await.expect("greeting");
                let mut all = Vec::new();
                connection.read_to_end(&mut all).await.expect("read");
                connection.write_all(&all).await.expect("write");
            });
        }
    });
    port
}

/// A port nobody listens on.
async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("address").port()
}

async fn spdy(url: &str) -> Session {
    let version = [HeaderValue::from_static(PROTOCOL)];
    let answer = runtime::upgrade(url, Method::POST, &version).await.expect("answer");
    let Answer::Switched(headers, io) = answer else { panic!("refused") };
    assert_eq!(headers.get(super::super::STREAM_PROTOCOL), version.first());
    Session::start(io, Role::Client, Arc::default()).0
}

async fn tunneled(url: &str) -> Session {
    let socket = testing::websocket(url, "SPDY/3.1+portforward.k8s.io").await.expect("upgrade");
    Session::start(Tunnel::new(socket), Role::Client, Arc::default()).0
}

fn headers(kind: &str, port: &str, id: Option<&str>) -> Headers {
    let headers = Headers::default().with("streamType", kind).with("port", port);
    match id {
        Some(id) => headers.with("requestID", id),
        None => headers,
    }
}

async fn read_all(mut reader: StreamReader) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = reader.recv().await.expect("data") {
        all.extend_from_slice(&bytes);
    }
    String::from_utf8(all).expect("UTF-8")
}

/// One connection as kubectl makes it; what came on the data and on the error stream.
async fn connect(session: &Session, port: u16, id: Option<&str>, data: &str) -> (String, String) {
    let port = port.to_string();
    let (writer, error) = session.open(headers("error", &port, id)).await.expect("error stream");
    writer.finish().await.expect("finish");
    let (mut writer, reader) = session.open(headers("data", &port, id)).await.expect("data stream");
    writer.send(Bytes::from(data.to_owned())).await.expect("send");
    writer.finish().await.expect("finish");
    (read_all(reader).await, read_all(error).await)
}

#[tokio::test]
async fn connections_share_one_session() {
    let (echo, closed) = (echo_server().await, closed_port().await);
    let url = kubelet(Vec::new()).await;
    for session in [spdy(&url).await, tunneled(&url).await] {
        let data = "x".repeat(200_000);
        let (first, second, third, refused) = tokio::join!(
            connect(&session, echo, Some("0"), "first"),
            connect(&session, echo, Some("1"), &data),
            async { connect(&session, echo, Some("2"), "").await },
            connect(&session, closed, Some("3"), "nobody listens"),
        );
        assert_eq!(first, ("hello first".to_owned(), String::new()));
        assert_eq!(second, (format!("hello {data}"), String::new()));
        assert_eq!(third, ("hello ".to_owned(), String::new()));
        assert_eq!(refused.0, "");
        let start = format!("error forwarding port {closed}: failed to connect to localhost:{closed} inside namespace");
        assert!(refused.1.starts_with(&start), "{}", refused.1);
        let old = connect(&session, echo, None, "without an id").await;
        assert_eq!(old, ("hello without an id".to_owned(), String::new()));
    }
}

#[tokio::test]
async fn senseless_streams_are_refused() {
    let url = kubelet(Vec::new()).await;
    let session = spdy(&url).await;
    let _first = session.open(headers("error", "80", Some("9"))).await.expect("first");
    for refused in [
        Headers::default(),
        headers("stdin", "80", Some("0")),
        headers("data", "0", Some("0")),
        headers("data", "65536", Some("0")),
        headers("data", "http", Some("0")),
        headers("error", "80", Some("9")),
        headers("data", "81", Some("9")),
    ] {
        assert!(session.open(refused.clone()).await.is_err(), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_pair_times_out() {
    let (near, far) = tokio::io::duplex(4096);
    tokio::spawn(forward_streams(far, Arc::new(PodNamespace::host())));
    let (session, _) = Session::start(near, Role::Client, Arc::default());
    let (_writer, error) = session.open(headers("error", "80", Some("4"))).await.expect("stream");
    assert_eq!(read_all(error).await, "(request=4) timed out waiting for streams");
}

#[tokio::test]
async fn a_client_that_resets_its_stream_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port().to_string();
    let session = spdy(&kubelet(Vec::new()).await).await;
    let _error = session.open(headers("error", &port, Some("0"))).await.expect("error stream");
    let data = session.open(headers("data", &port, Some("0"))).await.expect("data stream");
    let (mut connection, _) = listener.accept().await.expect("connection");
    drop(data);
    assert_eq!(connection.read(&mut [0]).await.expect("end"), 0);
}

#[tokio::test]
async fn plain_channels_name_their_ports() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let closed = closed_port().await;
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("connection");
        let mut request = [0; 4];
        connection.read_exact(&mut request).await.expect("request");
        connection.write_all(b"pong").await.expect("answer");
    });
    let url = kubelet(vec![port, closed]).await;
    for (protocols, encoding) in CHANNELS.iter().take(1) {
        let mut socket = testing::websocket(&url, protocols).await.expect("upgrade");
        socket.send(encoding.encode(0, b"ping")).await.expect("send");
        let mut channels = [const { Vec::new() }; 4];
        while let Some(message) = socket.next().await {
            if let Received::Data(channel, data) = encoding.decode(message.expect("message"), false) {
                channels[usize::from(channel)].extend_from_slice(&data);
            }
        }
        let [data, error, other_data, other_error] = channels;
        assert_eq!(data, [&port.to_le_bytes()[..], b"pong"].concat());
        assert_eq!(error, port.to_le_bytes());
        assert_eq!(other_data, closed.to_le_bytes());
        let text = String::from_utf8_lossy(&other_error[2..]);
        assert!(text.starts_with(&format!("error forwarding port {closed}: ")), "{text}");
    }
}

#[tokio::test]
async fn refusals_come_before_the_upgrade() {
    let websocket =
        |protocol| vec![("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", protocol)];
    let spdy = vec![("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let other = [&spdy[..], &[("x-stream-protocol-version", "v4.channel.k8s.io")]].concat();
    let table = [
        (vec![], 400, "Upgrade request required\n"),
        (websocket("soap"), 403, "requested protocol(s) are not supported: [\"soap\"]\n"),
        (websocket("v4.channel.k8s.io"), 400, "query parameter \"port\" is required\n"),
        (spdy, 403, "unable to upgrade: X-Stream-Protocol-Version is required\n"),
        (
            other,
            403,
            "unable to upgrade: unable to negotiate protocol: client supports [v4.channel.k8s.io], server accepts \
             [portforward.k8s.io]\n",
        ),
    ];
    for (headers, status, text) in table {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let answer = port_forward(request, Arc::new(PodNamespace::host()), Vec::new()).await;
        assert_eq!(answer.status(), status, "{text}");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("body").to_bytes();
        assert_eq!(body, text);
    }
}
