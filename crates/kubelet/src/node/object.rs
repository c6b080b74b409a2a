//! The Node object as this kubelet makes it. Pure.
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSwapStatus, NodeSystemInfo,
    ObjectReference,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::conditions::{self, Health};
use super::facts::{Facts, KUBELET_VERSION};
use crate::config::Config;

type Resources = BTreeMap<String, Quantity>;

fn bytes(n: i64) -> Quantity {
    Quantity(if n % 1024 == 0 { format!("{}Ki", n / 1024) } else { n.to_string() })
}

fn quantity_of_milli(milli: i64) -> Quantity {
    Quantity(if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") })
}

fn page_name(size: i64) -> String {
    match size {
        s if s % (1 << 30) == 0 => format!("hugepages-{}Gi", s >> 30),
        s if s % (1 << 20) == 0 => format!("hugepages-{}Mi", s >> 20),
        s => format!("hugepages-{}Ki", s >> 10),
    }
}

fn capacity(config: &Config, facts: &Facts) -> Resources {
    let mut all = Resources::from([
        ("cpu".to_owned(), Quantity(facts.cpus.to_string())),
        ("memory".to_owned(), bytes(facts.memory_bytes)),
        ("ephemeral-storage".to_owned(), bytes(facts.ephemeral_storage_bytes)),
        ("pods".to_owned(), Quantity(config.max_pods.to_string())),
    ]);
    all.extend(facts.huge_pages.iter().map(|(size, total)| (page_name(*size), Quantity(total.to_string()))));
    all
}

/// Capacity less what is reserved and what eviction keeps free.
fn allocatable(config: &Config, facts: &Facts) -> Resources {
    let mut all = capacity(config, facts);
    let huge: i64 = facts.huge_pages.iter().map(|(_, total)| total).sum();
    let free = config.reserved.allocatable(facts.amounts());
    all.insert("cpu".into(), quantity_of_milli(free.cpu_milli));
    all.insert("memory".into(), bytes(free.memory_bytes.saturating_sub(huge).max(0)));
    let disk = config.reserved.allocatable_disk(facts.ephemeral_storage_bytes);
    all.insert("ephemeral-storage".into(), Quantity(disk.to_string()));
    all
}

fn addresses(config: &Config) -> Vec<NodeAddress> {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let internal = config.node_ips.iter().map(|ip| address("InternalIP", ip.to_string()));
    internal.chain([address("Hostname", config.node_name.clone())]).collect()
}

fn labels(config: &Config, facts: &Facts) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in [("os", "linux"), ("arch", facts.architecture)] {
        labels.insert(format!("kubernetes.io/{key}"), value.to_owned());
        labels.insert(format!("beta.kubernetes.io/{key}"), value.to_owned());
    }
    labels.insert("kubernetes.io/hostname".into(), config.node_name.clone());
    labels.extend(config.node_labels.clone());
    labels
}

/// The node as it is first registered.
pub fn new(config: &Config, facts: &Facts, port: u16, health: &Health, now: Timestamp) -> Node {
    let annotation = ("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned());
    Node {
        metadata: kube::core::ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels(config, facts)),
            annotations: Some(BTreeMap::from([annotation])),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            provider_id: config.provider_id.clone(),
            taints: Some(config.register_with_taints.clone()).filter(|t| !t.is_empty()),
            ..Default::default()
        }),
        status: Some(status(config, facts, port, health, &NodeStatus::default(), now)),
    }
}

/// The status; what others write into it stays.
pub fn status(
    config: &Config,
    facts: &Facts,
    port: u16,
    health: &Health,
    old: &NodeStatus,
    now: Timestamp,
) -> NodeStatus {
    let mut all = capacity(config, facts);
    let mut free = allocatable(config, facts);
    // Extended resources are put there by others.
    let extended =
        |list: &Option<Resources>| list.clone().unwrap_or_default().into_iter().filter(|(name, _)| name.contains('/'));
    all.extend(extended(&old.capacity));
    free.extend(extended(&old.allocatable));
    NodeStatus {
        capacity: Some(all),
        allocatable: Some(free),
        conditions: Some(conditions::all(health, old.conditions.as_deref().unwrap_or_default(), now)),
        addresses: Some(addresses(config)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }),
        }),
        images: Some(health.images.clone()).filter(|images| !images.is_empty()),
        node_info: Some(NodeSystemInfo {
            machine_id: facts.machine_id.clone(),
            system_uuid: facts.system_uuid.clone(),
            boot_id: facts.boot_id.clone(),
            kernel_version: facts.kernel_version.clone(),
            os_image: facts.os_image.clone(),
            container_runtime_version: facts.runtime_version.clone(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            kube_proxy_version: String::new(),
            operating_system: "linux".to_owned(),
            architecture: facts.architecture.to_owned(),
            swap: Some(NodeSwapStatus { capacity: Some(facts.swap_bytes) }).filter(|_| facts.swap_bytes > 0),
        }),
        features: health.features.clone(),
        runtime_handlers: Some(health.handlers.clone()).filter(|handlers| !handlers.is_empty()),
        volumes_in_use: old.volumes_in_use.clone(),
        volumes_attached: old.volumes_attached.clone(),
        ..Default::default()
    }
}

/// Whether two statuses say different things; when they were said does not count.
pub fn differs(old: &NodeStatus, new: &NodeStatus) -> bool {
    let untimed = |status: &NodeStatus| {
        let mut status = status.clone();
        status.conditions.iter_mut().flatten().for_each(|c| c.last_heartbeat_time = None);
        status
    };
    untimed(old) != untimed(new)
}

/// What events about the node refer to; upstream puts the name where the uid belongs.
pub fn event_reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..Default::default()
    }
}
