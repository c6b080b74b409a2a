//! One scheduling cycle among 5,000 nodes that are a third full: plain, spread and affinity pods, with and without
//! taking over the candidates of the pod before.
#![allow(clippy::expect_used)]
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use scheduler::{
    cluster::Cluster,
    config::Configuration,
    cycle::Cycle,
    framework::Context,
    pod::{Interner, PodInfo},
    testing::{PodBuilder, node, pod},
};
use std::{hint::black_box, sync::Arc};

const NODES: usize = 5_000;
const PODS: usize = 10_000;

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    let nodes = (0..NODES).map(|n| {
        let zone = format!("zone-{}", n % 3);
        node(&format!("node-{n}")).label("topology.kubernetes.io/zone", &zone).allocatable("4", "32Gi", 110).build()
    });
    cluster.upsert_nodes(nodes.collect());
    let mut interner = Interner::default();
    for n in 0..PODS {
        let bound = pod(&format!("bound-{n}")).label("app", if n % 10 == 0 { "web" } else { "other" });
        let bound = bound.cpu("100m").memory("500Mi").on(&format!("node-{}", n % NODES)).build();
        cluster.upsert_pod(Arc::new(interner.pod(bound, None)));
    }
    cluster
}

fn waiting(kind: &str) -> PodBuilder {
    let pod = pod("p").label("app", "web").cpu("100m").memory("500Mi");
    match kind {
        "spread" => pod.spec(
            "topologySpreadConstraints: [{maxSkew: 5, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: \
             DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]",
        ),
        "affinity" => pod.spec(
            "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: \
             topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: web}}}]}}",
        ),
        "anti-affinity" => pod.spec(
            "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: \
             kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}",
        ),
        _ => pod,
    }
}

fn bench(c: &mut Criterion) {
    let profiles = Configuration::default().profiles().expect("the default configuration is valid");
    for kind in ["plain", "spread", "affinity", "anti-affinity"] {
        let cluster = cluster();
        let pod = waiting(kind).info();
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        c.bench_function(&format!("5,000 nodes, {kind} pod, no candidates to take over"), |b| {
            b.iter_batched(
                Cycle::default,
                |mut cycle| {
                    let context = Context { pod: &pod, cluster: &cluster };
                    black_box(cycle.schedule(&profiles[0], context, &mut rng).is_ok())
                },
                BatchSize::SmallInput,
            );
        });
    }
    let mut cluster = cluster();
    let template = waiting("plain").info();
    let mut cycle = Cycle::default();
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let mut number = 0u64;
    c.bench_function("5,000 nodes, run of plain pods: decide, assume, forget", |b| {
        b.iter(|| {
            number += 1;
            let pod = Arc::new(PodInfo { uid: Arc::from(number.to_string()), ..(*template).clone() });
            let context = Context { pod: &pod, cluster: &cluster };
            if let Ok(placement) = cycle.schedule(&profiles[0], context, &mut rng) {
                cluster.assume(pod, placement.node);
                // Keeps the cluster as full as it was, without undoing the last decision.
                cluster.remove_pod(&number.saturating_sub(1_000).to_string());
            }
        });
    });
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
