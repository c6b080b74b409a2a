//! Raw requests: JSON in, JSON out, errors as the server words them.
use crate::{Error, Result, context::refused, error::Status};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use std::{
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

pub const JSON: &str = "application/json";
/// Server-side printing, and plain JSON from servers that cannot.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Larger answers are refused: no list comes in pieces that large.
const MAX_ANSWER_BYTES: usize = 1 << 30;
/// A server that asks to be asked again later is asked that often again: as often as client-go does.
const MAX_RETRIES: usize = 10;

/// Warnings that came so far.
static WARNINGS: AtomicUsize = AtomicUsize::new(0);

/// `--warnings-as-errors`: the exit code after a success; warnings are told of once more.
pub fn warned() -> i32 {
    match WARNINGS.load(Ordering::Relaxed) {
        0 => return 0,
        1 => eprintln!("error: 1 warning received"),
        count => eprintln!("error: {count} warnings received"),
    }
    1
}

/// The text of a warning header: `299 - "text"`.
fn warning_text(header: &str) -> String {
    let quoted = header.splitn(3, ' ').nth(2).unwrap_or(header);
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
    inner.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// `-v`: how much is logged.
static VERBOSITY: AtomicU8 = AtomicU8::new(0);
/// From these on, requests, their headers, and bodies are logged: upstream's levels.
const REQUESTS: u8 = 6;
const RETRIES: u8 = 4;
const HEADERS: u8 = 7;
const BODIES: u8 = 8;

/// How much is logged from now on.
pub fn set_verbosity(level: u8) {
    VERBOSITY.store(level, Ordering::Relaxed);
}

/// A line on standard error in klog's form, from this level on.
fn log(level: u8, text: impl FnOnce() -> String) {
    if VERBOSITY.load(Ordering::Relaxed) >= level {
        let now = jiff::Zoned::now().strftime("I%m%d %H:%M:%S%.6f").to_string();
        eprintln!("{now} {:>7} http.rs] {}", std::process::id(), text());
    }
}

/// What is logged of a request.
struct Trace {
    verb: Method,
    url: String,
    started: Instant,
}

impl Trace {
    fn of(request: &Request<Body>, server: &str) -> Self {
        let trace = Trace {
            verb: request.method().clone(),
            url: format!("{server}{}", request.uri()),
            started: Instant::now(),
        };
        log(HEADERS, || {
            format!("\"Request\" verb=\"{}\" url=\"{}\"{}", trace.verb, trace.url, headers(request.headers()))
        });
        trace
    }

    fn tell(&self, response: &Response<Body>) {
        let (status, spent) = (response.status(), self.started.elapsed().as_millis());
        let headers =
            if VERBOSITY.load(Ordering::Relaxed) >= HEADERS { headers(response.headers()) } else { String::new() };
        let (verb, url) = (&self.verb, &self.url);
        log(REQUESTS, || {
            format!("\"Response\" verb=\"{verb}\" url=\"{url}\" status=\"{status}\"{headers} milliseconds={spent}")
        });
    }
}

/// Headers, one a line, without what proves who one is.
fn headers(map: &http::HeaderMap) -> String {
    let line = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        let shown = if name == header::AUTHORIZATION { "<masked>" } else { value.to_str().unwrap_or("<binary>") };
        format!("\t{name}: {shown}\n")
    };
    format!(" headers=<\n{} >", map.iter().map(line).collect::<String>())
}

/// Requests to one server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    server: String,
}

impl Api {
    pub fn new(client: kube::Client, server: String) -> Self {
        Api { client, server }
    }

    fn host(&self) -> &str {
        self.server.split_once("://").map_or(self.server.as_str(), |(_, host)| host)
    }

