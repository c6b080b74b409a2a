//! Requests that end at a node or a pod: logs, exec, attach, port-forward, and `/proxy`.
//!
//! The kubelet's answer is passed on as bytes; after a 101 both connections become one tunnel. What never
//! leaves the cluster: the client's credentials. Source: `pkg/registry/core/pod/rest`, `pkg/kubelet/client`.
mod html;
mod location;
mod log_socket;
mod rewrite;
mod transport;
mod tunnel;

pub use transport::KubeletTransport;

use crate::{
    body::{Body, RequestBody},
    chain::{
        Ctx,
        admit::{self, Change},
    },
    handlers::method_not_allowed,
    registry::Endpoint,
};
use admission::Operation;
use apimachinery::{
    ApiError,
    status::{Cause, Details},
};
use auth::Attributes;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, upgrade::OnUpgrade};

/// Where a request goes.
pub struct Destination {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// With its query.
    pub path: String,
    /// For `/proxy`: the path up to and with it.
    pub prefix: Option<String>,
    /// A kubelet: our client certificate is shown, and its errors become API errors.
    pub kubelet: bool,
}

/// How much of a kubelet's error text goes into a `Status`.
const ERROR_BYTES: usize = 64 * 1024;

/// # Errors
/// The answer to the client.
pub async fn serve(
    ctx: &mut Ctx<'_>,
    endpoint: &Endpoint,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, ApiError> {
    let destination = match (ctx.info.resource, ctx.info.subresource) {
        ("pods", "log") if ctx.info.verb == "get" => match location::log(ctx, endpoint).await? {
            Some(destination) => destination,
            // No node yet: nothing was logged.
            None if log_socket::is_wanted(&ctx.parts.headers) => {
                return log_socket::answer(&ctx.parts.headers, upgrade, Full::<Bytes>::default());
            }
            None => return Ok(text_response()),
        },
        ("pods", "log") => return Err(method_not_allowed()),
        ("pods", "exec" | "attach" | "portforward") => {
            may_create(ctx)?;
            connect_admission(ctx, endpoint).await?;
            location::stream(ctx, endpoint).await?
        }
        ("pods", _) => location::pod_proxy(ctx, endpoint).await?,
        ("services", _) => location::service_proxy(ctx).await?,
        _ => location::node_proxy(ctx).await?,
    };
    if let Some(redirect) = to_root(ctx, &destination) {
        return Ok(redirect);
    }
    let log = ctx.info.subresource == "log";
    let request = outgoing(ctx, &destination, body)?;
    let mut answer =
        ctx.app.kubelets.send(&destination, request).await.map_err(|why| unreachable_backend(&destination, &why))?;

    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else {
            return Err(ApiError::bad_request("the backend switched protocols, but the request cannot"));
        };
        let backend = hyper::upgrade::on(&mut answer);
        tunnel::spawn(client, backend);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = answer.headers().clone();
        return Ok(response);
    }
    if destination.kubelet && ctx.info.subresource != "proxy" && !answer.status().is_success() {
        return Err(kubelet_error(ctx, answer).await);
    }
    let (parts, incoming) = answer.into_parts();
    if log && log_socket::is_wanted(&ctx.parts.headers) {
        return log_socket::answer(&ctx.parts.headers, upgrade, incoming);
    }
    let mut response = Response::new(Body::Relayed(incoming));
    *response.status_mut() = parts.status;
    copy_headers(&parts.headers, response.headers_mut());
    if log {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if let Some(prefix) = destination.prefix {
        let backend = authority(&destination.host, destination.port);
        let host = request_host(ctx).to_owned();
        rewrite::answer(rewrite::Base { prefix, backend, host }, &mut response);
    }
    Ok(response)
}

/// The root of a backend is a folder: links on its page are relative to that.
fn to_root(ctx: &Ctx<'_>, destination: &Destination) -> Option<Response<Body>> {
    let path = ctx.parts.uri.path();
    let reads = matches!(ctx.parts.method, http::Method::GET | http::Method::HEAD);
    if !reads || destination.prefix.as_deref() != Some(path) || wants_upgrade(&ctx.parts.headers) {
        return None;
    }
    let query = ctx.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&format!("{path}/{query}")).ok()?);
    Some(response)
}

/// The host that the client asked for.
fn request_host<'a>(ctx: &'a Ctx<'_>) -> &'a str {
    let header = ctx.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| ctx.parts.uri.authority().map(|a| a.as_str())).unwrap_or_default()
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn text_response() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// A WebSocket begins with a GET, but a process or a connection is made: reading alone must not be enough. Source:
/// upstream's `AuthorizePodWebsocketUpgradeCreatePermission`, on by default since 1.35.
fn may_create(ctx: &Ctx<'_>) -> Result<(), ApiError> {
    let info = &ctx.info;
    if info.verb != "get" {
        return Ok(());
    }
    ctx.app.authorizer.require(&Attributes {
        version: info.version,
        subresource: info.subresource,
        namespace: info.namespace,
        name: info.name,
        path: info.path,
        ..Attributes::resource(&ctx.user, "create", info.group, info.resource)
    })
}

