//! Nodes: machines of the cluster. Stored under the name they had before there was a v1.
//!
//! Kubelets register with their status, so creation keeps it.
use crate::{
    amounts, cells,
    core::taints,
    kind::Kind,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::core::v1::{Node, NodeStatus};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true)
}

/// Roles as labels name them, sorted.
pub fn roles(node: &Node) -> Vec<&str> {
    let mut roles: Vec<&str> = node
        .metadata
        .labels
        .iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => Some(value.as_str()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn status_text(node: &Node) -> String {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.rev().find(|c| c.type_ == "Ready");
    let mut text = match ready {
        Some(c) if c.status == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if is_unschedulable(node) {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn address<'a>(status: Option<&'a NodeStatus>, type_: &str) -> &'a str {
    let mut addresses = status.into_iter().flat_map(|s| s.addresses.iter().flatten());
    addresses.find(|a| a.type_ == type_).map_or(cells::NONE, |a| &a.address)
}

fn or_unknown(text: Option<&String>) -> &str {
    text.map(String::as_str).filter(|t| !t.is_empty()).unwrap_or(cells::UNKNOWN)
}

impl Kind for Node {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Status", "The status of the node"),
        cells::text("Roles", "The roles of the node"),
        cells::AGE,
        cells::text("Version", "Kubelet Version reported by the node."),
        cells::wide(
            "Internal-IP",
            "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).",
        ),
        cells::wide(
            "External-IP",
            "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).",
        ),
        cells::wide(
            "OS-Image",
            "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).",
        ),
        cells::wide(
            "Kernel-Version",
            "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).",
        ),
        cells::wide(
            "Container-Runtime",
            "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
        ),
    ];

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn keep_status(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn info() -> Info {
        Info::new("", "v1", "Node", "nodes")
            .cluster()
            .short(&["no"])
            .stored_at("minions")
            .sub("proxy", ("", "v1", "NodeProxyOptions"), &["create", "delete", "get", "patch", "update"])
            .status()
            .selectable(&["spec.unschedulable"])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        // One range, or the first of many: either says the other.
        let has_many = spec.pod_cidrs.as_ref().is_some_and(|cidrs| !cidrs.is_empty());
        match spec.pod_cidr.clone().filter(|cidr| !cidr.is_empty()) {
            Some(cidr) if !has_many => spec.pod_cidrs = Some(vec![cidr]),
            _ => spec.pod_cidr = spec.pod_cidrs.iter().flatten().next().cloned(),
        }
        let status = self.status.get_or_insert_default();
        amounts::canonicalize(&mut status.capacity);
        amounts::canonicalize(&mut status.allocatable);
        if status.allocatable.is_none() && status.capacity.is_some() {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let Some(spec) = &self.spec else { return };
        let path = Path::new("spec");
        taints::validate(spec.taints.as_deref().unwrap_or_default(), &path.child("taints"), errors);
        let cidrs = spec.pod_cidrs.as_deref().unwrap_or_default();
        for (i, cidr) in cidrs.iter().enumerate() {
            for violation in validation::is_valid_cidr(cidr) {
                errors.push(Error::invalid(&path.child("podCIDRs").index(i), cidr, violation));
            }
        }
        if cidrs.len() > 2 {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(Error::invalid(&path.child("podCIDRs"), cidrs, detail));
        }
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        if target != Target::Main {
            return;
        }
        let (Some(new), Some(old)) = (&self.spec, &old.spec) else { return };
        let path = Path::new("spec");
        let unset = |id: &Option<String>| id.as_ref().is_none_or(String::is_empty);
        if !unset(&old.pod_cidr) && new.pod_cidrs != old.pod_cidrs {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(Error::forbidden(&path.child("podCIDRs"), detail));
        }
        if !unset(&old.provider_id) && new.provider_id != old.provider_id {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(Error::forbidden(&path.child("providerID"), detail));
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.spec.as_ref().is_some_and(|s| s.config_source.is_some()) {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if self.spec.as_ref().and_then(|s| s.external_id.as_deref()).is_some_and(|id| !id.is_empty()) {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        warnings
    }

    fn field_values(&self) -> Vec<String> {
        vec![is_unschedulable(self).to_string()]
    }

    fn row(&self, now: i64) -> Row {
        let roles = roles(self).join(",");
        let status = self.status.as_ref();
        let system = status.and_then(|s| s.node_info.as_ref());
        vec![
            cells::name(&self.metadata),
            status_text(self).into(),
            if roles.is_empty() { cells::NONE.into() } else { roles.into() },
            cells::age(&self.metadata, now),
            system.map_or("", |s| &s.kubelet_version).into(),
            address(status, "InternalIP").into(),
            address(status, "ExternalIP").into(),
            or_unknown(system.map(|s| &s.os_image)).into(),
            or_unknown(system.map(|s| &s.kernel_version)).into(),
            or_unknown(system.map(|s| &s.container_runtime_version)).into(),
        ]
    }
}
