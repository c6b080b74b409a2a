//! `/healthz`, `/livez`, `/readyz` and `/metrics` of a component, over TLS or plain HTTP.
//!
//! Health is open to all; metrics only to those the component's [`Guard`] lets in.
//! Source: "Kubernetes API health endpoints"; upstream components answer `ok` and, with `?verbose`,
//! a line per check.
use crate::metrics::Registry;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

const MAX_CONNECTIONS: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// One condition of health: the reason when it does not hold.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Decides whether a request for metrics is let in; gets the request's head and the peer's DER certificates.
pub type Guard = Arc<dyn Fn(Parts, Vec<Vec<u8>>) -> BoxFuture<'static, bool> + Send + Sync>;

/// What a component says of itself.
#[derive(Default)]
pub struct Health {
    checks: Vec<(String, Check)>,
    metrics: Option<Arc<Registry>>,
    guard: Option<Guard>,
}

impl Health {
    #[must_use]
    pub fn with_check(mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.checks.push((name.to_owned(), Box::new(check)));
        self
    }

    /// Serve these metrics. Without a guard, every request for them is answered 401.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Registry>, guard: Option<Guard>) -> Self {
        self.metrics = Some(metrics);
        self.guard = guard;
        self
    }

    /// The answer to a health path: status, and a line per check when something fails or `verbose`.
    fn report(&self, path: &str, verbose: bool) -> (StatusCode, String) {
        let mut lines = String::from("[+]ping ok\n");
        let mut failed = false;
        for (name, check) in &self.checks {
            match check() {
                Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
                Err(why) => {
                    failed = true;
                    lines.push_str(&format!("[-]{name} failed: {why}\n"));
                }
            }
        }
        let check = path.trim_start_matches('/');
        match (failed, verbose) {
            (true, _) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{check} check failed\n")),
            (false, true) => (StatusCode::OK, format!("{lines}{check} check passed\n")),
            (false, false) => (StatusCode::OK, "ok".to_owned()),
        }
    }

    async fn answer(&self, request: Request<Incoming>, certificates: &[Vec<u8>]) -> Response<Full<Bytes>> {
        let (parts, _) = request.into_parts();
        let path = parts.uri.path().to_owned();
        match (path.as_str(), &self.metrics) {
            ("/healthz" | "/livez" | "/readyz", _) => {
                let verbose = parts.uri.query().is_some_and(|q| q.split('&').any(|p| p.starts_with("verbose")));
                let (status, body) = self.report(&path, verbose);
                reply(status, "text/plain; charset=utf-8", body)
            }
            ("/metrics", Some(metrics)) => {
                let let_in = match &self.guard {
                    Some(guard) => guard(parts, certificates.to_vec()).await,
                    None => false,
                };
                if let_in {
                    reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.encode())
                } else {
                    reply(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", "Unauthorized\n".to_owned())
                }
            }
            _ => reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".to_owned()),
        }
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Serve until `shutdown`. With no `tls`, plain HTTP.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    health: Arc<Health>,
    shutdown: CancellationToken,
) {
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors or the like: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (acceptor, health, shutdown) = (acceptor.clone(), health.clone(), shutdown.clone());
        tokio::spawn(async move {
            let serving = async {
                match acceptor {
                    None => connection(stream, Vec::new(), health).await,
                    Some(acceptor) => {
                        let accepting = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
                        let Ok(Ok(stream)) = accepting.await else { return };
                        let peer = stream.get_ref().1.peer_certificates().unwrap_or_default();
                        let certificates = peer.iter().map(|c| c.as_ref().to_vec()).collect();
                        connection(stream, certificates, health).await;
                    }
                }
            };
            tokio::select! { () = shutdown.cancelled() => {}, () = serving => {} }
            drop(slot);
        });
    }
}

async fn connection<S>(stream: S, certificates: Vec<Vec<u8>>, health: Arc<Health>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let certificates = Arc::new(certificates);
    let service = hyper::service::service_fn(move |request| {
        let (health, certificates) = (health.clone(), certificates.clone());
        async move { Ok::<_, Infallible>(health.answer(request, &certificates).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "health connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_check_is_named() {
        let health = Health::default().with_check("store", || Err("closed".into())).with_check("log", || Ok(()));
        let (status, body) = health.report("/readyz", false);
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(body, "[+]ping ok\n[-]store failed: closed\n[+]log ok\nreadyz check failed\n");
        assert_eq!(Health::default().report("/healthz", false), (StatusCode::OK, "ok".to_owned()));
    }
}
