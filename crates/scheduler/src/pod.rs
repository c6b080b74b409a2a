//! A pod as the scheduler keeps it.
//!
//! What comes from the pod's specification is a [`Template`], compiled once and shared by all pods that look
//! alike: comparing two pods for "the same decision applies" is comparing two pointers.
use crate::{
    node_selector::{Term as NodeTerm, Terms as NodeTerms},
    objects::{OwnerReference, Pod, PodSpec, StringMap},
    resources::PodRequests,
};
use apimachinery::labels::{self, Selector};
use k8s_openapi::{
    api::core::v1::{PodAffinityTerm, Toleration, WeightedPodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::{collections::VecDeque, sync::Arc};

/// How many distinct templates are remembered for sharing.
const RECENT_TEMPLATES: usize = 16;

/// What identifies a pod: its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A port of the host that a pod claims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Empty and `0.0.0.0` mean every address.
    pub ip: String,
    pub protocol: String,
    pub port: u16,
}

impl HostPort {
    /// Two pods cannot both have these.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let every = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || every(&self.ip) || every(&other.ip))
    }
}

/// A pod affinity or anti-affinity term.
#[derive(Clone, Debug, PartialEq)]
pub struct AffinityTerm {
    selector: Selector,
    namespaces: Vec<String>,
    /// `None` with no `namespaces`: the namespace of the pod that has the term.
    namespace_selector: Option<Selector>,
    pub topology_key: String,
}

impl AffinityTerm {
    fn new(source: &PodAffinityTerm) -> Self {
        AffinityTerm {
            selector: optional(source.label_selector.as_ref()),
            namespaces: source.namespaces.clone().unwrap_or_default(),
            namespace_selector: source.namespace_selector.as_ref().map(|s| optional(Some(s))),
            topology_key: source.topology_key.clone(),
        }
    }

    /// Does the term of a pod in `own_namespace` speak of a pod with these labels in this namespace?
    pub fn matches<'a>(
        &self,
        own_namespace: &str,
        pod: &PodInfo,
        namespace_labels: impl FnOnce() -> Option<&'a StringMap>,
    ) -> bool {
        let namespace = &*pod.key.namespace;
        let in_namespace = if self.namespaces.is_empty() && self.namespace_selector.is_none() {
            own_namespace == namespace
        } else {
            self.namespaces.iter().any(|n| n == namespace)
                || self.namespace_selector.as_ref().is_some_and(|s| s.matches_option(namespace_labels()))
        };
        in_namespace && self.selector.matches(&pod.labels)
    }
}

/// A selector of an API object; one that cannot be understood selects nothing.
fn optional(selector: Option<&LabelSelector>) -> Selector {
    labels::from_optional(selector).unwrap_or_else(|_| Selector::nothing())
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadConstraint {
    pub max_skew: i64,
    pub min_domains: i64,
    pub topology_key: String,
    /// `DoNotSchedule`, rather than `ScheduleAnyway`.
    pub hard: bool,
    pub selector: Selector,
    pub match_label_keys: Vec<String>,
    /// Only nodes that the pod's node affinity admits count.
    pub honor_affinity: bool,
    /// Only nodes whose taints the pod tolerates count.
    pub honor_taints: bool,
}

/// Everything that follows from a pod's specification alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// As decoded, without the node name.
    pub spec: PodSpec,
    pub requests: PodRequests,
    pub host_ports: Vec<HostPort>,
    pub required_nodes: Option<NodeTerms>,
    pub preferred_nodes: Vec<(NodeTerm, i64)>,
    pub affinity: Vec<AffinityTerm>,
    pub anti_affinity: Vec<AffinityTerm>,
    pub preferred_affinity: Vec<(AffinityTerm, i64)>,
    pub preferred_anti_affinity: Vec<(AffinityTerm, i64)>,
    pub spread: Vec<SpreadConstraint>,
}

