//! One connection: TLS handshake, then the HTTP version the two sides agreed on.
use super::{
    Peer,
    activity::{Activity, Counted},
};
use crate::{App, body::RequestBody, limits};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc};
use tokio::{net::TcpStream, sync::Notify};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

pub(super) async fn run(
    tcp: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    app: Arc<App>,
    shutdown: CancellationToken,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%address, %error, "TCP_NODELAY");
    }
    let tls = match tokio::time::timeout(limits::TLS_HANDSHAKE, pki::accept(&acceptor, tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(%address, "TLS handshake timed out");
            return;
        }
    };
    let session = tls.get_ref().1;
    let certificates = session.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
    let http2 = session.alpn_protocol() == Some(b"h2");
    let peer = Arc::new(Peer { address: Some(address), certificates, identity: None });
    if let Err(error) =
        if http2 { http2_loop(tls, app, peer, shutdown).await } else { http1_loop(tls, app, peer, shutdown).await }
    {
        tracing::debug!(%address, %error, "connection ended");
    }
}

async fn http1_loop(
    tls: TlsStream<TcpStream>,
    app: Arc<App>,
    peer: Arc<Peer>,
    shutdown: CancellationToken,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, peer) = (app.clone(), peer.clone());
        async move { Ok::<_, Infallible>(app.call(request.map(RequestBody::Network), peer).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Some(limits::HEADER_READ))
        .max_buf_size(limits::HEADER_BYTES)
        .max_headers(limits::HEADERS)
        .half_close(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(tls), service).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn http2_loop(
    tls: TlsStream<TcpStream>,
    app: Arc<App>,
    peer: Arc<Peer>,
    shutdown: CancellationToken,
) -> Result<(), hyper::Error> {
    let streams = app.http2_streams();
    let chance = app.goaway_chance();
    let goaway = Arc::new(Notify::new());
    let told = goaway.clone();
    let activity = Activity::new();
    let streaming = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, peer, open) = (app.clone(), peer.clone(), streaming.open());
        if rand::random::<f64>() < chance {
            told.notify_one();
        }
        async move {
            let response = app.call(request.map(RequestBody::Network), peer).await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, _open: open }))
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(limits::H2_HEADER_LIST_BYTES)
        .max_send_buf_size(limits::H2_SEND_BUFFER)
        .keep_alive_interval(Some(limits::H2_PING_INTERVAL))
        .keep_alive_timeout(limits::H2_PING_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(tls), service));
    tokio::select! {
        ended = connection.as_mut() => ended,
        // Open streams go on, watches too; the client makes its next request on a new connection.
        () = async { tokio::select! { () = shutdown.cancelled() => {}, () = goaway.notified() => {} } } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = activity.idle_for(limits::IDLE) => {
            connection.as_mut().graceful_shutdown();
            // A client that never got as far as HTTP/2 hears nothing of that.
            match tokio::time::timeout(limits::DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => Ok(()),
            }
        }
    }
}
