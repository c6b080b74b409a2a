//! What `/proxy` changes in an answer, so that a browser stays behind it: redirects and links of HTML pages that point at
//! the root of the backend point at the proxy's path instead; the backend's word on cross-origin use is taken out.
//!
//! Source: `k8s.io/apimachinery/pkg/util/proxy` (`Transport`, `UpgradeAwareHandler`), behaviour.
use super::html::Rewriter;
use crate::body::{Body, BoxError, Pieces};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Whose answers are changed, and how.
#[derive(Clone, Debug)]
pub struct Base {
    /// `/api/v1/namespaces/a/pods/p/proxy`
    pub prefix: String,
    /// `10.0.0.1:8080`
    pub backend: String,
    /// The `Host` that the client asked for.
    pub host: String,
}

impl Base {
    /// A link or redirect as the client has to follow it; the same when it leads elsewhere.
    pub fn rewrite(&self, url: &str) -> String {
        let (origin, host, rest) = split(url);
        let ours = host.is_empty() || host == self.backend || host == self.host;
        if !ours || !rest.starts_with('/') {
            return url.to_owned();
        }
        let origin = if host == self.host { origin } else { "" };
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, tail) = rest.split_at(end);
        if path.starts_with(&self.prefix) {
            return format!("{origin}{rest}");
        }
        format!("{origin}{}{}{tail}", self.prefix, cleaned(path))
    }
}

/// `http://host`, `host`, and the rest; both empty for what names no host.
fn split(url: &str) -> (&str, &str, &str) {
    let after = match url.split_once("://") {
        Some((scheme, after)) if !scheme.is_empty() && !scheme.contains(['/', '?', '#']) => after,
        _ => match url.strip_prefix("//") {
            Some(after) => after,
            None => return ("", "", url),
        },
    };
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (host, rest) = after.split_at(end);
    (url.get(..url.len() - rest.len()).unwrap_or_default(), host, rest)
}

/// Without `.`, `..` and doubled slashes; a slash at the end stays.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

/// Headers by which a backend would open the API server's origin to other sites.
const CORS: [&str; 6] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// Change the head of an answer, and its body if that is a page.
pub fn answer(base: Base, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    CORS.iter().for_each(|name| drop(headers.remove(*name)));
    if let Some(location) = headers.get(header::LOCATION).and_then(|l| l.to_str().ok()) {
        if let Ok(location) = HeaderValue::from_str(&base.rewrite(location)) {
            headers.insert(header::LOCATION, location);
        }
        return;
    }
    if !is_page(headers) {
        return;
    }
    headers.remove(header::CONTENT_LENGTH);
    let body = std::mem::replace(response.body_mut(), Body::empty());
    *response.body_mut() = match body {
        Body::Relayed(incoming) => Body::Pieces(Box::new(Page { incoming, rewriter: Some(Rewriter::new(base)) })),
        other => other,
    };
}

/// HTML that is not compressed: pages are asked for so (see [`wants_pages`]).
fn is_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    media_type == "text/html" && matches!(text(header::CONTENT_ENCODING), "" | "identity")
}

/// Whether the client is somebody who follows links: such a request must not be answered compressed.
pub fn wants_pages(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|v| v.to_str().is_ok_and(|v| v.contains("text/html")))
}

/// A page on its way.
struct Page {
    incoming: Incoming,
    /// Gone when the end has been written.
    rewriter: Option<Rewriter>,
}

impl Pieces for Page {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        while let Some(rewriter) = &mut self.rewriter {
            let out = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => rewriter.push(&data),
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    self.rewriter = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => self.rewriter.take().map(Rewriter::finish).unwrap_or_default(),
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out.into())));
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let prefix = "/api/v1/namespaces/a/pods/p:80/proxy".to_owned();
        let base = Base { prefix: prefix.clone(), backend: "10.0.0.1:80".into(), host: "api:6443".into() };
        let cases = [
            ("/", format!("{prefix}/")),
            ("/a/b/?x=/y#z", format!("{prefix}/a/b/?x=/y#z")),
            ("/../a//b", format!("{prefix}/a/b")),
            ("http://10.0.0.1:80/a", format!("{prefix}/a")),
            ("//10.0.0.1:80/a", format!("{prefix}/a")),
            ("https://api:6443/a", format!("https://api:6443{prefix}/a")),
            ("http://10.0.0.1:80", "http://10.0.0.1:80".into()),
            ("http://example.com/a", "http://example.com/a".into()),
            ("a/b", "a/b".into()),
            ("?x=1", "?x=1".into()),
            ("#top", "#top".into()),
            ("mailto:a@b", "mailto:a@b".into()),
            ("", String::new()),
        ];
        for (url, want) in cases {
            assert_eq!(base.rewrite(url), want, "{url}");
        }
        let again = format!("{prefix}/a");
        assert_eq!(base.rewrite(&again), again, "what points here already");
    }
}