    /// The answer, whatever its body is, once its status is a success; warnings go to standard error.
    ///
    /// # Errors
    /// The server is not there, or answers with an error.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>> {
        let subject = subject(request.method(), request.uri().path());
        self.answer(request, &subject).await
    }

    /// As [`Api::send`]; `subject` is what is said of the request where the server says nothing.
    async fn answer(&self, request: Request<Body>, subject: &str) -> Result<Response<Body>> {
        let response = self.patiently(request).await?;
        for warning in response.headers().get_all(header::WARNING) {
            WARNINGS.fetch_add(1, Ordering::Relaxed);
            eprintln!("Warning: {}", warning_text(warning.to_str().unwrap_or_default()));
        }
        if response.status().is_success() || response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_text = kind.is_none_or(|kind| kind.starts_with("text/"));
        let body = self.collect(response).await?;
        Err(Error::Server(Box::new(status(code, &body, is_text, subject))))
    }

    /// The answer, asked for again for as long as the server says when to come back.
    async fn patiently(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        for attempt in 1..=MAX_RETRIES {
            let Some(copy) = body.try_clone() else { break };
            let response = self.once(Request::from_parts(parts.clone(), copy)).await?;
            let Some(seconds) = retry_after(&response) else { return Ok(response) };
            log(RETRIES, || format!("\"Got a Retry-After response\" delay=\"{seconds}s\" attempt={attempt}"));
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        self.once(Request::from_parts(parts, body)).await
    }

    async fn once(&self, request: Request<Body>) -> Result<Response<Body>> {
        let trace = Trace::of(&request, &self.server);
        let response = self.client.send(request).await.map_err(|error| self.unreachable(&error))?;
        trace.tell(&response);
        Ok(response)
    }

    fn unreachable(&self, error: &kube::Error) -> Error {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut innermost = error.to_string();
        while let Some(inner) = source {
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return Error::Connection(refused(self.host()));
            }
            innermost = inner.to_string();
            source = inner.source();
        }
        Error::Connection(format!("Unable to connect to the server: {innermost}"))
    }

    async fn collect(&self, response: Response<Body>) -> Result<Bytes> {
        let body = self.collected(response).await?;
        log(BODIES, || format!("\"Response Body\" body={:?}", String::from_utf8_lossy(&body)));
        Ok(body)
    }

    async fn collected(&self, response: Response<Body>) -> Result<Bytes> {
        let limited = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let body =
            limited.collect().await.map_err(|e| Error::Connection(format!("Unable to connect to the server: {e}")))?;
        Ok(body.to_bytes())
    }

    /// One request with an optional JSON body; the answer as JSON.
    ///
    /// # Errors
    /// As [`Api::send`]; the answer is not JSON.
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let body = match body {
            Some(value) => Body::from(serde_json::to_vec(value)?),
            None => Body::empty(),
        };
        let request = request(method, path, content_type, accept, body)?;
        let bytes = self.collect(self.send(request).await?).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// # Errors
    /// As [`Api::json`].
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, JSON, JSON, None).await
    }

    /// The body as it comes.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn get_raw(&self, path: &str) -> Result<Bytes> {
        let request = request(Method::GET, path, JSON, "application/json, */*", Body::empty())?;
        self.collect(self.answer(request, "").await?).await
    }

    /// A JSON body sent; the answer as it comes.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn post_raw(&self, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let request = request(Method::POST, path, JSON, JSON, Body::from(body))?;
        self.collect(self.answer(request, "").await?).await
    }

    /// As [`Api::post_raw`], with DELETE and no body.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn delete_raw(&self, path: &str) -> Result<Bytes> {
        let request = request(Method::DELETE, path, JSON, JSON, Body::empty())?;
        self.collect(self.answer(request, "").await?).await
    }

    /// As [`Api::post_raw`], with PUT.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn put_raw(&self, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let request = request(Method::PUT, path, JSON, JSON, Body::from(body))?;
        self.collect(self.answer(request, "").await?).await
    }

    /// # Errors
    /// As [`Api::json`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, JSON, JSON, Some(body)).await
    }

    /// # Errors
    /// As [`Api::json`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::PUT, path, JSON, JSON, Some(body)).await
    }

    /// `kind`: a patch content type, such as `application/merge-patch+json`.
    ///
    /// # Errors
    /// As [`Api::json`].
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Result<Value> {
        self.json(Method::PATCH, path, kind, JSON, Some(body)).await
    }

    /// `options`: a `DeleteOptions`.
    ///
    /// # Errors
    /// As [`Api::json`].
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value> {
        self.json(Method::DELETE, path, JSON, JSON, Some(options)).await
    }

    /// The answer's lines as they come: a watch, or a log.
    ///
    /// # Errors
    /// As [`Api::send`].
    pub async fn stream(&self, path: &str, accept: &str) -> Result<Lines> {
        let request = request(Method::GET, path, JSON, accept, Body::empty())?;
        Ok(Lines { body: self.send(request).await?.into_body(), buffered: Vec::new() })
    }
}

