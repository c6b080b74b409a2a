//! How long kubelets may keep secrets and config maps: the more nodes there are, the longer.
//!
//! Written to each node as an annotation. Bounds of neighbouring sizes overlap, so that a cluster at a bound does not
//! have all its nodes rewritten again and again.
use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use std::sync::Arc;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// From so many nodes to so many: seconds.
const BOUNDS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

struct Ttl {
    nodes: Cache<Node>,
}

/// Start the TTL controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let nodes = setup.watch::<Node>();
    let all = nodes.clone();
    setup.follow(&nodes, move |old, new, add| {
        let count = all.len();
        let at_bound = BOUNDS.iter().any(|(from, to, _)| count.abs_diff(*from) <= 1 || count.abs_diff(*to) <= 1);
        if old.is_some() != new.is_some() && count > 1 && at_bound {
            all.keys().into_iter().for_each(add);
        }
    });
    Ok(Arc::new(Ttl { nodes }))
}

/// The TTL for `count` nodes, where a node has `known` now.
fn ttl(count: usize, known: Option<u32>) -> u32 {
    let fits = |(from, to, _): &&(usize, usize, u32)| (*from..=*to).contains(&count);
    let stays = BOUNDS.iter().filter(fits).find(|(_, _, seconds)| Some(*seconds) == known);
    stays.or_else(|| BOUNDS.iter().find(fits)).map_or(0, |(_, _, seconds)| *seconds)
}

fn plan(node: &Node, count: usize) -> Plan {
    let mut plan = Plan::nothing();
    let text = node.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
    let known = text.and_then(|text| text.parse().ok());
    let wanted = ttl(count, known);
    if known != Some(wanted) {
        let patch = json!({ "metadata": { "annotations": { ANNOTATION: wanted.to_string() } } });
        plan.write(Write::strategic::<Node>(Key::of(node), patch).or_gone());
    }
    plan
}

#[async_trait]
impl Controller for Ttl {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.nodes.at(key).map_or_else(Plan::nothing, |node| plan(&node, self.nodes.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;

    #[test]
    fn sizes_overlap() {
        assert_eq!((ttl(1, None), ttl(100, None), ttl(101, Some(0)), ttl(95, Some(15))), (0, 0, 15, 15));
        assert_eq!((ttl(89, Some(15)), ttl(5000, Some(60)), ttl(5000, Some(300))), (0, 300, 300));
    }

    #[test]
    fn nodes_are_annotated_once() {
        let node: Arc<Node> = object("metadata: {name: n}");
        let expected = "patch Node n {\"metadata\":{\"annotations\":{\"node.alpha.kubernetes.io/ttl\":\"0\"}}}\n";
        assert_eq!(plan(&node, 1).to_string(), expected);
        let node: Arc<Node> = object("metadata: {name: n, annotations: {node.alpha.kubernetes.io/ttl: '0'}}");
        assert!(plan(&node, 1).is_empty());
    }
}
