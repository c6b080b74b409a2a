//! Cluster DNS: authoritative for the cluster's domain, forwarding everything else.
//!
//! Source: "Kubernetes DNS-Based Service Discovery" 1.1.0 (github.com/kubernetes/dns). Answers come from
//! an index that the watches keep; a question never waits for the API.
mod flags;
mod forward;
mod handler;
mod index;
mod watch;
mod zone;

pub use flags::{Flags, UNSUPPORTED_FLAGS};

use client::Connection;
use hickory_server::Server;
use parking_lot::RwLock;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

/// A connection over TCP that asks nothing for that long is closed.
const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers waiting for a slow TCP reader.
const TCP_RESPONSE_BUFFER: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Connection(#[from] client::Error),
    #[error("--kubeconfig is needed")]
    NoConnection,
    #[error("listening on {address}: {source}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("--cluster-domain {0:?} is not a domain name")]
    Domain(String),
}

/// Serve until `shutdown`. `connection` overrides `--kubeconfig`.
///
/// # Errors
/// The address is taken, or the flags make no sense.
pub async fn run(flags: Flags, connection: Option<Connection>, shutdown: CancellationToken) -> Result<(), Error> {
    let connection = match (connection, flags.kubeconfig.clone()) {
        (Some(connection), _) => connection,
        (None, Some(path)) => Connection::Kubeconfig(path),
        (None, None) => return Err(Error::NoConnection),
    };
    let client = connection.client().await?;
    let zone =
        zone::Zone::new(&flags.cluster_domain, flags.ttl).ok_or_else(|| Error::Domain(flags.cluster_domain.clone()))?;
    let index = Arc::new(RwLock::new(index::Index::default()));
    let address = SocketAddr::new(flags.bind_address, flags.port);
    let wrap = |source| Error::Bind { address, source };
    let udp = UdpSocket::bind(address).await.map_err(wrap)?;
    let tcp = TcpListener::bind(udp.local_addr().map_err(wrap)?).await.map_err(wrap)?;
    let upstreams = forward::upstreams(&flags, address)?;
    tracing::info!(%address, ?upstreams, "DNS is served");
    let handler = handler::Handler::new(zone, index.clone(), forward::Forwarder::new(upstreams));
    let mut server = Server::new(handler);
    server.register_socket(udp);
    server.register_listener(tcp, TCP_IDLE_TIMEOUT, TCP_RESPONSE_BUFFER);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch::keep(client, &index) => {}
    }
    if let Err(error) = server.shutdown_gracefully().await {
        tracing::debug!(%error, "DNS server ended");
    }
    Ok(())
}