fn request(method: Method, path: &str, content_type: &str, accept: &str, body: Body) -> Result<Request<Body>> {
    let builder = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
    let builder = builder.header(header::CONTENT_TYPE, content_type);
    builder.body(body).map_err(|e| Error::message(format!("{path}: {e}")))
}

/// The seconds after which a server that cannot answer now wants to be asked again.
fn retry_after(response: &Response<Body>) -> Option<u64> {
    let code = response.status();
    if code != http::StatusCode::TOO_MANY_REQUESTS && !code.is_server_error() {
        return None;
    }
    response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// Verb, resource and name of a request, as client-go says them: `get deployments.apps web`.
fn subject(method: &Method, path: &str) -> String {
    let pieces: Vec<&str> = path.split('/').filter(|piece| !piece.is_empty()).collect();
    let (group, rest) = match pieces.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return String::new(),
    };
    let rest = match rest {
        // These are of the namespace itself.
        ["namespaces", _, "status" | "finalize"] => rest,
        ["namespaces", _, inner @ ..] if !inner.is_empty() => inner,
        _ => rest,
    };
    let Some((resource, names)) = rest.split_first() else { return String::new() };
    let dot = if group.is_empty() { "" } else { "." };
    let name = names.first().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{} {resource}{dot}{group}{name}", method.as_str().to_lowercase())
}

/// What is said of an answer that is no `Status`: reason and message.
///
/// Source: `NewGenericServerResponse` of `k8s.io/apimachinery/pkg/api/errors`.
fn generic(code: u16, text: &str) -> Option<(&'static str, String)> {
    let said = |instead: &str| if text == UNKNOWN { instead.to_owned() } else { text.to_owned() };
    Some(match code {
        400 => ("BadRequest", "the server rejected our request for an unknown reason".into()),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".into()),
        403 => ("Forbidden", text.to_owned()),
        404 => ("NotFound", "the server could not find the requested resource".into()),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource".into()),
        406 => ("NotAcceptable", said("the server was unable to respond with a content type that the client supports")),
        409 => ("Conflict", "the server reported a conflict".into()),
        415 => (
            "UnsupportedMediaType",
            said("the server was unable to respond with a content type that the client supports"),
        ),
        422 => ("Invalid", "the server rejected our request due to an error in our request".into()),
        429 => {
            ("TooManyRequests", "the server has received too many requests and has asked us to try again later".into())
        }
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".into()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .into(),
        ),
        500.. => {
            ("InternalError", format!("an error on the server ({text:?}) has prevented the request from succeeding"))
        }
        _ => return None,
    })
}

/// What stands for a body that is not for people to read.
const UNKNOWN: &str = "unknown";

/// What an error answer says; servers behind proxies do not always answer with a `Status`.
fn status(code: u16, body: &[u8], is_text: bool, subject: &str) -> Status {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let plain = String::from_utf8_lossy(body);
    if value["kind"] != "Status"
        && let Some((reason, message)) = generic(code, if is_text { plain.trim() } else { UNKNOWN })
    {
        let message = if subject.is_empty() { message } else { format!("{message} ({subject})") };
        return Status { code, reason: reason.into(), message, body: value };
    }
    let message = match text("message") {
        empty if empty.is_empty() => match plain.trim() {
            "" => format!("the server responded with the status code {code}"),
            plain => plain.to_owned(),
        },
        message => message,
    };
    Status { code, reason: text("reason"), message, body: value }
}

/// The lines of an answer that goes on.
pub struct Lines {
    body: Body,
    buffered: Vec<u8>,
}

impl Lines {
    /// The next piece of the body, as it arrived.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|e| Error::Connection(format!("Unable to connect to the server: {e}")))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffered[searched..].iter().position(|&b| b == b'\n') {
                let rest = self.buffered.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.buffered, rest);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.buffered.len();
            match self.chunk().await? {
                Some(data) => self.buffered.extend_from_slice(&data),
                None if self.buffered.is_empty() => return Ok(None),
                None => return Ok(Some(std::mem::take(&mut self.buffered))),
            }
        }
    }

    /// The next event of a watch.
    ///
    /// # Errors
    /// The connection broke, or the line is not JSON.
    pub async fn event(&mut self) -> Result<Option<Value>> {
        match self.line().await? {
            Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
            None => Ok(None),
        }
    }
}

