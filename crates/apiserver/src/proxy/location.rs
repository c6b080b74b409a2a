//! Which address, port and path a proxied request goes to.
use super::Destination;
use crate::{chain::Ctx, query::Query, registry::Endpoint};
use apimachinery::ApiError;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use storage::Lookup;

const KUBELET_PORT: u16 = 10250;

fn find<T: DeserializeOwned>(ctx: &Ctx<'_>, prefix: &str, namespace: &str, name: &str) -> Result<Option<T>, ApiError> {
    let Some(json) = ctx.app.registry.get(prefix, namespace, name) else { return Ok(None) };
    serde_json::from_slice(&json).map(Some).map_err(ApiError::internal)
}

async fn pod(ctx: &Ctx<'_>, endpoint: &Endpoint, name: &str) -> Result<Pod, ApiError> {
    let entry = endpoint.store.read(ctx.info.namespace, name).await?;
    let entry = entry.ok_or_else(|| ApiError::not_found(endpoint.on(), name))?;
    serde_json::from_slice(&entry.json).map_err(ApiError::internal)
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default()
}

/// Address and port of a node's kubelet.
fn kubelet(ctx: &Ctx<'_>, node_name: &str) -> Result<(String, u16), ApiError> {
    let Some(node): Option<Node> = find(ctx, "minions", "", node_name)? else {
        return Err(ApiError::not_found(crate::store::on("", "nodes"), node_name));
    };
    let status = node.status.unwrap_or_default();
    let addresses = status.addresses.unwrap_or_default();
    let preferred = &ctx.app.flags.kubelet_preferred_address_types;
    let address =
        preferred.iter().find_map(|kind| addresses.iter().find(|a| a.type_ == *kind && !a.address.is_empty()));
    let Some(address) = address else {
        let known: Vec<&str> = addresses.iter().map(|a| a.type_.as_str()).collect();
        return Err(ApiError::internal(format!("no preferred addresses found; known addresses: {known:?}")));
    };
    let port = status.daemon_endpoints.and_then(|d| d.kubelet_endpoint).map(|e| e.port);
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0).unwrap_or(KUBELET_PORT);
    Ok((address.address.clone(), port))
}

fn to_kubelet(ctx: &Ctx<'_>, node: &str, path: String) -> Result<Destination, ApiError> {
    let (host, port) = kubelet(ctx, node)?;
    Ok(Destination { tls: true, host, port, path, prefix: None, kubelet: true })
}

/// The container asked for, or the only one.
fn container(pod: &Pod, wanted: &str) -> Result<String, ApiError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let containers: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let init: Vec<&str> = spec.init_containers.iter().flatten().map(|c| c.name.as_str()).collect();
    let ephemeral: Vec<&str> = spec.ephemeral_containers.iter().flatten().map(|c| c.name.as_str()).collect();
    if wanted.is_empty() {
        if let ([only], true, true) = (containers.as_slice(), init.is_empty(), ephemeral.is_empty()) {
            return Ok((*only).to_owned());
        }
        let mut text =
            format!("a container name must be specified for pod {name}, choose one of: [{}]", containers.join(" "));
        if !init.is_empty() {
            text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
        }
        if !ephemeral.is_empty() {
            text.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
        }
        return Err(ApiError::bad_request(text));
    }
    if containers.iter().chain(&init).chain(&ephemeral).any(|c| *c == wanted) {
        return Ok(wanted.to_owned());
    }
    Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")))
}

/// Percent-encodes a query value.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn with_query(path: String, pairs: &[(&str, String)]) -> String {
    let query: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

