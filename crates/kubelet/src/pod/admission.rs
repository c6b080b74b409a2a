//! Whether this node takes a pod: the last check after the scheduler's. Pure.
use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::labels::{Operator, Requirement};
use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod};

use crate::resources::{self, Amounts};
use crate::spec;
use crate::status::Verdict;

const DISK: &str = "ephemeral-storage";

/// What the node has for pods, and the pods that are here already.
pub struct View<'a> {
    pub allocatable: Amounts,
    pub allocatable_disk_bytes: i64,
    pub max_pods: usize,
    pub node: Option<&'a Node>,
    /// Sysctls, or prefixes of them ending in `*`, that are allowed beside the safe ones.
    pub unsafe_sysctls: &'a [String],
    pub others: &'a [Arc<Pod>],
}

/// `None`: the pod is welcome.
pub fn admit(pod: &Pod, view: &View<'_>) -> Option<Verdict> {
    let lacks = || shortages(pod, view).into_iter().next().map(|short| short.verdict());
    features(pod, view).or_else(lacks).or_else(|| placement(pod, view))
}

/// Why the pod is not welcome, whatever resources there are.
pub fn refused_anyway(pod: &Pod, view: &View<'_>) -> Option<Verdict> {
    features(pod, view).or_else(|| placement(pod, view))
}

/// What the node does not allow, or cannot do.
fn features(pod: &Pod, view: &View<'_>) -> Option<Verdict> {
    if let Some(message) = super::sysctls::forbidden(pod, view.unsafe_sysctls) {
        return Some(Verdict::new("SysctlForbidden", &message));
    }
    if let Some(node) = view.node
        && !can_restrict_groups(node)
        && spec::spec(pod).security_context.as_ref().and_then(|c| c.supplemental_groups_policy.as_deref())
            == Some("Strict")
    {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node";
        return Some(Verdict::new("SupplementalGroupsPolicyNotSupported", message));
    }
    None
}

/// Why the pod should not be on this node, or cannot be beside the others.
fn placement(pod: &Pod, view: &View<'_>) -> Option<Verdict> {
    if let Some(node) = view.node
        && !spec::is_static(pod)
        && !fits(pod, node)
    {
        return Some(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    let taken: Vec<(String, String, i32)> = view.others.iter().flat_map(|other| host_ports(other)).collect();
    let clash = host_ports(pod).iter().any(|mine| {
        taken.iter().any(|other| {
            let same_ip = mine.0 == other.0 || mine.0 == "0.0.0.0" || other.0 == "0.0.0.0";
            same_ip && mine.1 == other.1 && mine.2 == other.2
        })
    });
    clash.then(|| predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"))
}

/// A resource of which the node has too little left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    pub name: &'static str,
    /// Pods, milli-CPU or bytes.
    pub asked: i64,
    pub used: i64,
    pub capacity: i64,
}

impl Shortage {
    /// What others would have to leave.
    pub fn missing(&self) -> i64 {
        self.asked.saturating_sub(self.capacity.saturating_sub(self.used))
    }

    fn verdict(&self) -> Verdict {
        let Shortage { name, asked, used, capacity } = self;
        let text =
            format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}");
        Verdict::new(&format!("OutOf{name}"), &text)
    }
}

/// What the node lacks for the pod.
pub fn shortages(pod: &Pod, view: &View<'_>) -> Vec<Shortage> {
    let used =
        view.others.iter().map(|other| resources::pod_requests(other)).fold(Amounts::default(), |sum, more| Amounts {
            cpu_milli: sum.cpu_milli.saturating_add(more.cpu_milli),
            memory_bytes: sum.memory_bytes.saturating_add(more.memory_bytes),
        });
    let asked = resources::pod_requests(pod);
    let (count, most) = (as_i64(view.others.len()), as_i64(view.max_pods));
    let all = [
        Shortage { name: "pods", asked: 1, used: count, capacity: most },
        Shortage { name: "cpu", asked: asked.cpu_milli, used: used.cpu_milli, capacity: view.allocatable.cpu_milli },
        Shortage {
            name: "memory",
            asked: asked.memory_bytes,
            used: used.memory_bytes,
            capacity: view.allocatable.memory_bytes,
        },
        Shortage {
            name: DISK,
            asked: resources::pod_request(pod, DISK),
            used: view.others.iter().map(|other| resources::pod_request(other, DISK)).fold(0, i64::saturating_add),
            capacity: view.allocatable_disk_bytes,
        },
    ];
    all.into_iter().filter(|one| one.asked > 0 && one.used.saturating_add(one.asked) > one.capacity).collect()
}

/// Whether the runtime can keep a container out of the groups its image lists (KEP-3619).
fn can_restrict_groups(node: &Node) -> bool {
    let features = node.status.as_ref().and_then(|status| status.features.as_ref());
    features.and_then(|features| features.supplemental_groups_policy) == Some(true)
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn predicate(name: &str, what: &str) -> Verdict {
    Verdict::new(name, &format!("Predicate {name} failed: {what}"))
}

/// (address, protocol, port)
fn host_ports(pod: &Pod) -> Vec<(String, String, i32)> {
    let ports = spec::spec(pod).containers.iter().flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|p| *p > 0)?;
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            Some((ip, port.protocol.clone().unwrap_or_else(|| "TCP".into()), number))
        })
        .collect()
}

