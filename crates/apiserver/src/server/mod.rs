//! The network side: accepted connections, TLS, HTTP/1.1 and HTTP/2.
//!
//! Knows nothing about the API. What always holds: connections, handshakes, headers and streams are
//! bounded ([`crate::limits`]); told to stop, it accepts no more, lets open requests finish for
//! [`crate::limits::DRAIN`], and then closes.
mod activity;
mod connection;

use crate::{App, limits};
use rustls_pki_types::CertificateDer;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Who is on the other side of a connection.
pub struct Peer {
    /// `None` in this process.
    pub address: Option<SocketAddr>,
    /// Certificates of which the client holds the key, leaf first; who signed them is for the authenticators to see.
    pub certificates: Vec<CertificateDer<'static>>,
    /// A client in this process comes with its identity.
    pub identity: Option<Arc<auth::UserInfo>>,
}

/// Accepts connections until `shutdown`, then drains.
pub async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, app: Arc<App>, shutdown: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of file descriptors: give open connections a moment to end.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%address, "too many connections, one was turned away");
            continue;
        };
        let (acceptor, app, shutdown) = (acceptor.clone(), app.clone(), shutdown.clone());
        connections.spawn(async move {
            connection::run(tcp, address, acceptor, app, shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    // Their streams would otherwise keep every connection open for the whole time to drain.
    app.end_watches();
    let drained = tokio::time::timeout(limits::DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::info!(open = connections.len(), "closing the connections that are still open");
    }
}
