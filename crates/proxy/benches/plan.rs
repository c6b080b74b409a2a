//! Ten thousand services: what one change costs, and what making the table anew costs.
#![allow(clippy::unwrap_used)]
use client::Key;
use criterion::{Criterion, criterion_group, criterion_main};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use proxy::{
    model::Family,
    plan::{Facts, plan},
    table::{Options, Table},
};
use std::{hint::black_box, sync::Arc};
use tokio::time::Instant;

const SERVICES: usize = 10_000;

fn service(n: usize) -> Service {
    serde_json::from_value(serde_json::json!({"metadata": {"name": format!("svc-{n}"), "namespace": "ns"},
        "spec": {"clusterIP": format!("10.{}.{}.{}", 100 + n / 65536, n / 256 % 256, n % 256),
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}}))
    .unwrap()
}

fn slices(n: usize, endpoints: usize) -> Vec<Arc<EndpointSlice>> {
    let endpoints: Vec<_> = (0..endpoints)
        .map(|e| serde_json::json!({"addresses": [format!("10.{}.{}.{}", 200 + e, n / 256 % 256, n % 256)]}))
        .collect();
    vec![Arc::new(
        serde_json::from_value(serde_json::json!({"addressType": "IPv4", "metadata": {}, "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}))
        .unwrap(),
    )]
}

fn full(facts: &Facts) -> Table {
    let options =
        Options { family: Family::V4, name: "bench".into(), masquerade_mark: 0x4000, node_port_networks: Vec::new() };
    let mut table = Table::new(options);
    let all = (0..SERVICES)
        .map(|n| (Key::new("ns", &format!("svc-{n}")), plan(&service(n), &slices(n, 5), facts, Family::V4)))
        .collect();
    table.update(all, Instant::now());
    table
}

fn bench(c: &mut Criterion) {
    let facts = Facts { node_name: "n".into(), ..Facts::default() };
    let mut table = full(&facts);
    let (one, key) = (service(7), Key::new("ns", "svc-7"));
    let (few, many) = (slices(7, 5), slices(7, 6));
    let mut grow = false;
    c.bench_function("one service of 10,000 gains or loses an endpoint: plan and difference", |b| {
        b.iter(|| {
            grow = !grow;
            let rules = plan(&one, if grow { &many } else { &few }, &facts, Family::V4);
            black_box(table.update(vec![(key.clone(), rules)], Instant::now()))
        });
    });
    c.bench_function("10,000 services: the whole table as text", |b| b.iter(|| black_box(table.rebuild())));
    c.bench_function("10,000 services: plan all", |b| b.iter(|| black_box(full(&facts))));
}

criterion_group! { name = benches; config = Criterion::default().sample_size(10); targets = bench }
criterion_main!(benches);
