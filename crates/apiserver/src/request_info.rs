//! What a request asks for, read from its method, path and query.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go` (behaviour): authorization and
//! routing both use this one reading, so they can never disagree about a path.
use crate::query::Query;
use http::Method;

/// A request to a resource, or to a plain path when `resource_request` is false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    pub resource_request: bool,
    pub path: &'a str,
    /// `get`, `list`, `watch`, `create`, …; for plain paths the method in lower case.
    pub verb: &'static str,
    /// Empty for the core group.
    pub group: &'a str,
    pub version: &'a str,
    pub namespace: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    /// What follows the subresource, such as the path behind `/proxy`.
    pub rest: &'a str,
}

const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl<'a> RequestInfo<'a> {
    /// `path` is percent-decoded.
    pub fn parse(method: &Method, path: &'a str, query: &Query<'_>) -> Self {
        let mut info = RequestInfo { path, verb: method_word(method), ..RequestInfo::default() };
        let mut rest = Segments::new(path);
        match rest.next() {
            Some("api") => {}
            Some("apis") => match rest.next() {
                Some(group) => info.group = group,
                None => return info,
            },
            _ => return info,
        }
        let Some(version) = rest.next() else {
            info.group = "";
            return info;
        };
        info.version = version;
        let Some(mut first) = rest.next() else { return RequestInfo { group: "", version: "", ..info } };
        info.resource_request = true;
        info.verb = method_verb(method);

        // The old form `/api/v1/watch/…` of `?watch=true`.
        let mut old_watch = false;
        if first == "watch" {
            old_watch = true;
            info.verb = "watch";
            match rest.next() {
                Some(next) => first = next,
                None => return info,
            }
        }
        if first == "namespaces" {
            info.resource = first;
            if let Some(namespace) = rest.next() {
                info.namespace = namespace;
                match rest.clone().next() {
                    Some(next) if !NAMESPACE_SUBRESOURCES.contains(&next) => {
                        rest.next();
                        info.resource = next;
                        info.name = rest.next().unwrap_or_default();
                    }
                    _ => info.name = namespace,
                }
            }
        } else {
            info.resource = first;
            info.name = rest.next().unwrap_or_default();
        }
        info.subresource = rest.next().unwrap_or_default();
        info.rest = rest.remaining();

        if info.name.is_empty() || old_watch {
            match info.verb {
                "get" if query.flag("watch") => info.verb = "watch",
                "get" => info.verb = "list",
                "delete" => info.verb = "deletecollection",
                _ => {}
            }
        } else if info.verb == "get" && info.subresource.is_empty() && query.flag("watch") {
            info.verb = "watch";
        }
        info
    }

    /// Runs as long as the client likes: no request timeout, no place in the in-flight limits.
    pub fn long_running(&self) -> bool {
        self.verb == "watch"
            || matches!(self.subresource, "attach" | "exec" | "proxy" | "log" | "portforward") && self.resource_request
    }

    pub fn mutating(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::POST => "post",
        Method::GET => "get",
        Method::HEAD => "head",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// Parts between slashes; a trailing slash makes no part.
#[derive(Clone)]
struct Segments<'a>(&'a str);

impl<'a> Segments<'a> {
    fn new(path: &'a str) -> Self {
        Segments(path.trim_matches('/'))
    }

    fn remaining(&self) -> &'a str {
        self.0
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (head, tail) = self.0.split_once('/').unwrap_or((self.0, ""));
        self.0 = tail;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(method: &str, path: &'a str, query: &'a str) -> RequestInfo<'a> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        RequestInfo::parse(&method, path, &Query::parse(Some(query)))
    }

    #[test]
    fn resource_paths() {
        // verb, group, version, namespace, resource, name, subresource
        let cases = [
            ("GET", "/api/v1/pods", "", "list||v1||pods||"),
            ("GET", "/api/v1/pods", "watch=1", "watch||v1||pods||"),
            ("GET", "/api/v1/watch/pods", "", "watch||v1||pods||"),
            ("GET", "/api/v1/watch/namespaces/a/pods/p", "", "watch||v1|a|pods|p|"),
            ("GET", "/api/v1/namespaces", "", "list||v1||namespaces||"),
            ("GET", "/api/v1/namespaces/a", "", "get||v1|a|namespaces|a|"),
            ("PUT", "/api/v1/namespaces/a/finalize", "", "update||v1|a|namespaces|a|finalize"),
            ("GET", "/api/v1/namespaces/a/pods", "", "list||v1|a|pods||"),
            ("POST", "/api/v1/namespaces/a/pods/p/binding", "", "create||v1|a|pods|p|binding"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "", "deletecollection|apps|v1|a|deployments||"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "", "patch|apps|v1|a|deployments|d|scale"),
            ("GET", "/api/v1/nodes/n/proxy/metrics/cadvisor", "", "get||v1||nodes|n|proxy"),
            ("HEAD", "/api/v1/pods/", "", "list||v1||pods||"),
        ];
        for (method, path, query, want) in cases {
            let i = parse(method, path, query);
            let got = [i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource].join("|");
            assert_eq!(got, want, "{method} {path}");
            assert!(i.resource_request);
        }
        assert_eq!(parse("GET", "/api/v1/nodes/n/proxy/metrics/cadvisor", "").rest, "metrics/cadvisor");
    }

    #[test]
    fn plain_paths() {
        for path in ["/", "/healthz", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3"] {
            let i = parse("GET", path, "");
            assert!(!i.resource_request, "{path}");
            assert_eq!(i.verb, "get");
        }
    }
}
