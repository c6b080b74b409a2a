//! `kubectl port-forward`: local ports that lead to a pod's, over one WebSocket a connection.
use super::Command;
use crate::{
    Context, Error, Result, pods,
    select::{self, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgAction, ArgMatches, Command as Words};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

pub struct PortForward;

#[async_trait]
impl Command for PortForward {
    fn words(&self) -> Words {
        Words::new("port-forward")
            .about("Forward one or more local ports to a pod")
            .arg(Arg::new("words").num_args(0..).value_name("TYPE/NAME [LOCAL_PORT:]REMOTE_PORT"))
            .arg(
                Arg::new("address").long("address").action(ArgAction::Append).value_delimiter(',').help(
                    "Addresses to listen on (comma separated). Only accepts IP addresses or localhost as a value.",
                ),
            )
            .arg(crate::global::pod_running_timeout("1m0s"))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let given = words(matches, "words");
        let Some((name, specs)) = given.split_first().filter(|(_, specs)| !specs.is_empty()) else {
            return Err(Error::usage("port-forward", "TYPE/NAME and list of ports are required for port-forward"));
        };
        let addresses = addresses(&words(matches, "address"))?;
        let patience = crate::global::patience(matches).map_err(|error| error.with_usage("port-forward"))?;
        let service = service(context, name).await?;
        if let Some(service) = &service {
            for spec in specs {
                service_port(halves(spec).1, service)?;
            }
        }
        let pod = tokio::time::timeout(patience, running(context, name, patience))
            .await
            .unwrap_or_else(|_| Err(Error::message("timed out waiting for the condition")))?;
        let [namespace, pod_name] =
            ["namespace", "name"].map(|f| pod["metadata"][f].as_str().unwrap_or_default().to_owned());
        let pods: Api<Pod> = Api::namespaced(context.client().await?, &namespace);
        let wanted = specs.iter().map(|spec| ports(spec, &pod, service.as_ref())).collect::<Result<Vec<_>>>()?;
        let mut listeners = Vec::new();
        for (local, remote) in wanted {
            listeners.extend(listen(context, &addresses, local, remote).await?);
        }
        let (ended, mut end) = tokio::sync::mpsc::channel::<Error>(1);
        for (listener, local, remote) in listeners {
            tokio::spawn(accept(listener, local, remote, pods.clone(), pod_name.clone(), ended.clone()));
        }
        match end.recv().await {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The pod, once it runs.
async fn running(context: &Context, name: &str, patience: Duration) -> Result<Value> {
    // A pod that was named itself is not waited for.
    let is_pod = !name.contains('/') || ["pod/", "pods/", "po/"].iter().any(|kind| name.starts_with(kind));
    loop {
        let pod = pods::one(context, name, patience).await?;
        match pod["status"]["phase"].as_str() {
            Some("Running") => return Ok(pod),
            Some(phase) if phase != "Pending" || is_pod => {
                return Err(Error::message(format!(
                    "unable to forward port because pod is not running. Current status={phase}"
                )));
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// The service, when that is what was named: its ports are not the pod's.
async fn service(context: &Context, name: &str) -> Result<Option<Value>> {
    if !name.contains('/') {
        return Ok(None);
    }
    let targets = select::from_words(context, &[name.to_owned()], false).await?;
    match targets.first() {
        Some(target) if target.resource.kind == "Service" => Ok(Some(context.api().await?.get(&target.path()).await?)),
        _ => Ok(None),
    }
}

/// Where to listen; whether failing there is fatal.
fn addresses(given: &[String]) -> Result<Vec<(IpAddr, bool)>> {
    const LOCAL: [(IpAddr, bool); 2] =
        [(IpAddr::V4(Ipv4Addr::LOCALHOST), true), (IpAddr::V6(Ipv6Addr::LOCALHOST), false)];
    if given.is_empty() {
        return Ok(LOCAL.to_vec());
    }
    let mut found = Vec::new();
    for word in given {
        match word.parse() {
            Ok(address) => found.push((address, true)),
            Err(_) if word == "localhost" => found.extend(LOCAL),
            Err(_) => return Err(Error::message(format!("{word} is not a valid IP"))),
        }
    }
    Ok(found)
}

/// The number of a pod's named port.
fn pod_port(pod: &Value, name: &str) -> Result<u64> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    ports.find(|p| p["name"] == name).and_then(|p| p["containerPort"].as_u64()).ok_or_else(|| {
        let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
        Error::message(format!("Pod '{pod}' does not have a named port '{name}'"))
    })
}

/// A service's port by number or name.
fn service_port<'a>(remote: &str, service: &'a Value) -> Result<&'a Value> {
    let number: Option<i64> = remote.parse().ok();
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = ports.find(|p| match number {
        Some(number) => p["port"] == number,
        None => p["name"] == remote,
    });
    port.ok_or_else(|| {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        match number {
            Some(_) => Error::message(format!("Service {name} does not have a service port {remote}")),
            None => Error::message(format!("Service '{name}' does not have a named port '{remote}'")),
        }
    })
}

/// `8080:80`: the local port and the one at the other end; any other number of colons leaves the first for both.
fn halves(spec: &str) -> (&str, &str) {
    match spec.split(':').collect::<Vec<_>>().as_slice() {
        [local, remote] => (local, remote),
        [first, ..] => (first, first),
        [] => (spec, spec),
    }
}

/// A port's number; `which` is `local` or `remote`.
fn number(which: &str, text: &str) -> Result<u16> {
    text.parse().map_err(|_| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        Error::message(format!("error parsing {which} port '{text}': strconv.ParseUint: parsing \"{text}\": {why}"))
    })
}

/// `8080:80`, `80`, `:80`, `http`: the local port (0: any) and the pod's.
fn ports(spec: &str, pod: &Value, service: Option<&Value>) -> Result<(u16, u16)> {
    let (local, remote) = halves(spec);
    let is_number = |text: &str| text.parse::<i64>().is_ok();
    let (local, remote) = match service {
        Some(service) => {
            let port = service_port(remote, service)?;
            let own = port["port"].as_u64().unwrap_or(0);
            // Without a local port it is the service's, not the pod's that it leads to.
            let local = if local == remote { own.to_string() } else { local.to_owned() };
            let target = match &port["targetPort"] {
                // Nothing stands between the clients of a headless service and its pods.
                _ if service["spec"]["clusterIP"] == "None" => own,
                Value::String(name) if !is_number(name) => pod_port(pod, name)?,
                Value::String(number) => number.parse().unwrap_or(own),
                number => number.as_u64().filter(|n| *n > 0).unwrap_or(own),
            };
            (local, target.to_string())
        }
        None if is_number(remote) => (local.to_owned(), remote.to_owned()),
        None => {
            let target = pod_port(pod, remote)?.to_string();
            (if local == remote { target.clone() } else { local.to_owned() }, target)
        }
    };
    let local = if local.is_empty() { 0 } else { number("local", &local)? };
    match number("remote", &remote)? {
        0 => Err(Error::message("remote port must be > 0")),
        remote => Ok((local, remote)),
    }
}

async fn listen(
    context: &Context,
    addresses: &[(IpAddr, bool)],
    mut local: u16,
    remote: u16,
) -> Result<Vec<(TcpListener, u16, u16)>> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (address, _) in addresses {
        match TcpListener::bind(SocketAddr::new(*address, local)).await {
            Ok(listener) => {
                let bound = listener.local_addr()?;
                local = bound.port();
                context.line(format!("Forwarding from {bound} -> {remote}"))?;
                found.push((listener, local, remote));
            }
            Err(error) => failures.push(format!("unable to create listener: {address}:{local}: {error}")),
        }
    }
    if found.is_empty() {
        return Err(Error::message(format!(
            "unable to listen on any of the requested ports: [{{{local} {remote}}}]: {}",
            failures.join("; ")
        )));
    }
    Ok(found)
}

async fn accept(
    listener: TcpListener,
    local: u16,
    remote: u16,
    pods: Api<Pod>,
    name: String,
    ended: tokio::sync::mpsc::Sender<Error>,
) {
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                let _ = ended.send(error.into()).await;
                return;
            }
        };
        println!("Handling connection for {local}");
        let (pods, name, ended) = (pods.clone(), name.clone(), ended.clone());
        tokio::spawn(async move {
            let Err(failure) = forward(connection, &pods, &name, remote).await else { return };
            let is_lost = failure.ends_all();
            if let Failure::Refused(text) | Failure::Stream(text) = failure {
                eprintln!("an error occurred forwarding {local} -> {remote}: {text}");
            }
            if is_lost {
                let _ = ended.send(Error::message("lost connection to pod")).await;
            }
        });
    }
}