fn check_log_options(query: &Query<'_>) -> Result<(), ApiError> {
    use apimachinery::field::{Error, ErrorList, Path};
    let mut errors = ErrorList::default();
    let minimum = [("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)];
    for (name, least) in minimum {
        if let Some(value) = query.integer(name)?
            && value < least
        {
            errors.push(Error::invalid(&Path::new(name), value, format!("must be greater than or equal to {least}")));
        }
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        errors.push(Error::forbidden(&Path::root(), "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(crate::store::on("", "PodLogOptions"), "", &errors)) }
}

/// `None`: the pod has no node yet.
pub(super) async fn log(ctx: &Ctx<'_>, endpoint: &Endpoint) -> Result<Option<Destination>, ApiError> {
    check_log_options(ctx.query)?;
    let pod = pod(ctx, endpoint, ctx.info.name).await?;
    let container = container(&pod, ctx.query.text("container"))?;
    let node = node_of(&pod);
    if node.is_empty() {
        return Ok(None);
    }
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for name in ["follow", "previous", "timestamps"] {
        if ctx.query.flag(name) {
            pairs.push((name, "true".into()));
        }
    }
    for name in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"] {
        if let Some(value) = ctx.query.get(name).filter(|v| !v.is_empty()) {
            pairs.push((name, value.to_owned()));
        }
    }
    let path = format!("/containerLogs/{}/{}/{container}", ctx.info.namespace, ctx.info.name);
    to_kubelet(ctx, node, with_query(path, &pairs)).map(Some)
}

/// exec, attach, port-forward.
pub(super) async fn stream(ctx: &Ctx<'_>, endpoint: &Endpoint) -> Result<Destination, ApiError> {
    let pod = pod(ctx, endpoint, ctx.info.name).await?;
    let node = node_of(&pod);
    if node.is_empty() {
        let name = ctx.info.name;
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let (namespace, name) = (ctx.info.namespace, ctx.info.name);
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let path = if ctx.info.subresource == "portforward" {
        pairs.extend(ctx.query.all("ports").map(|p| ("port", p.to_owned())));
        format!("/portForward/{namespace}/{name}")
    } else {
        for (from, to) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
            if ctx.query.flag(from) {
                pairs.push((to, "1".into()));
            }
        }
        pairs.extend(ctx.query.all("command").map(|c| ("command", c.to_owned())));
        let container = container(&pod, ctx.query.text("container"))?;
        format!("/{}/{namespace}/{name}/{container}", ctx.info.subresource)
    };
    to_kubelet(ctx, node, with_query(path, &pairs))
}

/// `https:name:port` as upstream splits it: scheme, name, port.
fn split_name(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme @ ("http" | "https"), name, port] => (scheme, name, port),
        _ => ("", text, ""),
    }
}

/// The path up to `/proxy`, and the one behind it with the query, as the client wrote them.
fn around_proxy(ctx: &Ctx<'_>) -> (String, String) {
    let raw = ctx.parts.uri.path();
    let start = format!("/{}/{}/proxy", ctx.info.resource, ctx.info.name);
    let at = match raw.find(&start) {
        Some(at) => at + start.len(),
        // The name was percent-encoded.
        None => raw.find("/proxy").map_or(raw.len(), |at| at + "/proxy".len()),
    };
    let (prefix, rest) = raw.split_at_checked(at).unwrap_or((raw, ""));
    let path = if rest.is_empty() { "/" } else { rest };
    let query = ctx.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    (prefix.to_owned(), format!("{path}{query}"))
}

fn proxied(ctx: &Ctx<'_>, tls: bool, host: String, port: u16, kubelet: bool) -> Destination {
    let (prefix, path) = around_proxy(ctx);
    Destination { tls, host, port, path, prefix: Some(prefix), kubelet }
}

/// Not the server's own loopback, nor what answers on its link, such as a cloud's metadata service. Source:
/// `k8s.io/kubernetes/pkg/proxy/util`, `IsProxyableIP`.
fn proxyable(address: &str) -> Result<(), ApiError> {
    let allowed = address.parse::<IpAddr>().is_ok_and(|ip| match ip.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast()),
    });
    if allowed { Ok(()) } else { Err(ApiError::bad_request("address not allowed")) }
}

/// As [`proxyable`], for what may also be a name: one of its addresses that is not allowed refuses it.
async fn proxyable_host(host: &str, port: u16) -> Result<(), ApiError> {
    let mut addresses =
        tokio::net::lookup_host((host, port)).await.map_err(|e| ApiError::bad_request(e.to_string()))?;
    addresses.try_for_each(|address| proxyable(&address.ip().to_string()))
}

