//! The kubelet's HTTPS server: what the API server, metrics-server and `kubectl` (through the API server) ask of a node.
//!
//! Always true: nothing is answered, not even health, before the caller is authenticated and authorised
//! (`auth`); connections and their buffers are bounded; a stream ends with the client's connection.
mod answer;
mod attributes;
mod auth;
mod container_logs;
mod metrics;
pub mod node_usage;
mod query;
mod routes;
mod serving_certificate;
pub mod stats;
mod streams;
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Pod;
use rustls::pki_types::CertificateDer;
use tls::Current;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

const MAX_CONNECTIONS: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a request's head may take. Source: upstream's `ReadHeaderTimeout`.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);

/// The pods of this node, as the kubelet knows them.
pub trait PodSource: Send + Sync {
    /// All pods, with the status last known.
    fn all(&self) -> Vec<Arc<Pod>>;
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>>;
}

/// What the server answers from.
pub struct State {
    pub config: Arc<Config>,
    /// Asked by TokenReview and SubjectAccessReview.
    pub client: Option<kube::Client>,
    pub runtime: Arc<dyn cri::Runtime>,
    pub pods: Arc<dyn PodSource>,
    pub counts: Arc<crate::counts::Counts>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{what}: {}: {source}", path.display())]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("serving certificate: {0}")]
    Certificate(#[from] pki::Error),
    #[error("no client provided, cannot use webhook {0}")]
    NoClient(&'static str),
}

/// What the tasks of all connections share.
struct Server {
    state: Arc<State>,
    auth: auth::Auth,
    node: node_usage::Sampler,
    started: jiff::Timestamp,
}

/// Serves on the configured address and port until `shutdown`.
///
/// # Errors
/// The port is taken, a certificate cannot be used, or webhooks are configured without an API server.
pub async fn serve(state: Arc<State>, shutdown: CancellationToken) -> Result<(), Error> {
    let address = SocketAddr::new(state.config.address, state.config.port);
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let tls = certificate(&state, &shutdown)?;
    let auth = auth::Auth::new(&state.config, state.client.clone())?;
    let server =
        Arc::new(Server { state, auth, node: node_usage::Sampler::default(), started: jiff::Timestamp::now() });
    tracing::info!(%address, "serving the kubelet's API");
    let handle = |stream| {
        let (tls, server) = (tls.borrow().clone().map(TlsAcceptor::from), server.clone());
        async move {
            match tls {
                Some(tls) => connection(stream, tls, server).await,
                None => tracing::warn!("a connection is refused: no serving certificate available for the kubelet"),
            }
        }
    };
    serving::listener::accept(listener, MAX_CONNECTIONS, shutdown, handle).await;
    Ok(())
}

/// The certificate to serve with: a file's or a self-signed one for good, or those that are asked for one after another.
fn certificate(state: &State, shutdown: &CancellationToken) -> Result<watch::Receiver<Current>, Error> {
    let config = &state.config;
    let by_request = config.server_tls_bootstrap && config.tls_cert_file.is_none();
    let Some(client) = state.client.clone().filter(|_| by_request) else {
        return Ok(watch::channel(Some(Arc::new(tls::configuration(config)?))).1);
    };
    let (sender, current) = watch::channel(None);
    tokio::spawn(serving_certificate::keep(config.clone(), client, sender, shutdown.clone()));
    Ok(current)
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, server: Arc<Server>) {
    // Terminals send single bytes.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, pki::accept(&tls, stream)).await else { return };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer: Arc<[CertificateDer<'static>]> = shown.iter().map(|der| der.clone().into_owned()).collect();
    let first = Arc::new(Notify::new());
    let asked = first.clone();
    let service = hyper::service::service_fn(move |request| {
        asked.notify_one();
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<_, Infallible>(routes::answer(server, peer, request).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(100);
    http2.keep_alive_interval(Some(PING_INTERVAL)).keep_alive_timeout(PING_TIMEOUT);
    tokio::select! {
        served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service) => {
            if let Err(error) = served {
                tracing::debug!(%error, "kubelet connection ended");
            }
        }
        () = serving::listener::silent(&first, HEADER_TIMEOUT) => tracing::debug!("a connection asked for nothing"),
    }
}
