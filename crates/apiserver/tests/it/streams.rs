//! Logs and exec, through the API server to a node and back.
use crate::cluster::{Cluster, PODS, pod};
use futures::{SinkExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, LogParams},
};
use serde_json::json;
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{Request, Response},
};

/// A kubelet that logs what it is asked for and echoes what it is sent.
async fn kubelet() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = pki::Request { common_name: "node".into(), ..Default::default() };
    let pair = pki::self_signed(&request).unwrap();
    let mut config = pki::tls::server_config(&pair.cert_pem, &pair.key_pem, None).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { answer(tcp, acceptor).await });
        }
    });
    port
}

async fn answer(tcp: TcpStream, acceptor: TlsAcceptor) {
    let mut peeked = [0u8; 1];
    tcp.peek(&mut peeked).await.unwrap();
    let tls = acceptor.accept(tcp).await.unwrap();
    let (tls, head) = head(tls).await;
    if head.starts_with("GET /containerLogs/default/p/c?tailLines=5 ") {
        plain(tls, "200 OK", "line\n").await;
    } else if head.starts_with("GET /containerLogs/") {
        plain(tls, "400 Bad Request", "container \"c\" in pod \"p\" is waiting to start: ContainerCreating").await;
    } else {
        assert!(head.starts_with("GET /exec/default/p/c?input=1&output=1&error=1&command=cat&command=-"), "{head}");
        assert!(!head.to_lowercase().contains("authorization"), "credentials must not reach a node: {head}");
        echo(tls).await;
    }
}

/// The head of the request, and the connection with it put back in front.
async fn head(mut tls: TlsStream<TcpStream>) -> (Rewound, String) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(tls.read_u8().await.unwrap());
    }
    let text = String::from_utf8(seen.clone()).unwrap();
    let (reader, writer) = tokio::io::split(tls);
    (tokio::io::join(std::io::Cursor::new(seen).chain(reader), writer), text)
}

type Rewound = tokio::io::Join<
    tokio::io::Chain<std::io::Cursor<Vec<u8>>, tokio::io::ReadHalf<TlsStream<TcpStream>>>,
    tokio::io::WriteHalf<TlsStream<TcpStream>>,
>;

async fn plain(mut stream: Rewound, status: &str, text: &str) {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

#[allow(clippy::result_large_err)]
async fn echo(stream: Rewound) {
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", "v4.channel.k8s.io".parse().unwrap());
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(data) = message else { continue };
        // Channel 0 is standard input, 1 is standard output, 3 the final status.
        if data.first() == Some(&0) && data.len() > 1 {
            let mut out = vec![1];
            out.extend_from_slice(&data[1..]);
            socket.send(Message::Binary(out.into())).await.unwrap();
            let mut status = vec![3];
            status.extend_from_slice(b"{\"metadata\":{},\"status\":\"Success\"}");
            socket.send(Message::Binary(status.into())).await.unwrap();
            socket.close(None).await.unwrap();
            return;
        }
    }
}

async fn with_node() -> Cluster {
    let cluster = Cluster::start().await;
    let port = kubelet().await;
    cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await.unwrap();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    cluster.patch("/api/v1/nodes/n1/status", "merge-patch+json", status).await.unwrap();
    cluster.post(PODS, pod("p")).await.unwrap();
    crate::deletion::bind(&cluster, "p", "n1").await.unwrap();
    cluster
}

#[tokio::test]
async fn logs() {
    let cluster = with_node().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let tail = LogParams { tail_lines: Some(5), ..LogParams::default() };
    assert_eq!(pods.logs("p", &tail).await.unwrap(), "line\n");
    let (code, text) = cluster.get(&format!("{PODS}/p/log")).await.unwrap_err();
    assert_eq!((code, text.as_str()), (400, "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"));
    let (code, text) = cluster.get(&format!("{PODS}/p/log?tailLines=-1")).await.unwrap_err();
    assert_eq!(code, 422, "{text}");
}

#[tokio::test]
async fn exec() {
    let cluster = with_node().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let how = AttachParams { stdin: true, stdout: true, stderr: true, ..AttachParams::default() };
    let mut process = pods.exec("p", ["cat", "-"], &how).await.unwrap();
    let mut stdin = process.stdin().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    stdin.flush().await.unwrap();
    let mut said = Vec::new();
    process.stdout().unwrap().read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"hello");
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"));
}
