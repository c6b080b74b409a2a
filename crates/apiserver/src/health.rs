//! Plain paths: health, version, metrics, discovery, OpenAPI, token issuer documents, the list of paths.
//!
//! Sources: "Kubernetes API health endpoints", "Discovery API", "Service account issuer discovery".
use crate::{App, body::Body, chain::Ctx, negotiation, render, version};
use apimachinery::ApiError;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use std::sync::atomic::{AtomicBool, Ordering};

/// How far the server is, for `/readyz`.
#[derive(Default)]
pub struct Health {
    caches_synced: AtomicBool,
    bootstrapped: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    pub fn caches_are_synced(&self) {
        self.caches_synced.store(true, Ordering::Release);
    }

    pub fn bootstrap_is_done(&self) {
        self.bootstrapped.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// # Errors
/// 404 for a path nobody serves.
pub async fn plain_path(ctx: &Ctx<'_>) -> Result<Response<Body>, ApiError> {
    let app = ctx.app;
    let path = ctx.info.path.trim_end_matches('/');
    match path {
        "" => Ok(paths(app)),
        "/version" => Ok(typed(negotiation::JSON, version::json())),
        "/metrics" => {
            let (reads, writes) = app.limiter.inside();
            Ok(typed("text/plain; version=0.0.4; charset=utf-8", app.metrics.encode(reads, writes)))
        }
        "/.well-known/openid-configuration" | "/openid/v1/jwks" => issuer_document(app, path),
        _ if path == "/api" || path == "/apis" || path.starts_with("/api/") || path.starts_with("/apis/") => {
            discovery(ctx, path)
        }
        _ if path.starts_with("/openapi/") => crate::openapi::serve(ctx, path),
        _ => match path.strip_prefix('/').and_then(|p| split_health(p)) {
            Some((kind, check)) => health(ctx, kind, check).await,
            None => Err(ApiError::no_such_path()),
        },
    }
}

/// Paths that upstream routes by method; it does not look at the method of others.
pub fn only_get(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let api = path == "/api" || path == "/apis" || path.starts_with("/api/") || path.starts_with("/apis/");
    api || matches!(path, "/version" | "/.well-known/openid-configuration" | "/openid/v1/jwks")
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn issuer_document(app: &App, path: &str) -> Result<Response<Body>, ApiError> {
    let documents = app.keys.as_ref().ok_or_else(ApiError::no_such_path)?;
    let mut response = if path.ends_with("jwks") {
        typed("application/jwk-set+json", documents.jwks.clone())
    } else {
        typed(negotiation::JSON, documents.configuration.clone())
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}

fn discovery(ctx: &Ctx<'_>, path: &str) -> Result<Response<Body>, ApiError> {
    let discovery = ctx.app.discovery.load();
    let headers = &ctx.parts.headers;
    if negotiation::accepts_discovery(headers, "apidiscovery.k8s.io", "APIGroupDiscoveryList").is_some()
        && let Some(document) = discovery.aggregated(path)
    {
        return Ok(tagged(ctx, document, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"));
    }
    let document = discovery.document(path).ok_or_else(ApiError::no_such_path)?;
    let accept = negotiation::Accept::negotiate(headers, ctx.query)?;
    let mut response = render::encoded(accept, StatusCode::OK, document);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// A document that clients revalidate by its tag.
pub fn tagged(ctx: &Ctx<'_>, document: &crate::discovery::Tagged, content_type: &'static str) -> Response<Body> {
    let known = ctx.parts.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let unchanged = known.is_some_and(|k| k.split(',').any(|t| t.trim() == document.etag));
    let mut response = if unchanged {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        typed(content_type, document.bytes.clone())
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn paths(app: &App) -> Response<Body> {
    let discovery = app.discovery.load();
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/apis/",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, version) in &discovery.group_versions {
        if group.is_empty() {
            paths.push(format!("/api/{version}"));
        } else {
            paths.extend([format!("/apis/{group}"), format!("/apis/{group}/{version}")]);
        }
    }
    for kind in ["healthz", "livez", "readyz"] {
        paths.extend(CHECKS.iter().map(|check| format!("/{kind}/{}", check.0)));
    }
    paths.sort();
    paths.dedup();
    typed(negotiation::JSON, crate::pretty::indent(serde_json::json!({"paths": paths}).to_string().as_bytes()))
}

/// Checks by name, and whether each counts for readiness alone.
const CHECKS: &[(&str, bool)] = &[
    ("ping", false),
    ("log", false),
    ("etcd", false),
    ("informer-sync", true),
    ("poststarthook/rbac/bootstrap-roles", false),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", false),
    ("poststarthook/priority-and-fairness-config-producer", false),
    ("poststarthook/bootstrap-controller", false),
    ("shutdown", true),
];

fn split_health(path: &str) -> Option<(&str, &str)> {
    let (kind, check) = path.split_once('/').unwrap_or((path, ""));
    matches!(kind, "healthz" | "livez" | "readyz").then_some((kind, check))
}

async fn run_check(app: &App, name: &str, kind: &str) -> Result<(), &'static str> {
    let health = &app.health;
    match name {
        "etcd" => {
            let answered = tokio::time::timeout(std::time::Duration::from_secs(2), app.backend.revision()).await;
            match answered {
                Ok(Ok(_)) => Ok(()),
                _ => Err("the store does not answer"),
            }
        }
        "informer-sync" if !health.caches_synced.load(Ordering::Acquire) => Err("caches are still loading"),
        "shutdown" if health.stopping.load(Ordering::Acquire) => Err("process is shutting down"),
        hook if hook.starts_with("poststarthook/")
            && !health.bootstrapped.load(Ordering::Acquire)
            && kind != "livez" =>
        {
            Err("not finished")
        }
        _ => Ok(()),
    }
}

async fn health(ctx: &Ctx<'_>, kind: &str, only: &str) -> Result<Response<Body>, ApiError> {
    let chosen: Vec<&str> =
        CHECKS.iter().filter(|(_, ready_only)| !ready_only || kind == "readyz").map(|(name, _)| *name).collect();
    let mut report = String::new();
    let mut failed: Vec<&str> = Vec::new();
    if !only.is_empty() {
        if !chosen.contains(&only) {
            return Err(ApiError::no_such_path());
        }
        let mut response = match run_check(ctx.app, only, kind).await {
            Ok(()) => typed("text/plain; charset=utf-8", "ok"),
            Err(why) => typed("text/plain; charset=utf-8", format!("internal server error: {why}\n")),
        };
        if run_check(ctx.app, only, kind).await.is_err() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        return Ok(response);
    }
    for name in chosen {
        if ctx.query.all("exclude").any(|e| e == name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match run_check(ctx.app, name, kind).await {
            Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                tracing::debug!(check = name, why, "health check failed");
                // Reasons are withheld: the path is open to everyone.
                report.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(name);
            }
        }
    }
    let mut response = if !failed.is_empty() {
        typed("text/plain; charset=utf-8", format!("{report}{kind} check failed\n"))
    } else if ctx.query.get("verbose").is_some() {
        typed("text/plain; charset=utf-8", format!("{report}{kind} check passed\n"))
    } else {
        typed("text/plain; charset=utf-8", "ok")
    };
    if !failed.is_empty() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    Ok(response)
}
