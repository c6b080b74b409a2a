//! Who is preempted for whom, and when nobody may be.
use crate::{
    cluster::Cluster,
    config::Configuration,
    cycle::{Cycle, Failure, Unfit},
    framework::Context,
    testing::{PodBuilder, node, pod},
};
use rand::SeedableRng;

fn attempt(cluster: &Cluster, incoming: PodBuilder) -> Box<Unfit> {
    let profiles = Configuration::default().profiles().expect("the default configuration is valid");
    let pod = incoming.info();
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    match Cycle::default().schedule(&profiles[0], Context { pod: &pod, cluster }, &mut rng) {
        Err(Failure::Unfit(unfit)) => unfit,
        Err(Failure::NoNodes) => panic!("there are nodes"),
        Ok(placement) => panic!("it fits: {placement:?}"),
    }
}

fn victims(unfit: &Unfit) -> Vec<&str> {
    unfit.nominate.iter().flat_map(|(_, victims)| victims).map(|p| &*p.key.name).collect()
}

fn one_node(pods: Vec<PodBuilder>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.upsert_node(node("n1").allocatable("2", "4Gi", 10).build());
    for pod in pods {
        cluster.upsert_pod(pod.on("n1").info());
    }
    cluster
}

#[test]
fn as_few_and_as_unimportant_pods_as_possible_are_ended() {
    let cluster = one_node(vec![
        pod("old").cpu("1").priority(1).started("2026-01-01T00:00:00Z"),
        pod("new").cpu("1").priority(1).started("2026-01-02T00:00:00Z"),
    ]);
    let unfit = attempt(&cluster, pod("p").cpu("1").priority(10));
    assert_eq!(victims(&unfit), ["new"]);
    assert_eq!(unfit.error.to_string(), "0/1 nodes are available: 1 Insufficient cpu.");
    let unfit = attempt(&cluster, pod("p").cpu("2").priority(10));
    assert_eq!(victims(&unfit), ["old", "new"]);
}

#[test]
fn the_node_with_the_least_important_victims_is_chosen() {
    let mut cluster = Cluster::default();
    for (name, priority) in [("n1", 5), ("n2", 3), ("n3", 4)] {
        cluster.upsert_node(node(name).allocatable("1", "4Gi", 10).build());
        cluster.upsert_pod(pod(&format!("on-{name}")).cpu("1").priority(priority).on(name).info());
    }
    assert_eq!(victims(&attempt(&cluster, pod("p").cpu("1").priority(10))), ["on-n2"]);
}

#[test]
fn texts_when_nothing_helps() {
    let prefix = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: ";
    let full = || one_node(vec![pod("a").cpu("2").priority(10)]);
    let table = [
        (full(), pod("p").cpu("1"), "0/1 nodes are available: 1 No preemption victims found for incoming pod."),
        (full(), pod("p").cpu("3"), "0/1 nodes are available: 1 Preemption is not helpful for scheduling."),
        (
            full(),
            pod("p").cpu("1").priority(20).spec("preemptionPolicy: Never"),
            "not eligible due to preemptionPolicy=Never.",
        ),
        (
            one_node(vec![pod("a").cpu("1500m").priority(50), pod("b").cpu("500m")]),
            pod("p").cpu("1").priority(20),
            "0/1 nodes are available: 1 Insufficient cpu.",
        ),
    ];
    for (cluster, incoming, expected) in table {
        assert_eq!(attempt(&cluster, incoming).error.to_string(), format!("{prefix}{expected}"));
    }
}