/// Why a connection was not forwarded.
enum Failure {
    /// The pod is gone.
    Pod,
    /// The node could not reach the port.
    Refused(String),
    /// Only this connection broke.
    Stream(String),
}

impl Failure {
    /// The official one has one connection to the pod for all of ours, and gives it up at the first error from there.
    fn ends_all(&self) -> bool {
        matches!(self, Failure::Pod | Failure::Refused(_))
    }
}

async fn forward(mut local: TcpStream, pods: &Api<Pod>, name: &str, remote: u16) -> std::result::Result<(), Failure> {
    let mut forwarder = pods.portforward(name, &[remote]).await.map_err(|e| match &e {
        kube::Error::Api(status) if status.code == 404 => Failure::Pod,
        _ => Failure::Stream(e.to_string()),
    })?;
    let refused = forwarder.take_error(remote);
    let Some(mut stream) = forwarder.take_stream(remote) else {
        return Err(Failure::Stream("the server opened no stream".into()));
    };
    let copied = tokio::io::copy_bidirectional(&mut local, &mut stream).await;
    drop(stream);
    forwarder.abort();
    if let Some(refused) = refused
        && let Some(text) = refused.await
    {
        return Err(Failure::Refused(text));
    }
    // Either side may close in the middle; that is its right.
    drop(copied);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_of_pods_and_services() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8000}]}]}});
        let service =
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}]}});
        let cases = [
            ("8080:80", None, (8080, 80)),
            ("80", None, (80, 80)),
            (":80", None, (0, 80)),
            ("http", None, (8000, 8000)),
            ("8080:http", None, (8080, 8000)),
            ("80", Some(&service), (80, 8000)),
            ("8080:web", Some(&service), (8080, 8000)),
            ("web", Some(&service), (80, 8000)),
        ];
        for (spec, service, want) in cases {
            assert_eq!(ports(spec, &pod, service).expect(spec), want, "{spec}");
        }
        let range = |which: &str, text: &str| {
            format!("error parsing {which} port '{text}': strconv.ParseUint: parsing \"{text}\": value out of range")
        };
        let mistakes = [
            ("99999", None, range("local", "99999")),
            ("80:99999", None, range("remote", "99999")),
            ("0:80:1", None, "remote port must be > 0".into()),
            (":0", None, "remote port must be > 0".into()),
            ("x:80", None, "error parsing local port 'x': strconv.ParseUint: parsing \"x\": invalid syntax".into()),
            ("a:b:c", None, "Pod 'p' does not have a named port 'a'".into()),
            ("81", Some(&service), "Service s does not have a service port 81".into()),
            ("99999", Some(&service), "Service s does not have a service port 99999".into()),
            ("http", Some(&service), "Service 's' does not have a named port 'http'".into()),
            ("0:80:1", Some(&service), "Service s does not have a service port 0".into()),
        ];
        for (spec, service, want) in mistakes {
            let error = ports(spec, &pod, service).expect_err(spec).text();
            assert_eq!(error, format!("error: {want}"), "{spec}");
        }
    }

    #[test]
    fn an_error_from_the_node_ends_all_forwarding() {
        let cases =
            [(Failure::Pod, true), (Failure::Refused(String::new()), true), (Failure::Stream(String::new()), false)];
        for (failure, want) in cases {
            assert_eq!(failure.ends_all(), want);
        }
    }
}
