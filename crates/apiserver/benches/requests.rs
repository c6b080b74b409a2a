//! The server's own cost of a request: everything but TLS and HTTP, through a client in this process.
#![allow(clippy::expect_used)]
use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn request(method: &str, path: &str, body: &Value) -> Request<Vec<u8>> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let builder = Request::builder().method(method).uri(path).header("content-type", "application/json");
    builder.body(body).expect("a request")
}

fn requests(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let flags = apiserver::Flags {
        data_dir: dir.path().join("data"),
        cert_dir: dir.path().join("certs"),
        bind_address: [127, 0, 0, 1].into(),
        secure_port: 0,
        ..apiserver::Flags::default()
    };
    let shutdown = CancellationToken::new();
    let running = runtime.block_on(apiserver::start(flags, shutdown.clone())).expect("the server starts");
    let masters = auth::UserInfo::new("bench", [auth::groups::MASTERS]);
    let client = runtime.block_on(async { running.client(masters) });
    let send = |request| {
        let client = client.clone();
        async move { client.request_text(request).await.expect("an answer") }
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    runtime.block_on(async {
        for i in 0..1_000 {
            let map = json!({"metadata": {"name": format!("m{i}")}, "data": {"d": "x".repeat(1024)}});
            send(request("POST", maps, &map)).await;
        }
    });
    c.bench_function("get", |b| {
        b.to_async(&runtime).iter(|| send(request("GET", "/api/v1/namespaces/default", &Value::Null)));
    });
    c.bench_function("list_1000_configmaps", |b| {
        b.to_async(&runtime).iter(|| send(request("GET", maps, &Value::Null)));
    });
    c.bench_function("create_configmap_fsynced", |b| {
        b.to_async(&runtime).iter(|| {
            let map = json!({"metadata": {"generateName": "m-"}, "data": {"d": "x".repeat(1024)}});
            send(request("POST", maps, &map))
        });
    });
    shutdown.cancel();
}

criterion_group!(benches, requests);
criterion_main!(benches);
