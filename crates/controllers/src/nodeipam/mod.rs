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
use ranges::{Network, Pool};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

struct NodeIpam {
    nodes: Cache<Node>,
    pools: Vec<Pool>,
    /// By node.
    given: Mutex<BTreeMap<String, Vec<Network>>>,
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
    let nodes = setup.watch::<Node>();
    Ok(Arc::new(NodeIpam { nodes, pools, given: Mutex::default() }))
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
        let Some(node) = self.nodes.at(key) else {
            given.remove(&*key.name);
            return Ok(Plan::nothing());
        };
        let has = known(&node);
        if !has.is_empty() {
            given.insert(key.name.to_string(), has);
            return Ok(Plan::nothing());
        }
        let chosen = match given.get(&*key.name) {
            Some(chosen) => Some(chosen.clone()),
            None => {
                let mut used: Vec<Network> = self.nodes.list().iter().flat_map(|node| known(node)).collect();
                used.extend(given.values().flatten().copied());
                self.pools.iter().map(|pool| pool.free(&used)).collect::<Option<Vec<_>>>()
            }
        };
        let plan = plan(&node, chosen.as_deref());
        if let Some(chosen) = chosen {
            given.insert(key.name.to_string(), chosen);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;

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
