//! What `--node-labels` may say: upstream's `ValidateKubeletFlags`.
//!
//! Kubernetes' own keys are the control plane's to give; a node that could take any would draw pods to itself that are
//! not meant for it.
use std::collections::BTreeMap;

use apimachinery::validation::{is_qualified_name, is_valid_label_value};

/// Kubernetes' keys that a kubelet may give its node, sorted. Upstream's `KubeletLabels`.
const ALLOWED: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Namespaces of which, and below which, a kubelet may give any. Upstream's `KubeletLabelNamespaces`.
const ALLOWED_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// # Errors
/// A key that is not for kubelets to give, or something that is no label.
pub fn validate(labels: &BTreeMap<String, String>) -> Result<(), String> {
    let unknown: Vec<&str> = labels.keys().map(String::as_str).filter(|key| is_reserved(key)).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{}]\n--node-labels in the \
             'kubernetes.io' namespace must begin with an allowed prefix ({}) or be in the specifically allowed set ({})",
            unknown.join(" "),
            ALLOWED_NAMESPACES.join(", "),
            ALLOWED.join(", ")
        ));
    }
    let wrong =
        |text: &String, errors: Vec<String>| (!errors.is_empty()).then(|| format!("'{text}' - {}", errors.join(", ")));
    let errors: Vec<String> = labels
        .iter()
        .flat_map(|(key, value)| [wrong(key, is_qualified_name(key)), wrong(value, is_valid_label_value(value))])
        .flatten()
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(format!("invalid node labels: {}", errors.join("; "))) }
}

/// Whether `namespace` is `domain` or below it.
fn within(namespace: &str, domain: &str) -> bool {
    namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A key of Kubernetes' that is not for kubelets to give.
fn is_reserved(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else { return false };
    let is_in = |domains: &[&str]| domains.iter().any(|domain| within(namespace, domain));
    is_in(&["kubernetes.io", "k8s.io"]) && !is_in(&ALLOWED_NAMESPACES) && !ALLOWED.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_own_keys_are_not_a_nodes_to_give() {
        let table = [
            ("example.com/a", true),
            ("a", true),
            ("notkubernetes.io/a", true),
            ("kubernetes.io/hostname", true),
            ("topology.kubernetes.io/zone", true),
            ("node.kubernetes.io/anything", true),
            ("my.node.kubernetes.io/anything", true),
            ("kubelet.kubernetes.io/anything", true),
            ("kubernetes.io/bogus", false),
            ("topology.kubernetes.io/rack", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/a", false),
            ("k8s.io/a", false),
            ("x.k8s.io/a", false),
        ];
        for (key, allowed) in table {
            assert_eq!(validate(&BTreeMap::from([(key.into(), String::new())])).is_ok(), allowed, "{key}");
        }
    }

    #[test]
    fn refusals_are_in_upstreams_words() {
        let of = |pairs: &[(&str, &str)]| {
            let labels = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            validate(&labels).expect_err("refused")
        };
        assert_eq!(
            of(&[("kubernetes.io/bogus", "1"), ("fine", "1"), ("node-role.kubernetes.io/x", "")]),
            "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [kubernetes.io/bogus \
             node-role.kubernetes.io/x]\n--node-labels in the 'kubernetes.io' namespace must begin with an allowed \
             prefix (kubelet.kubernetes.io, node.kubernetes.io) or be in the specifically allowed set \
             (beta.kubernetes.io/arch, beta.kubernetes.io/instance-type, beta.kubernetes.io/os, \
             failure-domain.beta.kubernetes.io/region, failure-domain.beta.kubernetes.io/zone, kubernetes.io/arch, \
             kubernetes.io/hostname, kubernetes.io/os, node.kubernetes.io/instance-type, \
             topology.kubernetes.io/region, topology.kubernetes.io/zone)"
        );
        assert!(of(&[("a", "-")]).starts_with("invalid node labels: '-' - a valid label must be an empty string"));
    }
}
