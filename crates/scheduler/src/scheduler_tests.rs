//! Whole cycles over a small cluster: who is bound where, and what is said when nobody can be.
use super::*;
use crate::testing::{NodeBuilder, PodBuilder, node, pod};

struct Bench {
    scheduler: Scheduler,
    now: Instant,
}

impl Bench {
    fn new(nodes: Vec<NodeBuilder>) -> Self {
        let now = Instant::now();
        let mut scheduler = Scheduler::new(&Configuration::default(), 7, now).expect("defaults are valid");
        let nodes = nodes.into_iter().map(NodeBuilder::build).collect();
        scheduler.apply(Change::Node(Delta::Replaced(nodes)), now);
        Bench { scheduler, now }
    }

    fn see(&mut self, pod: PodBuilder) {
        self.scheduler.apply(Change::Pod(Delta::Upserted(Box::new(pod.build()))), self.now);
    }

    fn gone(&mut self, pod: PodBuilder) {
        self.scheduler.apply(Change::Pod(Delta::Deleted(Box::new(pod.build()))), self.now);
    }

    /// `pod -> node`, or `pod: why not`, for all pods that are to be tried now.
    fn decide(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(step) = self.scheduler.next(self.now) {
            out.push(match step {
                Step::Bind { pod, node, .. } => format!("{} -> {node}", pod.key.name),
                Step::Report(report) => format!("{}: {}", report.pod.key.name, report.message),
            });
        }
        out
    }
}

fn small(name: &str) -> NodeBuilder {
    node(name).allocatable("1", "1Gi", 10)
}

#[tokio::test(start_paused = true)]
async fn assumed_pods_take_room_at_once() {
    let mut bench = Bench::new(vec![small("n1"), small("n2")]);
    for name in ["a", "b"] {
        bench.see(pod(name).cpu("1"));
    }
    let mut nodes: Vec<_> = bench.decide().iter().map(|d| d[d.len() - 2..].to_owned()).collect();
    nodes.sort();
    assert_eq!(nodes, ["n1", "n2"]);
    bench.see(pod("c").cpu("1"));
    assert_eq!(
        bench.decide(),
        ["c: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are \
         available: 2 No preemption victims found for incoming pod."]
    );
}

#[tokio::test(start_paused = true)]
async fn room_that_is_freed_is_taken() {
    let mut bench = Bench::new(vec![small("n1")]);
    bench.see(pod("old").cpu("1").on("n1"));
    bench.see(pod("new").cpu("1"));
    assert_eq!(bench.decide().len(), 1);
    bench.gone(pod("old").cpu("1").on("n1"));
    assert_eq!(bench.decide(), ["new -> n1"]);
}

#[tokio::test(start_paused = true)]
async fn statuses_of_others_bring_no_new_attempt() {
    let mut bench = Bench::new(vec![node("n1").allocatable("4", "8Gi", 100)]);
    // No two alike, and more of them than templates are remembered.
    let other = |i: usize| pod(&format!("other-{i}")).cpu(&format!("{}m", i + 1)).on("n1");
    for i in 0..40 {
        bench.see(other(i));
    }
    bench.see(pod("huge").cpu("100"));
    assert_eq!(bench.decide().len(), 1);
    for i in 0..40 {
        bench.see(other(i));
        assert_eq!(bench.decide(), [""; 0], "after news of {i}");
    }
    bench.see(pod("huge").cpu("100"));
    assert_eq!(bench.decide(), [""; 0], "after news of itself");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_for_less_than_before_helps() {
    // What the bound pod asks for after the change, what becomes of the waiting one.
    let table: [(&str, &[&str]); 3] = [("200m", &["new -> n1"]), ("800m", &[]), ("900m", &[])];
    for (cpu, expected) in table {
        let mut bench = Bench::new(vec![small("n1")]);
        bench.see(pod("old").cpu("800m").on("n1"));
        bench.see(pod("new").cpu("700m"));
        assert_eq!(bench.decide().len(), 1);
        bench.see(pod("old").cpu(cpu).on("n1"));
        assert_eq!(bench.decide(), expected, "{cpu}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_node_helps_and_a_useless_one_does_not() {
    let mut bench = Bench::new(vec![small("n1").unschedulable()]);
    bench.see(pod("p"));
    assert_eq!(
        bench.decide(),
        [
            "p: 0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1 nodes \
         are available: 1 Preemption is not helpful for scheduling."
        ]
    );
    bench.scheduler.apply(Change::Node(Delta::Upserted(Box::new(small("n2").unschedulable().build()))), bench.now);
    assert_eq!(bench.decide(), Vec::<String>::new());
    bench.scheduler.apply(Change::Node(Delta::Upserted(Box::new(small("n3").build()))), bench.now);
    assert_eq!(bench.decide(), ["p -> n3"]);
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_fails_gives_the_room_back_and_is_tried_again() {
    let mut bench = Bench::new(vec![small("n1")]);
    bench.see(pod("p").cpu("1"));
    let Some(Step::Bind { pod: bound, .. }) = bench.scheduler.next(bench.now) else { panic!("it fits") };
    bench.scheduler.unbound(&bound, None, bench.now);
    assert_eq!(bench.decide(), Vec::<String>::new(), "after an error a pod backs off");
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.decide(), ["p -> n1"]);
}

#[tokio::test(start_paused = true)]
async fn nominated_pods_keep_their_room() {
    let mut bench = Bench::new(vec![small("n1")]);
    bench.see(pod("low").cpu("1").on("n1"));
    bench.see(pod("high").cpu("1").priority(10));
    let Some(Step::Report(report)) = bench.scheduler.next(bench.now) else { panic!("it does not fit") };
    assert_eq!((report.nominate.as_deref(), &*report.victims[0].key.name), (Some("n1"), "low"));
    assert_eq!(report.message, "0/1 nodes are available: 1 Insufficient cpu.");
    bench.see(pod("thief").cpu("1").priority(5));
    bench.gone(pod("low").cpu("1").on("n1"));
    let decisions = bench.decide();
    assert!(decisions.contains(&"high -> n1".to_owned()), "{decisions:?}");
    assert!(!decisions.iter().any(|d| d.starts_with("thief ->")), "{decisions:?}");
}

#[tokio::test(start_paused = true)]
async fn others_pods_are_left_alone() {
    let mut bench = Bench::new(vec![small("n1")]);
    let mut other = pod("p").build();
    other.spec.scheduler_name = "somebody-else".into();
    bench.scheduler.apply(Change::Pod(Delta::Upserted(Box::new(other))), bench.now);
    assert_eq!(bench.decide(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn without_nodes_the_text_says_so() {
    let mut bench = Bench::new(Vec::new());
    bench.see(pod("p"));
    assert_eq!(bench.decide(), ["p: no nodes available to schedule pods"]);
}

#[tokio::test(start_paused = true)]
async fn runs_of_identical_pods_spread_like_single_ones() {
    let mut bench = Bench::new((0..200).map(|n| small(&format!("n{n}"))).collect());
    for n in 0..400 {
        bench.see(pod(&format!("p{n}")).cpu("250m"));
    }
    let decisions = bench.decide();
    assert_eq!(decisions.iter().filter(|d| d.contains("->")).count(), 400);
    let fullest = (0..200).map(|n| bench.scheduler.cluster.columns().pods[n]).max();
    assert!(fullest <= Some(3), "least allocated nodes come first: {fullest:?}");
}