/// `path?a=b&c=d` with values escaped; empty values are left out.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    let mut separator = if path.contains('?') { '&' } else { '?' };
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(separator);
        out.push_str(name);
        out.push('=');
        out.push_str(&escape(value));
        separator = '&';
    }
    out
}

/// Percent-encoding of everything but unreserved characters.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What stands for a key in a header's name: lower case, with everything that a name cannot hold escaped.
pub fn header_key(key: &str) -> String {
    let mut out = String::new();
    for byte in key.to_lowercase().bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that gives one answer to everything; its URL, and how often it was asked.
    async fn server(answer: &'static str) -> (String, std::sync::Arc<AtomicUsize>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = std::sync::Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(connection.read_u8().await.unwrap_or(b'\n'));
                }
                count.fetch_add(1, Ordering::Relaxed);
                let _ = connection.write_all(answer.as_bytes()).await;
                let _ = connection.shutdown().await;
            }
        });
        (url, asked)
    }

    #[tokio::test]
    async fn only_who_says_when_is_asked_again() {
        let cases = [
            (
                "503 Service Unavailable\r\n",
                1,
                "Error from server (ServiceUnavailable): the server is currently unable to handle the request (get configmaps x)",
            ),
            (
                "429 Too Many Requests\r\n",
                1,
                "Error from server (TooManyRequests): the server has received too many requests and has asked us to try again \
                 later (get configmaps x)",
            ),
            (
                "504 Gateway Timeout\r\n",
                1,
                "Error from server (Timeout): the server was unable to return a response in the time allotted, but may still be \
                 processing the request (get configmaps x)",
            ),
            (
                "502 Bad Gateway\r\nContent-Type: application/json\r\n",
                1,
                "Error from server (InternalError): an error on the server (\"unknown\") has prevented the request from \
                 succeeding (get configmaps x)",
            ),
            (
                "503 Service Unavailable\r\nRetry-After: 0\r\n",
                1 + MAX_RETRIES,
                "Error from server (ServiceUnavailable): the server is currently unable to handle the request (get configmaps x)",
            ),
            (
                "404 Not Found\r\nRetry-After: 0\r\n",
                1,
                "Error from server (NotFound): the server could not find the requested resource (get configmaps x)",
            ),
        ];
        for (answer, times, want) in cases {
            let answer: &'static str =
                Box::leak(format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n").into_boxed_str());
            let (url, asked) = server(answer).await;
            let global = crate::global::Global {
                kubeconfig: Some("/dev/null".into()),
                server: Some(url),
                ..crate::global::Global::default()
            };
            let context = crate::Context::new(global, Box::new(std::io::sink()));
            let api = context.api().await.expect("a client");
            let error = api.get("/api/v1/namespaces/default/configmaps/x").await.expect_err(answer);
            assert_eq!(error.text(), want);
            assert_eq!(asked.load(Ordering::Relaxed), times, "{answer}");
        }
    }

    #[test]
    fn requests_are_told_of_by_their_paths() {
        let cases = [
            ("/api/v1/pods", "get pods"),
            ("/api/v1/namespaces", "get namespaces"),
            ("/api/v1/namespaces/a", "get namespaces a"),
            ("/api/v1/namespaces/a/finalize", "get namespaces a"),
            ("/api/v1/namespaces/a/pods/x/log", "get pods x"),
            ("/apis/apps/v1/namespaces/a/deployments/web", "get deployments.apps web"),
            ("/apis/apps/v1", ""),
            ("/version", ""),
        ];
        for (path, want) in cases {
            assert_eq!(subject(&Method::GET, path), want, "{path}");
        }
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(
            with_query("/a", &[("labelSelector", "a in (b,c)"), ("x", "")]),
            "/a?labelSelector=a%20in%20%28b%2Cc%29"
        );
        assert_eq!(with_query("/a?b=c", &[("d", "e")]), "/a?b=c&d=e");
        assert_eq!(header_key("example.com/Scopes%"), "example.com%2Fscopes%25");
    }
}
