//! Pod address ranges for nodes, out of `--cluster-cidr`.
//!
//! Watches nodes. Ranges given out are remembered here as well as read from nodes, because a node's
//! own record comes back a moment after it was written; so one worker hands them out.
pub mod ranges;

use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key, events::reference};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use ranges::{Network, Pool, Slots};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

struct NodeIpam {
    nodes: Cache<Node>,
    given: Mutex<Given>,
}

/// What is given out.
struct Given {
    /// A range of each for every node.
    slots: Vec<Slots>,
    by_node: BTreeMap<String, Vec<Network>>,
    /// What nodes had before we started has been taken note of.
    is_complete: bool,
}

impl Given {
    /// The node has these ranges, and no others.
    fn note(&mut self, node: &str, ranges: Vec<Network>) {
        if self.by_node.get(node) == Some(&ranges) {
            return;
        }
        for slots in &mut self.slots {
            ranges.iter().for_each(|range| slots.occupy(*range));
        }
        let before =
            if ranges.is_empty() { self.by_node.remove(node) } else { self.by_node.insert(node.to_owned(), ranges) };
        for slots in &mut self.slots {
            before.iter().flatten().for_each(|range| slots.release(*range));
        }
    }

    /// The node's ranges, or new ones; `None` when a pool is used up.
    fn choose(&mut self, node: &str) -> Option<Vec<Network>> {
        if let Some(ranges) = self.by_node.get(node) {
            return Some(ranges.clone());
        }
        let mut chosen = Vec::new();
        for at in 0..self.slots.len() {
            match self.slots[at].give() {
                Some(range) => chosen.push(range),
                None => {
                    self.slots.iter_mut().zip(chosen).for_each(|(slots, range)| slots.release(range));
                    return None;
                }
            }
        }
        self.by_node.insert(node.to_owned(), chosen.clone());
        Some(chosen)
    }
}

/// Start node address management.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let flags = setup.flags.clone();
    if !flags.allocate_node_cidrs {
        return Err("--allocate-node-cidrs is false".to_owned());
    }
    if flags.cluster_cidr.is_empty() {
        return Err("--allocate-node-cidrs needs --cluster-cidr".to_owned());
    }
    let parse = |text: &String| text.trim().parse::<Network>();
    let services: Vec<Network> = flags.service_cluster_ip_range.iter().map(parse).collect::<Result<_, _>>()?;
    let pool = |text: &String| Pool::new(parse(text)?, flags.node_cidr_mask_size, services.clone());
    let pools = flags.cluster_cidr.iter().map(pool).collect::<Result<Vec<_>, String>>()?;
    let slots = pools.into_iter().map(Slots::new).collect();
    let given = Mutex::new(Given { slots, by_node: BTreeMap::new(), is_complete: false });
    Ok(Arc::new(NodeIpam { nodes: setup.watch::<Node>(), given }))
}

/// The ranges a node has.
fn known(node: &Node) -> Vec<Network> {
    let spec = node.spec.as_ref();
    let all = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    all.chain(spec.and_then(|spec| spec.pod_cidr.as_ref())).filter_map(|text| text.parse().ok()).collect()
}

fn plan(node: &Node, chosen: Option<&[Network]>) -> Plan {
    let mut plan = Plan::nothing();
    match chosen {
        None => {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            plan.normal(&reference(node), "CIDRNotAvailable", format!("Node {name} status is now: CIDRNotAvailable"));
        }
        Some(chosen) => {
            let texts: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            let patch = json!({ "spec": { "podCIDR": texts.first(), "podCIDRs": texts } });
            plan.write(Write::strategic::<Node>(Key::of(node), patch).or_gone());
        }
    }
    plan
}

#[async_trait]
impl Controller for NodeIpam {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let mut given = self.given.lock();
        if !given.is_complete {
            for node in self.nodes.list() {
                given.note(node.metadata.name.as_deref().unwrap_or_default(), known(&node));
            }
            given.is_complete = true;
        }
        let Some(node) = self.nodes.at(key) else {
            given.note(&key.name, Vec::new());
            return Ok(Plan::nothing());
        };
        let has = known(&node);
        if !has.is_empty() {
            given.note(&key.name, has);
            return Ok(Plan::nothing());
        }
        Ok(plan(&node, given.choose(&key.name).as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;

    #[test]
    fn a_node_keeps_what_it_has_and_gives_it_back_when_it_goes() {
        let pool = |text: &str, mask| Pool::new(text.parse().expect("a network"), mask, Vec::new()).expect("fits");
        let slots = vec![Slots::new(pool("10.0.0.0/23", 24)), Slots::new(pool("fd00::/64", 64))];
        let mut given = Given { slots, by_node: BTreeMap::new(), is_complete: true };
        let text = |chosen: Option<Vec<Network>>| {
            chosen.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).unwrap_or_default()
        };
        given.note("old", vec!["10.0.0.0/24".parse().expect("a network")]);
        assert_eq!(text(given.choose("a")), "10.0.1.0/24 fd00::/64");
        assert_eq!(text(given.choose("a")), "10.0.1.0/24 fd00::/64", "until it is written it is the same");
        // One pool is used up: nothing is taken of the other.
        given.note("old", Vec::new());
        assert_eq!(text(given.choose("b")), "");
        given.note("a", Vec::new());
        assert_eq!(text(given.choose("b")), "10.0.1.0/24 fd00::/64");
    }

    #[test]
    fn ranges_are_written_or_their_lack_is_told() {
        let node: Arc<Node> = object("metadata: {name: n}");
        let chosen = ["10.244.1.0/24".parse().expect("a network")];
        let text = plan(&node, Some(&chosen)).to_string();
        assert_eq!(text, "patch Node n {\"spec\":{\"podCIDR\":\"10.244.1.0/24\",\"podCIDRs\":[\"10.244.1.0/24\"]}}\n");
        assert_eq!(
            plan(&node, None).to_string(),
            "event Normal CIDRNotAvailable \"Node n status is now: CIDRNotAvailable\"\n"
        );
    }
}