impl Template {
    pub fn new(mut spec: PodSpec) -> Self {
        spec.node_name = String::new();
        let affinity = spec.affinity.as_ref();
        let nodes = affinity.and_then(|a| a.node_affinity.as_ref());
        let with = affinity.and_then(|a| a.pod_affinity.as_ref());
        let apart = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
        let required =
            |terms: Option<&Vec<PodAffinityTerm>>| terms.into_iter().flatten().map(AffinityTerm::new).collect();
        let preferred = |terms: Option<&Vec<WeightedPodAffinityTerm>>| {
            terms
                .into_iter()
                .flatten()
                .map(|t| (AffinityTerm::new(&t.pod_affinity_term), i64::from(t.weight)))
                .collect()
        };
        Template {
            requests: PodRequests::of(&spec),
            host_ports: host_ports(&spec),
            required_nodes: nodes
                .and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref())
                .map(NodeTerms::new),
            preferred_nodes: nodes
                .and_then(|n| n.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .filter(|term| term.weight != 0)
                .map(|term| (NodeTerm::new(&term.preference), i64::from(term.weight)))
                .collect(),
            affinity: required(with.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            anti_affinity: required(apart.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            preferred_affinity: preferred(
                with.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred_anti_affinity: preferred(
                apart.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            ),
            spread: spread_constraints(&spec),
            spec,
        }
    }

    /// Speaks of other pods, required or preferred.
    pub fn has_pod_affinity(&self) -> bool {
        !(self.affinity.is_empty()
            && self.anti_affinity.is_empty()
            && self.preferred_affinity.is_empty()
            && self.preferred_anti_affinity.is_empty())
    }

    /// Does the node selector and the required node affinity admit this node?
    pub fn admits(&self, name: &str, node_labels: &StringMap) -> bool {
        self.spec.node_selector.iter().all(|(key, value)| node_labels.get(key) == Some(value))
            && self.required_nodes.as_ref().is_none_or(|terms| terms.matches(name, node_labels))
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
    ports
        .filter_map(|port| {
            let number = u16::try_from(port.host_port).ok().filter(|n| *n > 0)?;
            let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
            Some(HostPort { ip: port.host_ip.clone(), protocol: protocol.to_owned(), port: number })
        })
        .collect()
}

fn spread_constraints(spec: &PodSpec) -> Vec<SpreadConstraint> {
    let constraints = spec.topology_spread_constraints.iter();
    constraints
        .map(|c| SpreadConstraint {
            max_skew: i64::from(c.max_skew),
            min_domains: i64::from(c.min_domains.unwrap_or(1)),
            topology_key: c.topology_key.clone(),
            hard: c.when_unsatisfiable == "DoNotSchedule",
            selector: optional(c.label_selector.as_ref()),
            match_label_keys: c.match_label_keys.clone().unwrap_or_default(),
            honor_affinity: c.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: c.node_taints_policy.as_deref() == Some("Honor"),
        })
        .collect()
}

/// Does one of the tolerations tolerate a taint of this key, value and effect?
pub fn tolerated(tolerations: &[Toleration], key: &str, value: &str, effect: &str) -> bool {
    tolerations.iter().any(|toleration| {
        let any_or = |field: Option<&str>, wanted: &str| field.is_none_or(|f| f.is_empty() || f == wanted);
        any_or(toleration.effect.as_deref(), effect)
            && any_or(toleration.key.as_deref(), key)
            && match toleration.operator.as_deref() {
                None | Some("" | "Equal") => toleration.value.as_deref().unwrap_or_default() == value,
                Some("Exists") => true,
                _ => false,
            }
    })
}

/// One pod.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub key: PodKey,
    pub uid: Arc<str>,
    pub labels: StringMap,
    pub owners: Vec<OwnerReference>,
    pub template: Arc<Template>,
    /// Bound to this node, or empty.
    pub node_name: Arc<str>,
    pub nominated_node: Option<Arc<str>>,
    pub generation: i64,
    pub deleting: bool,
    /// RFC 3339; orders pods of one priority when victims are chosen.
    pub start_time: String,
    pub creation_time: String,
    /// The last `PodScheduled=False` we or somebody wrote: reason and message.
    pub scheduled_condition: Option<(String, String)>,
}

impl PodInfo {
    pub fn priority(&self) -> i32 {
        self.template.spec.priority
    }

    pub fn profile(&self) -> &str {
        let name = self.template.spec.scheduler_name.as_str();
        if name.is_empty() { crate::config::DEFAULT_SCHEDULER_NAME } else { name }
    }

    pub fn is_gated(&self) -> bool {
        !self.template.spec.scheduling_gates.is_empty()
    }

    /// The controller that made this pod.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

/// Makes [`PodInfo`]s, sharing templates.
#[derive(Default)]
pub struct Interner {
    recent: VecDeque<Arc<Template>>,
}

impl Interner {
    /// `known`: the pod's template as last seen. It stays the same for as long as the pod does, however many others have
    /// been seen meanwhile.
    pub fn pod(&mut self, pod: Pod, known: Option<&Arc<Template>>) -> PodInfo {
        let Pod { metadata, mut spec, status } = pod;
        let node_name = Arc::from(std::mem::take(&mut spec.node_name));
        let condition = status.conditions.into_iter().find(|c| c.kind == "PodScheduled" && c.status == "False");
        PodInfo {
            key: PodKey { namespace: Arc::from(metadata.namespace), name: Arc::from(metadata.name) },
            uid: Arc::from(metadata.uid),
            labels: metadata.labels,
            owners: metadata.owner_references,
            template: self.template(spec, known),
            node_name,
            nominated_node: Some(status.nominated_node_name).filter(|n| !n.is_empty()).map(Arc::from),
            generation: metadata.generation,
            deleting: metadata.deleting,
            start_time: status.start_time,
            creation_time: metadata.creation_timestamp,
            scheduled_condition: condition.map(|c| (c.reason, c.message)),
        }
    }

    fn template(&mut self, spec: PodSpec, known: Option<&Arc<Template>>) -> Arc<Template> {
        if let Some(known) = known.filter(|known| known.spec == spec) {
            return known.clone();
        }
        if let Some(at) = self.recent.iter().position(|t| t.spec == spec) {
            // The last used is looked at first.
            if at > 0
                && let Some(used) = self.recent.remove(at)
            {
                self.recent.push_front(used);
            }
            return self.recent[0].clone();
        }
        let template = Arc::new(Template::new(spec));
        self.recent.truncate(RECENT_TEMPLATES - 1);
        self.recent.push_front(template.clone());
        template
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tolerations_tolerate_as_documented() {
        // Toleration (YAML), whether it tolerates k=v:NoSchedule.
        let table = [
            ("{key: k, value: v, effect: NoSchedule}", true),
            ("{key: k, value: v}", true),
            ("{key: k, value: w}", false),
            ("{key: k, operator: Exists}", true),
            ("{operator: Exists}", true),
            ("{key: k, operator: Exists, effect: NoExecute}", false),
            ("{key: l, operator: Exists}", false),
            ("{key: k, operator: Sometimes}", false),
        ];
        for (yaml, expected) in table {
            let toleration: Toleration = serde_saphyr::from_str(yaml).unwrap();
            assert_eq!(tolerated(&[toleration], "k", "v", "NoSchedule"), expected, "{yaml}");
        }
    }

    #[test]
    fn pods_that_look_alike_share_a_template() {
        let mut interner = Interner::default();
        let pod = |name: &str, node: &str| {
            let mut pod = Pod::default();
            pod.metadata.name = name.into();
            pod.spec.node_name = node.into();
            pod
        };
        let (a, b) = (interner.pod(pod("a", ""), None), interner.pod(pod("b", "n1"), None));
        assert!(Arc::ptr_eq(&a.template, &b.template));
        assert_eq!(&*b.node_name, "n1");
    }

    #[test]
    fn host_ports_conflict_on_the_same_or_every_address() {
        let port = |ip: &str, number| HostPort { ip: ip.into(), protocol: "TCP".into(), port: number };
        assert!(port("", 80).conflicts(&port("10.0.0.1", 80)));
        assert!(port("0.0.0.0", 80).conflicts(&port("", 80)));
        assert!(!port("10.0.0.2", 80).conflicts(&port("10.0.0.1", 80)));
        assert!(!port("", 81).conflicts(&port("", 80)));
    }
}
