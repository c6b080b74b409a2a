//! A server of one handler, and clients of it.
use super::Relayed;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_tungstenite::tungstenite::{self, client::IntoClientRequest};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;

/// Serves `handler` on a local port; the answer is its URL.
pub async fn serve<F, A>(handler: F) -> String
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Relayed> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service).with_upgrades());
        }
    });
    format!("http://{address}/")
}

pub async fn websocket(url: &str, protocols: &str) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let mut request = url.replacen("http", "ws", 1).into_client_request().expect("request");
    if !protocols.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("header"));
    }
    let host = request.uri().authority().expect("authority").to_string();
    let connection = TcpStream::connect(host).await.expect("connect");
    let (socket, response) = tokio_tungstenite::client_async(request, connection).await?;
    let chosen = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().expect("text"));
    assert_eq!(chosen.is_some(), !protocols.is_empty());
    assert!(chosen.is_none_or(|chosen| protocols.contains(chosen)));
    Ok(socket)
}
