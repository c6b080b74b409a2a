//! Fit and scores of nodes by their resources.
use super::*;
use crate::{
    cluster::Cluster,
    testing::{node, pod},
};
use serde_json::{Value, json};

fn fit(args: Value) -> Arc<dyn Plugin> {
    new_fit(&Args { plugin: FIT, value: Some(&args) }).expect("the test's arguments are valid")
}

fn cluster(node: crate::testing::NodeBuilder, pods: &[Arc<PodInfo>]) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.upsert_node(node.build());
    for pod in pods {
        cluster.upsert_pod(pod.clone());
    }
    cluster
}

fn check(plugin: &dyn Plugin, cluster: &Cluster, pod: &PodInfo) -> Result<(), Rejection> {
    match plugin.pre_filter(Context { pod, cluster }) {
        PreFilter::Check { filter, .. } => filter.filter(&cluster.view(0)),
        PreFilter::Skip => Ok(()),
        PreFilter::Reject(rejection) => Err(rejection),
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let plugin = fit(json!({"ignoredResources": ["example.com/ignored"], "ignoredResourceGroups": ["other.io"]}));
    let cluster = cluster(
        node("n").allocatable("2", "1Gi", 2).resource("example.com/gpu", "1"),
        &[pod("a").cpu("1500m").memory("512Mi").on("n").info()],
    );
    let unschedulable = |reasons: &[&'static str]| {
        Err(Rejection { code: Code::Unschedulable, reasons: reasons.iter().map(|r| Cow::Borrowed(*r)).collect() })
    };
    let table = [
        (pod("p").cpu("500m"), Ok(())),
        (pod("p").cpu("501m"), unschedulable(&["Insufficient cpu"])),
        (pod("p").cpu("1").memory("600Mi"), unschedulable(&["Insufficient cpu", "Insufficient memory"])),
        (pod("p").cpu("3"), Err(Rejection::unresolvable("Insufficient cpu"))),
        (pod("p").resource("example.com/gpu", "1"), Ok(())),
        (pod("p").resource("example.com/gpu", "2"), Err(Rejection::unresolvable("Insufficient example.com/gpu"))),
        (pod("p").resource("example.com/ignored", "2"), Ok(())),
        (pod("p").resource("other.io/x", "2"), Ok(())),
    ];
    for (builder, expected) in table {
        let pod = builder.info();
        assert_eq!(check(&*plugin, &cluster, &pod), expected, "{:?}", pod.template.requests);
    }
}

#[test]
fn a_full_node_takes_no_pod() {
    let plugin = fit(json!({}));
    let cluster = cluster(node("n").allocatable("2", "1Gi", 1), &[pod("a").on("n").info()]);
    assert_eq!(check(&*plugin, &cluster, &pod("p").info()), Err(Rejection::unschedulable("Too many pods")));
}

#[test]
fn scores_are_upstreams() {
    // Node with 4 CPU and 10 GB, 3 CPU and 5 GB asked for: the first cases of upstream's tables.
    let resources = json!([{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]);
    let strategy = |kind: &str| json!({"scoringStrategy": {"type": kind, "resources": resources}});
    let mut ratio = strategy("RequestedToCapacityRatio");
    ratio["scoringStrategy"]["requestedToCapacityRatio"] =
        json!({"shape": [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]});
    let cluster = cluster(node("n").allocatable("4", "10000", 10), &[]);
    let pod = pod("p").cpu("3").memory("5000").info();
    for (args, expected) in [(strategy("LeastAllocated"), 37), (strategy("MostAllocated"), 62), (ratio, 38)] {
        let plugin = fit(args.clone());
        let scorer = plugin.pre_score(Context { pod: &pod, cluster: &cluster }, &[0]).expect("scores");
        assert_eq!(scorer.score(&cluster.view(0)), expected, "{args}");
    }
    let balanced = new_balanced(&Args { plugin: BALANCED, value: None }).expect("defaults are valid");
    let scorer = balanced.pre_score(Context { pod: &pod, cluster: &cluster }, &[0]).expect("scores");
    assert_eq!(scorer.score(&cluster.view(0)), 87);
}

#[test]
fn wrong_arguments_are_refused() {
    let table = [
        json!({"ignoredResourses": []}),
        json!({"kind": "NodeAffinityArgs"}),
        json!({"scoringStrategy": {"type": "Best"}}),
        json!({"scoringStrategy": {"type": "LeastAllocated", "resources": [{"name": "cpu", "weight": 0}]}}),
        json!({"scoringStrategy": {"type": "RequestedToCapacityRatio"}}),
    ];
    for args in table {
        assert!(new_fit(&Args { plugin: FIT, value: Some(&args) }).is_err(), "{args}");
    }
}
