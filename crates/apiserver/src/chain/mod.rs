//! From an HTTP request to its handler, and from the handler's result to a response.
//!
//! The order is upstream's: panic capture, request info, authentication, impersonation, flow control,
//! authorization, then the handler (which runs admission). The only way to a handler leads through here.
pub mod admit;
mod authorize;
pub mod limiter;
mod panics;

use crate::{
    App,
    body::{Body, RequestBody},
    handlers, health, limits, negotiation,
    negotiation::Accept,
    query::{Query, percent_decode},
    request_info::RequestInfo,
    server::Peer,
};
use apimachinery::ApiError;
use auth::{Authenticator, Credentials, UserInfo};
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// One request, as handlers see it.
pub struct Ctx<'a> {
    pub app: &'a Arc<App>,
    pub parts: &'a Parts,
    pub info: RequestInfo<'a>,
    pub query: &'a Query<'a>,
    pub user: Arc<UserInfo>,
    pub accept: Accept,
    /// Sent as `Warning: 299` headers.
    pub warnings: Vec<String>,
}

impl App {
    /// Answer one request. Never fails and never panics.
    pub async fn call(self: &Arc<Self>, request: Request<RequestBody>, peer: Arc<Peer>) -> Response<Body> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        // Taken out before anything borrows the head; only proxied requests use it.
        let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let query = Query::parse(parts.uri.query());
        let path = percent_decode(parts.uri.path(), false);
        let info = RequestInfo::parse(&parts.method, &path, &query);
        let (verb, group, version) = (info.verb, info.group, info.version);
        let (resource, subresource) = (info.resource, info.subresource);
        let long_running = info.long_running();

        // Pinned where it is made: handed on by value, its state would be copied at every step.
        let answer = std::pin::pin!(self.answer(&parts, info, &query, body, &peer, upgrade));
        let mut response = match panics::caught(answer).await {
            Ok(response) => response,
            Err(error) => failure(&parts, &query, &error),
        };
        self.metrics.observe(
            &crate::metrics::Seen { verb, group, version, resource, subresource, long_running },
            response.status(),
            started.elapsed(),
        );
        if parts.method == http::Method::HEAD {
            let length = http_body::Body::size_hint(response.body()).exact();
            *response.body_mut() = Body::empty();
            if let Some(length) = length {
                response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
            }
        }
        let headers = response.headers_mut();
        if peer.address.is_some() {
            headers.insert(AUDIT_ID, audit_id(&parts));
        }
        headers.entry("cache-control").or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }

    async fn answer(
        self: &Arc<Self>,
        parts: &Parts,
        info: RequestInfo<'_>,
        query: &Query<'_>,
        body: RequestBody,
        peer: &Peer,
        upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Result<Response<Body>, ApiError> {
        let user = self.authenticate(parts, peer).await?;
        let user = match auth::impersonation::resolve(&parts.headers, &user, &*self.authorizer)? {
            Some(impersonated) => Arc::new(impersonated),
            None => user,
        };
        let limited = self.flow_control.as_ref().filter(|_| !info.long_running() || info.verb == "watch");
        let class = limited.and_then(|control| control.classify(&info, &user));
        let Some(_place) = self.limiter.enter(&info, &user) else { return Ok(too_many_requests()) };
        let limit = self.time_limit(query)?;
        let seat = match (limited, &class) {
            (Some(control), Some(class)) => control.enter(class, limit / 4).await.map(Some),
            _ => Some(None),
        };
        let ctx = Ctx { app: self, parts, info, query, user, accept: Accept::json(), warnings: Vec::new() };
        let mut response = match seat {
            // A watch gives its seat back once it has begun.
            Some(_seat) => match authorized(ctx, body, upgrade, limit).await {
                Ok(response) => response,
                Err(error) => failure(parts, query, &error),
            },
            None => too_many_requests(),
        };
        if let Some(class) = &class {
            class.mark(response.headers_mut());
        }
        Ok(response)
    }

    async fn authenticate(&self, parts: &Parts, peer: &Peer) -> Result<Arc<UserInfo>, ApiError> {
        if let Some(identity) = &peer.identity {
            return Ok(identity.clone());
        }
        let credentials = Credentials { headers: &parts.headers, peer_certificates: &peer.certificates };
        match self.authenticator.authenticate(&credentials).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(ApiError::unauthorized()),
            Err(why) => {
                tracing::debug!(%why, "request not authenticated");
                Err(why.into())
            }
        }
    }

    /// The server's own, or less if the client says so.
    fn time_limit(&self, query: &Query<'_>) -> Result<std::time::Duration, ApiError> {
        let limit = self.flags.request_timeout.0;
        let Some(text) = query.get("timeout").filter(|t| !t.is_empty()) else { return Ok(limit) };
        match text.parse::<crate::GoDuration>() {
            Ok(asked) if asked.0.is_zero() => Ok(limit),
            Ok(asked) => Ok(asked.0.min(limit)),
            Err(_) => Err(ApiError::bad_request("invalid timeout specified in the request URL")),
        }
    }
}

