//! What every request does: quantities, selectors, unknown fields of a body, a strategic merge, a protobuf body.
#![allow(clippy::unwrap_used)]
use apimachinery::{labels::Selector, patch, quantity::Quantity, schema};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use std::{collections::BTreeMap, hint::black_box};

fn pod() -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example.com/app:1.2.3",
            "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "front"}},
        "spec": {
            "containers": [container("a"), container("b")],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]
        }
    })
}

fn benches(c: &mut Criterion) {
    c.bench_function("quantity/parse 1536Mi", |b| b.iter(|| Quantity::parse(black_box("1536Mi"))));
    c.bench_function("quantity/parse 100m", |b| b.iter(|| Quantity::parse(black_box("100m"))));
    let quantity = Quantity::parse("64Gi").unwrap();
    c.bench_function("quantity/value", |b| b.iter(|| black_box(quantity).value()));
    c.bench_function("quantity/print", |b| b.iter(|| black_box(quantity).to_string()));

    let selector = Selector::parse("app=web,tier in (front,back),!canary").unwrap();
    let labels: BTreeMap<String, String> =
        [("app", "web"), ("tier", "front"), ("x", "y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    c.bench_function("labels/match", |b| b.iter(|| selector.matches(black_box(&labels))));
    c.bench_function("labels/parse", |b| b.iter(|| Selector::parse(black_box("app=web,tier in (front,back),!canary"))));

    let schema = schema::of("", "v1", "Pod").unwrap();
    let body = serde_json::to_vec(&pod()).unwrap();
    c.bench_function("schema/check_fields of a pod", |b| b.iter(|| schema::check_fields(schema, black_box(&body))));
    c.bench_function("json/parse of a pod", |b| b.iter(|| serde_json::from_slice::<Value>(black_box(&body))));

    let change = json!({"spec": {"containers": [{"name": "b", "image": "registry.example.com/app:1.2.4"}]}});
    c.bench_function("patch/strategic merge of a pod", |b| {
        b.iter(|| patch::strategic_merge_patch(pod(), black_box(change.clone()), schema))
    });
}

criterion_group!(all, benches);
criterion_main!(all);