pub(super) async fn pod_proxy(ctx: &Ctx<'_>, endpoint: &Endpoint) -> Result<Destination, ApiError> {
    let (scheme, name, port) = split_name(ctx.info.name);
    let pod = pod(ctx, endpoint, name).await?;
    let host = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).unwrap_or_default();
    proxyable(&host)?;
    let containers = pod.spec.map(|s| s.containers).unwrap_or_default();
    let mut ports = containers.iter().flat_map(|c| c.ports.iter().flatten());
    let port = if port.is_empty() {
        ports.next().map_or(Ok(80), |p| u16::try_from(p.container_port))
    } else if let Some(named) = ports.find(|p| p.name.as_deref() == Some(port)) {
        u16::try_from(named.container_port)
    } else {
        return port
            .parse()
            .map(|port| proxied(ctx, scheme == "https", host, port, false))
            .map_err(|_| ApiError::bad_request(format!("invalid port {port:?}")));
    };
    let port = port.map_err(|_| ApiError::bad_request("invalid port"))?;
    Ok(proxied(ctx, scheme == "https", host, port, false))
}

pub(super) async fn service_proxy(ctx: &Ctx<'_>) -> Result<Destination, ApiError> {
    let (scheme, name, wanted) = split_name(ctx.info.name);
    let namespace = ctx.info.namespace;
    let on = crate::store::on("", "services");
    let service: Service =
        find(ctx, "services/specs", namespace, name)?.ok_or_else(|| ApiError::not_found(on, name))?;
    let spec = service.spec.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let port = match (wanted, ports.as_slice()) {
        ("", [only]) => only,
        _ => ports
            .iter()
            .find(|p| p.name.as_deref() == Some(wanted) && !wanted.is_empty() || p.port.to_string() == wanted)
            .ok_or_else(|| ApiError::unavailable(format!("no service port {wanted:?} found for service {name:?}")))?,
    };
    let no_endpoints = || ApiError::unavailable(format!("no endpoints available for service {name:?}"));
    for json in ctx.app.registry.list("endpointslices", Some(namespace)) {
        let slice: EndpointSlice = serde_json::from_slice(&json).map_err(ApiError::internal)?;
        let labels = slice.metadata.labels.unwrap_or_default();
        if labels.get("kubernetes.io/service-name").map(String::as_str) != Some(name) {
            continue;
        }
        let same = |n: &Option<String>| n.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default();
        let number = slice.ports.iter().flatten().find(|p| same(&p.name)).and_then(|p| p.port);
        let Some(number) = number.and_then(|n| u16::try_from(n).ok()) else { continue };
        let ready =
            slice.endpoints.iter().flatten().filter(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false));
        let hosts: Vec<&String> = ready.filter_map(|e| e.addresses.first()).collect();
        if let Some(host) = hosts.get(rand::random::<u32>() as usize % hosts.len().max(1)) {
            proxyable(host)?;
            return Ok(proxied(ctx, scheme == "https", (*host).clone(), number, false));
        }
    }
    Err(no_endpoints())
}

pub(super) async fn node_proxy(ctx: &Ctx<'_>) -> Result<Destination, ApiError> {
    let (scheme, name, wanted) = split_name(ctx.info.name);
    let (host, port) = kubelet(ctx, name)?;
    let own = wanted.is_empty() || wanted == port.to_string();
    let port = if own { port } else { wanted.parse().map_err(|_| ApiError::bad_request("invalid port"))? };
    // The node's own kubelet proves with its certificate who it is.
    if !own {
        proxyable_host(&host, port).await?;
    }
    let tls = own || scheme == "https";
    Ok(proxied(ctx, tls, host, port, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_server_itself_are_not_proxied_to() {
        let refused = [
            "127.0.0.1",
            "127.0.0.2",
            "169.254.169.254",
            "224.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "1",
            "",
            "localhost",
        ];
        for address in refused {
            assert_eq!(proxyable(address).map_err(|e| e.message), Err("address not allowed".into()), "{address}");
        }
        for address in ["10.0.0.1", "192.168.0.1", "8.8.8.8", "2600::"] {
            assert_eq!(proxyable(address), Ok(()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_is_as_good_as_its_addresses() {
        assert!(proxyable_host("localhost", 80).await.is_err());
        assert_eq!(proxyable_host("10.1.2.3", 80).await, Ok(()));
    }

    #[test]
    fn names_with_scheme_and_port() {
        let cases = [
            ("web", ("", "web", "")),
            ("web:80", ("", "web", "80")),
            ("https:web:443", ("https", "web", "443")),
            ("https:web:", ("https", "web", "")),
        ];
        for (text, want) in cases {
            assert_eq!(split_name(text), want);
        }
        assert_eq!(encode("a b&c=/é"), "a%20b%26c%3D%2F%C3%A9");
    }
}