/// By which a request can be found in an audit log: the client's, or a new one.
const AUDIT_ID: header::HeaderName = header::HeaderName::from_static("audit-id");

fn audit_id(parts: &Parts) -> HeaderValue {
    if let Some(given) = parts.headers.get(AUDIT_ID).filter(|id| !id.is_empty()) {
        return given.clone();
    }
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A request that has its seat: whether it is allowed, then its handler.
async fn authorized(
    mut ctx: Ctx<'_>,
    body: RequestBody,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
    limit: Duration,
) -> Result<Response<Body>, ApiError> {
    authorize::request(ctx.app, &ctx.info, ctx.query, &ctx.user)?;
    let api = ctx.app.discovery.load().is_below_root(ctx.info.path);
    if !ctx.info.resource_request {
        return match answer_path(&ctx).await {
            Err(error) if error.code == 404 && !api => Ok(page_not_found()),
            other => other,
        };
    }
    if !api {
        return Ok(page_not_found());
    }
    // The bodies of the others are not API objects, and clients ask for them with all sorts of Accept headers.
    if !matches!(ctx.info.subresource, "log" | "proxy" | "exec" | "attach" | "portforward") {
        ctx.accept = Accept::negotiate(&ctx.parts.headers, ctx.query)?;
    }
    let unlimited = ctx.info.long_running();
    let handled = {
        let handler = std::pin::pin!(handlers::dispatch(&mut ctx, body, upgrade));
        if unlimited {
            handler.await
        } else {
            tokio::time::timeout(limit, handler).await.unwrap_or_else(|_| Err(timed_out(limit)))
        }
    };
    let mut response = match handled {
        Ok(response) => response,
        Err(error) => failure(ctx.parts, ctx.query, &error),
    };
    add_warnings(&mut response, &ctx.warnings);
    Ok(response)
}

/// A path that is no resource: health, discovery, version and the like.
async fn answer_path(ctx: &Ctx<'_>) -> Result<Response<Body>, ApiError> {
    if !matches!(ctx.info.verb, "get" | "head") && health::only_get(ctx.info.path) {
        return Err(handlers::method_not_allowed());
    }
    health::plain_path(ctx).await
}

/// What is no API at all is answered as by any web server.
fn page_not_found() -> Response<Body> {
    page(StatusCode::NOT_FOUND, b"404 page not found\n")
}

/// As upstream turns requests away, before it knows in which form they want their answer.
fn too_many_requests() -> Response<Body> {
    let mut response = page(StatusCode::TOO_MANY_REQUESTS, b"Too many requests, please try again later.\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn page(status: StatusCode, text: &'static [u8]) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes::Bytes::from_static(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn timed_out(limit: std::time::Duration) -> ApiError {
    tracing::warn!(seconds = limit.as_secs(), "request timed out");
    ApiError::timeout("request did not complete within the allotted timeout")
}

/// An error as the client accepts it.
pub fn failure(parts: &Parts, query: &Query<'_>, error: &ApiError) -> Response<Body> {
    let accept = Accept::negotiate(&parts.headers, query).unwrap_or_else(|_| Accept::json());
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = crate::render::encoded(accept, status, error.to_json().into());
    if let Some(details) = &error.details
        && details.retry_after_seconds > 0
    {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(details.retry_after_seconds));
    }
    response
}

/// `Warning: 299 - "text"`, as RFC 9110 quotes it, within [`limits::WARNING_BYTES`].
fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    let mut left = limits::WARNING_BYTES;
    for (i, text) in warnings.iter().enumerate() {
        if warnings.iter().take(i).any(|w| w == text) {
            continue;
        }
        let quoted: String = text.chars().filter(|c| !c.is_control()).flat_map(escape).collect();
        let value = format!("299 - \"{quoted}\"");
        if value.len() > left {
            break;
        }
        left -= value.len();
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

fn escape(c: char) -> impl Iterator<Item = char> {
    matches!(c, '"' | '\\').then_some('\\').into_iter().chain(std::iter::once(c))
}

impl Accept {
    /// Plain JSON, for answers that have no other form.
    pub fn json() -> Self {
        Accept { format: negotiation::Format::Json, form: Default::default(), pretty: false, gzip: false }
    }
}
