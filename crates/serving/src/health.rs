//! `/healthz`, `/livez`, `/readyz`, `/metrics` and `/configz` of a component, over TLS or plain HTTP.
//!
//! Every request is first shown to the component's [`Guard`]; without one, health is open and the rest closed.
//! Source: "Kubernetes API health endpoints"; upstream components answer `ok` and, with `?verbose`,
//! a line per check.
use crate::listener::{self, silent};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use std::{convert::Infallible, sync::Arc, time::Duration};
use telemetry::metrics::Registry;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

const MAX_CONNECTIONS: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// One condition of health: the reason when it does not hold.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The certificates of which a peer holds the key, leaf first; nobody has looked who signed them.
pub type Shown = Arc<[CertificateDer<'static>]>;

/// Lets a request in, or refuses it with a status and a body; gets the request's head and what its peer shows.
pub type Guard = Arc<dyn Fn(Parts, Shown) -> BoxFuture<'static, Result<(), (StatusCode, String)>> + Send + Sync>;

/// The TLS configuration at each moment: the authority of client certificates may come to be known later.
pub type Tls = tokio::sync::watch::Receiver<Arc<rustls::ServerConfig>>;

/// What a component says of itself.
#[derive(Default)]
pub struct Health {
    checks: Vec<(String, Check)>,
    metrics: Option<Arc<Registry>>,
    configuration: Option<String>,
    guard: Option<Guard>,
}

impl Health {
    #[must_use]
    pub fn with_check(mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.checks.push((name.to_owned(), Box::new(check)));
        self
    }

    /// Serve this JSON under `/configz`.
    #[must_use]
    pub fn with_configuration(mut self, json: String) -> Self {
        self.configuration = Some(json);
        self
    }

    /// Serve these metrics. Without a guard, every request for them is answered 401.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Registry>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Who is let in.
    #[must_use]
    pub fn with_guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
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

    /// The answer to `/livez/<check>`: one check alone.
    fn one(&self, name: &str) -> (StatusCode, String) {
        if name == "ping" {
            return (StatusCode::OK, "ok".into());
        }
        match self.checks.iter().find(|(known, _)| known == name) {
            None => (StatusCode::NOT_FOUND, "404 page not found\n".into()),
            Some((_, check)) => match check() {
                Ok(()) => (StatusCode::OK, "ok".into()),
                Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
            },
        }
    }

    /// The name of the health path, and of the one check behind it if any.
    fn health_path(path: &str) -> Option<(&str, Option<&str>)> {
        let (room, check) = path.strip_prefix('/')?.split_once('/').map_or((&path[1..], None), |(r, c)| (r, Some(c)));
        let known = matches!(room, "healthz" | "livez" | "readyz");
        known.then_some((room, check.filter(|check| !check.is_empty())))
    }

    async fn answer(&self, request: Request<Incoming>, certificates: Shown) -> Response<Full<Bytes>> {
        let (parts, _) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let verbose = parts.uri.query().is_some_and(|q| q.split('&').any(|p| p.starts_with("verbose")));
        let health = Self::health_path(&path);
        let admitted = match &self.guard {
            Some(guard) => guard(parts, certificates).await,
            None if health.is_some() => Ok(()),
            None => Err((StatusCode::UNAUTHORIZED, "Unauthorized\n".to_owned())),
        };
        if let Err((status, body)) = admitted {
            let content_type = if body.starts_with('{') { JSON } else { TEXT };
            return reply(status, content_type, body);
        }
        match (health, path.as_str(), &self.metrics, &self.configuration) {
            (Some((room, None)), ..) => {
                let (status, body) = self.report(room, verbose);
                reply(status, TEXT, body)
            }
            (Some((_, Some(check))), ..) => {
                let (status, body) = self.one(check);
                reply(status, TEXT, body)
            }
            (_, "/metrics", Some(metrics), _) => {
                reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.encode())
            }
            (_, "/configz", _, Some(configuration)) => reply(StatusCode::OK, JSON, configuration.clone()),
            _ => reply(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned()),
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Serve until `shutdown`. With no `tls`, plain HTTP.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, health: Arc<Health>, shutdown: CancellationToken) {
    let handle = |stream: TcpStream| {
        let acceptor = tls.as_ref().map(|tls| tokio_rustls::TlsAcceptor::from(tls.borrow().clone()));
        let health = health.clone();
        async move {
            let Some(acceptor) = acceptor else { return connection(stream, Shown::default(), health).await };
            let accepting = tokio::time::timeout(HANDSHAKE_TIMEOUT, pki::accept(&acceptor, stream));
            let Ok(Ok(stream)) = accepting.await else { return };
            let peer = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificates = peer.iter().map(|c| c.clone().into_owned()).collect();
            connection(stream, certificates, health).await;
        }
    };
    listener::accept(listener, MAX_CONNECTIONS, shutdown, handle).await;
}

async fn connection<S>(stream: S, certificates: Shown, health: Arc<Health>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let first = Arc::new(Notify::new());
    let asked = first.clone();
    let service = hyper::service::service_fn(move |request| {
        asked.notify_one();
        let (health, certificates) = (health.clone(), certificates.clone());
        async move { Ok::<_, Infallible>(health.answer(request, certificates).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(PING_INTERVAL)).keep_alive_timeout(PING_TIMEOUT);
    tokio::select! {
        served = builder.serve_connection(TokioIo::new(stream), service) => {
            if let Err(error) = served {
                tracing::debug!(%error, "health connection ended");
            }
        }
        () = silent(&first, HEADER_TIMEOUT) => tracing::debug!("a health connection asked for nothing"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_let_go() {
        use tokio::io::AsyncWriteExt;
        // Nothing at all, and the beginning of what HTTP/2 begins with.
        for said in ["", "PRI * HT"] {
            let (mut client, server) = tokio::io::duplex(1024);
            client.write_all(said.as_bytes()).await.unwrap();
            let started = tokio::time::Instant::now();
            connection(server, Shown::default(), Arc::new(Health::default())).await;
            assert_eq!(started.elapsed(), HEADER_TIMEOUT, "{said}");
        }
    }

    #[test]
    fn a_failing_check_is_named() {
        let health = Health::default().with_check("store", || Err("closed".into())).with_check("log", || Ok(()));
        let (status, body) = health.report("/readyz", false);
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(body, "[+]ping ok\n[-]store failed: closed\n[+]log ok\nreadyz check failed\n");
        assert_eq!(Health::default().report("/healthz", false), (StatusCode::OK, "ok".to_owned()));
        assert_eq!(health.one("store"), (StatusCode::INTERNAL_SERVER_ERROR, "internal server error: closed\n".into()));
        assert_eq!((health.one("log").0, health.one("ping").0), (StatusCode::OK, StatusCode::OK));
        assert_eq!(health.one("no").0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn health_paths() {
        assert_eq!(Health::health_path("/livez"), Some(("livez", None)));
        assert_eq!(Health::health_path("/livez/"), Some(("livez", None)));
        assert_eq!(Health::health_path("/readyz/ping"), Some(("readyz", Some("ping"))));
        assert_eq!(Health::health_path("/metrics"), None);
        assert_eq!(Health::health_path("/"), None);
    }
}