async fn connect_admission(ctx: &mut Ctx<'_>, endpoint: &Endpoint) -> Result<(), ApiError> {
    let info = ctx.info.clone();
    let change = Change {
        operation: Operation::Connect,
        subresource: info.subresource,
        namespace: info.namespace,
        name: info.name,
        old: None,
        dry_run: false,
    };
    admit::mutate(ctx, endpoint, &change, None).await?;
    admit::validate(ctx, endpoint, &change, None).await
}

fn unreachable_backend(destination: &Destination, why: &str) -> ApiError {
    tracing::info!(host = %destination.host, port = destination.port, why, "proxy");
    if destination.prefix.is_some() {
        return ApiError::unavailable(format!("error trying to reach service: {why}"));
    }
    let message = format!("error dialing backend: {why}");
    let mut error = ApiError::internal(&message);
    error.message = message;
    error
}

/// Headers that belong to one connection, and those that carry the client's identity.
fn forwarded(name: &header::HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "host"
            | "authorization"
            | "proxy-authorization"
            | "proxy-connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "connection"
            | "upgrade"
            | "content-length"
            | "cookie"
    ) && !name.as_str().starts_with("impersonate-")
        && !name.as_str().starts_with("x-remote-")
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if forwarded(name) || name == header::CONTENT_LENGTH {
            to.append(name.clone(), value.clone());
        }
    }
}

fn outgoing(ctx: &Ctx<'_>, destination: &Destination, body: RequestBody) -> Result<Request<RequestBody>, ApiError> {
    let uri: Uri = destination.path.parse().map_err(|e| ApiError::bad_request(format!("path: {e}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = ctx.parts.method.clone();
    *request.uri_mut() = uri;
    // A log is always fetched as a plain response; who wants messages gets them from us.
    let upgrading = wants_upgrade(&ctx.parts.headers) && ctx.info.subresource != "log";
    let headers = request.headers_mut();
    for (name, value) in &ctx.parts.headers {
        if forwarded(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    // Bearer tokens sent as a subprotocol stay here as well.
    if let Some(protocols) = without_token(&ctx.parts.headers) {
        headers.remove("sec-websocket-protocol");
        for protocol in protocols {
            headers.append("sec-websocket-protocol", protocol);
        }
    }
    if let Some(length) = ctx.parts.headers.get(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, length.clone());
    }
    if upgrading {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = ctx.parts.headers.get(header::UPGRADE) {
            headers.insert(header::UPGRADE, protocol.clone());
        }
    }
    let backend = authority(&destination.host, destination.port);
    let host = if destination.prefix.is_some() { request_host(ctx) } else { "" };
    let host = HeaderValue::from_str(if host.is_empty() { &backend } else { host });
    headers.insert(header::HOST, host.map_err(|e| ApiError::bad_request(format!("host: {e}")))?);
    if destination.prefix.is_some() {
        if let Ok(uri) = HeaderValue::from_str(ctx.parts.uri.path()) {
            headers.insert("x-forwarded-uri", uri);
        }
        if rewrite::wants_pages(&ctx.parts.headers) {
            headers.remove(header::ACCEPT_ENCODING);
        }
    }
    Ok(request)
}

fn without_token(headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
    const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";
    let all: Vec<&str> = headers.get_all("sec-websocket-protocol").iter().filter_map(|v| v.to_str().ok()).collect();
    if !all.iter().any(|v| v.contains(TOKEN)) {
        return None;
    }
    let kept = all.iter().flat_map(|v| v.split(',')).map(str::trim).filter(|p| !p.starts_with(TOKEN));
    Some(kept.filter_map(|p| HeaderValue::from_str(p).ok()).collect())
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case("upgrade")))
}

/// As upstream turns a kubelet's refusal into a `Status`.
async fn kubelet_error(ctx: &Ctx<'_>, answer: Response<Incoming>) -> ApiError {
    let status = answer.status();
    let mut body = answer.into_body();
    let mut text: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() >= ERROR_BYTES {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned();
    match status.as_u16() {
        500 => ApiError::internal(text),
        400 => ApiError::bad_request(text),
        code => {
            let (reason, message) = match code {
                401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
                403 => ("Forbidden", text.clone()),
                404 => ("NotFound", "the server could not find the requested resource".to_owned()),
                405 => {
                    ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned())
                }
                503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
                _ => ("", format!("an error on the server ({text:?}) has prevented the request from succeeding")),
            };
            let message = format!("{message} ( {} {})", ctx.info.resource, ctx.info.name);
            let mut error = ApiError::new(code, reason, message);
            let cause = Cause { reason: "UnexpectedServerResponse".into(), message: text, field: String::new() };
            error.details = Some(Box::new(Details {
                name: ctx.info.name.to_owned(),
                kind: ctx.info.resource.to_owned(),
                causes: vec![cause],
                ..Details::default()
            }));
            error
        }
    }
}
