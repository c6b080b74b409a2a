//! Puts load on a running API server over TLS and prints the CPU time the server spent on each operation.
//!
//! `load <server's process id> <https://address> <bearer token>`; the server is meant to be `examples/serve`.
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, stream};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// User and system time of a process so far; clock ticks are hundredths of a second on Linux.
fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

fn request(method: &str, path: &str, body: Option<&Value>) -> Result<Request<Vec<u8>>, Failure> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
    Ok(Request::builder().method(method).uri(path).header("content-type", kind).body(body)?)
}

struct Load {
    pid: u32,
    clients: Vec<Client>,
}

impl Load {
    async fn run<F>(&self, what: &str, n: usize, make: impl Fn(usize) -> F) -> Result<(), Failure>
    where
        F: Future<Output = Result<Request<Vec<u8>>, Failure>>,
    {
        let (before, started) = (cpu(self.pid)?, Instant::now());
        stream::iter(0..n)
            .map(|i| {
                let client = self.clients.get(i % self.clients.len()).cloned();
                let request = make(i);
                async move {
                    if let Some(client) = client {
                        client.request_text(request.await?).await?;
                    }
                    Ok::<_, Failure>(())
                }
            })
            .buffer_unordered(64)
            .try_collect::<()>()
            .await?;
        self.report(what, n, before, started)
    }

    fn report(&self, what: &str, n: usize, before: Duration, started: Instant) -> Result<(), Failure> {
        let spent = cpu(self.pid)?.saturating_sub(before);
        let each = spent.as_micros() as f64 / n as f64;
        println!("{what}: {:.0}/s, {each:.0} µs of CPU each", n as f64 / started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn watch(&self, watchers: usize, events: usize) -> Result<(), Failure> {
        let seen = Arc::new(AtomicUsize::new(0));
        for i in 0..watchers {
            let (client, seen) = (self.clients.get(i % self.clients.len()).cloned(), seen.clone());
            let path = "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dcm-0";
            let request = request("GET", path, None)?;
            tokio::spawn(async move {
                let Some(client) = client else { return };
                let Ok(stream) = client.request_stream(request).await else { return };
                let mut lines = stream.lines();
                while let Some(Ok(_)) = lines.next().await {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Each begins with one ADDED.
        while seen.load(Ordering::Relaxed) < watchers {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (before, started) = (cpu(self.pid)?, Instant::now());
        for i in 0..events {
            let change = json!({"data": {"n": i.to_string()}});
            if let Some(client) = self.clients.first() {
                let path = "/api/v1/namespaces/default/configmaps/cm-0";
                client.request_text(request("PATCH", path, Some(&change))?).await?;
            }
        }
        while seen.load(Ordering::Relaxed) < watchers * (events + 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.report("watch delivery", watchers * events, before, started)
    }
}

fn pod(i: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p-{i}"), "labels": {"app": "bench"}},
        "spec": {"automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}], "containers": [
            {"name": "c", "image": "registry.k8s.io/pause:3.10.1",
             "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}]}})
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let pid: u32 = words.next().ok_or("which process?")?.parse()?;
    let url = words.next().ok_or("which address?")?;
    let token = words.next().ok_or("which token?")?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut config = kube::Config::new(url.parse()?);
        config.accept_invalid_certs = true;
        config.read_timeout = None;
        config.auth_info.token = Some(token.clone().into());
        clients.push(Client::try_from(config)?);
    }
    let load = Load { pid, clients };
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    if let Some(client) = load.clients.first() {
        let path = "/api/v1/namespaces/default/serviceaccounts";
        let _ = client.request_text(request("POST", path, Some(&account))?).await;
    }
    let data = "x".repeat(1024);
    load.run("create ConfigMap of 1 KB", 5_000, |i| {
        let map = json!({"metadata": {"name": format!("cm-{i}")}, "data": {"d": data}});
        async move { request("POST", "/api/v1/namespaces/default/configmaps", Some(&map)) }
    })
    .await?;
    load.run("create Pod", 3_000, |i| async move { request("POST", "/api/v1/namespaces/default/pods", Some(&pod(i))) })
        .await?;
    load.run("GET", 20_000, |_| async { request("GET", "/api/v1/namespaces/default", None) }).await?;
    load.run("LIST 3,000 pods", 100, |_| async { request("GET", "/api/v1/namespaces/default/pods", None) }).await?;
    load.watch(500, 200).await
}