fn fits(pod: &Pod, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected = spec::spec(pod).node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec::spec(pod).affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term_fits(term, labels, name)))
}

fn term_fits(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let operator = |text: &str| match text {
        "In" => Some(Operator::In),
        "NotIn" => Some(Operator::NotIn),
        "Exists" => Some(Operator::Exists),
        "DoesNotExist" => Some(Operator::DoesNotExist),
        "Gt" => Some(Operator::GreaterThan),
        "Lt" => Some(Operator::LessThan),
        _ => None,
    };
    let matches = |key: &str, op: &str, values: &Option<Vec<String>>, value: Option<&str>| {
        let requirement =
            operator(op).and_then(|op| Requirement::new(key, op, values.clone().unwrap_or_default()).ok());
        requirement.is_some_and(|r| r.matches(value))
    };
    expressions.iter().all(|e| matches(&e.key, &e.operator, &e.values, labels.get(&e.key).map(String::as_str)))
        && fields.iter().all(|f| f.key == "metadata.name" && matches(&f.key, &f.operator, &f.values, Some(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        let value = apimachinery::codec::yaml::parse(&format!("spec: {spec}")).expect("yaml");
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn reasons() {
        let node: Node = serde_json::from_value(serde_json::json!({"metadata": {"name": "n", "labels": {"a": "b"}}}))
            .expect("a node");
        let others = [Arc::new(pod(
            "{containers: [{name: a, ports: [{containerPort: 80, hostPort: 80}], resources: {requests: {cpu: 1}}}]}",
        ))];
        let view = View {
            allocatable: Amounts { cpu_milli: 2000, memory_bytes: 1 << 30 },
            allocatable_disk_bytes: 1 << 30,
            max_pods: 2,
            node: Some(&node),
            unsafe_sysctls: &[],
            others: &others,
        };
        for (spec, want) in [
            ("{containers: [{name: a}]}", None),
            ("{containers: [{name: a, resources: {requests: {cpu: 2}}}]}", Some("OutOfcpu")),
            ("{containers: [{name: a, resources: {requests: {memory: 2Gi}}}]}", Some("OutOfmemory")),
            (
                "{containers: [{name: a, resources: {requests: {ephemeral-storage: 2Gi}}}]}",
                Some("OutOfephemeral-storage"),
            ),
            ("{nodeSelector: {a: c}, containers: [{name: a}]}", Some("NodeAffinity")),
            ("{nodeSelector: {a: b}, containers: [{name: a}]}", None),
            ("{containers: [{name: a, ports: [{containerPort: 1, hostPort: 80}]}]}", Some("NodePorts")),
            (
                "{securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}, containers: []}",
                Some("SysctlForbidden"),
            ),
            (
                "{securityContext: {supplementalGroupsPolicy: Strict}, containers: []}",
                Some("SupplementalGroupsPolicyNotSupported"),
            ),
        ] {
            assert_eq!(admit(&pod(spec), &view).map(|v| v.reason).as_deref(), want, "{spec}");
        }
    }
}
