//! The Node authorizer: kubelets may read and write only what concerns their own node and the pods bound to it.
//!
//! Who is not a node gets no opinion. Source: "Using Node Authorization".
use crate::{Attributes, Authorizer, Decision, rbac::bootstrap};
use k8s_openapi::api::rbac::v1::PolicyRule;
use pods::{Pods, Wanted};
use serde::Deserialize;
use std::sync::Arc;
use storage::Lookup;

mod pods;

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Limits kubelets to what concerns their own node.
pub struct NodeAuthorizer {
    lookup: Arc<dyn Lookup>,
    pods: Pods,
    rules: Vec<PolicyRule>,
}

type Answer = Result<(), String>;

fn no<T>(why: impl Into<String>) -> Result<T, String> {
    Err(why.into())
}

fn no_relationship(node: &str) -> Answer {
    no(format!("no relationship found between node '{node}' and this object"))
}

/// The value a field selector of one or more `=` terms requires of `field`.
fn required<'a>(selector: &'a str, field: &str) -> Option<&'a str> {
    selector.split(',').find_map(|term| {
        let (name, value) = term.split_once('=')?;
        (name == field).then(|| value.strip_prefix('=').unwrap_or(value))
    })
}

impl NodeAuthorizer {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        NodeAuthorizer { pods: Pods::new(Arc::clone(&lookup)), lookup, rules: bootstrap::node_rules() }
    }

    fn answer(&self, node: &str, a: &Attributes<'_>) -> Answer {
        match (a.group, a.resource) {
            ("", "secrets") => self.read_named(node, a, Wanted::Secret),
            ("", "configmaps") => self.read_named(node, a, Wanted::ConfigMap),
            ("", "persistentvolumeclaims") if a.subresource == "status" => match a.verb {
                "get" | "update" | "patch" => self.related(node, a, Wanted::Claim),
                _ => no("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims") => self.get(node, a, Wanted::Claim),
            ("resource.k8s.io", "resourceclaims") => self.get(node, a, Wanted::ResourceClaim),
            ("", "persistentvolumes") => self.get_with(a, |a| self.volume(node, a.name)),
            ("storage.k8s.io", "volumeattachments") => self.get_with(a, |a| self.attachment(node, a.name)),
            ("", "serviceaccounts") => self.service_account(node, a),
            ("coordination.k8s.io", "leases") => lease(node, a),
            ("storage.k8s.io", "csinodes") => csi_node(node, a),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(node, a),
            ("", "nodes") => own_node(node, a),
            ("", "pods") => self.pod(node, a),
            _ => self.by_rules(a),
        }
    }

    /// What every node may do alike.
    fn by_rules(&self, a: &Attributes<'_>) -> Answer {
        if self.rules.iter().any(|rule| crate::rbac::rule_allows(rule, a)) { Ok(()) } else { no("") }
    }

    fn related(&self, node: &str, a: &Attributes<'_>, wanted: Wanted) -> Answer {
        if a.name.is_empty() {
            return no("No Object name found");
        }
        if self.pods.on(node, a.namespace).iter().any(|pod| pod.refers(wanted, a.name)) {
            return Ok(());
        }
        if wanted == Wanted::Secret && self.secret_of_volume(node, a) {
            return Ok(());
        }
        no_relationship(node)
    }

    /// Whether a volume claimed by a pod of the node names the secret.
    fn secret_of_volume(&self, node: &str, a: &Attributes<'_>) -> bool {
        let pods = self.pods.on(node, a.namespace);
        let claims = pods.iter().flat_map(|pod| pod.claims());
        let volumes = claims.filter_map(|claim| {
            let claim: pods::Claim =
                serde_json::from_slice(&self.lookup.get("persistentvolumeclaims", a.namespace, claim)?).ok()?;
            self.lookup.get("persistentvolumes", "", &claim.spec.volume_name)
        });
        volumes.into_iter().any(|json| {
            let volume: Result<pods::Volume, _> = serde_json::from_slice(&json);
            volume.is_ok_and(|v| v.names_secret(a.namespace, a.name))
        })
    }

    fn read_named(&self, node: &str, a: &Attributes<'_>, wanted: Wanted) -> Answer {
        match a.verb {
            "get" | "list" | "watch" => {}
            _ => return no("can only read resources of this type"),
        }
        if !a.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if a.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        if a.name.is_empty()
            && let Some(name) = required(a.field_selector, "metadata.name")
        {
            return self.related(node, &Attributes { name, ..*a }, wanted);
        }
        self.related(node, a, wanted)
    }

    fn get(&self, node: &str, a: &Attributes<'_>, wanted: Wanted) -> Answer {
        self.get_with(a, |a| self.related(node, a, wanted))
    }

    fn get_with(&self, a: &Attributes<'_>, then: impl Fn(&Attributes<'_>) -> Answer) -> Answer {
        if a.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !a.subresource.is_empty() {
            return no("cannot get subresource");
        }
        if a.name.is_empty() {
            return no("No Object name found");
        }
        then(a)
    }

    fn volume(&self, node: &str, name: &str) -> Answer {
        let json = self.lookup.get("persistentvolumes", "", name);
        let volume: Option<pods::Volume> = json.and_then(|json| serde_json::from_slice(&json).ok());
        let Some(claim) = volume.and_then(|v| v.spec.claim_ref) else { return no_relationship(node) };
        let used = self.pods.on(node, &claim.namespace).iter().any(|pod| pod.refers(Wanted::Claim, &claim.name));
        if used { Ok(()) } else { no_relationship(node) }
    }

    fn attachment(&self, node: &str, name: &str) -> Answer {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Attachment {
            spec: AttachmentSpec,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct AttachmentSpec {
            node_name: String,
        }
        let json = self.lookup.get("volumeattachments", "", name);
        let attachment: Option<Attachment> = json.and_then(|json| serde_json::from_slice(&json).ok());
        if attachment.is_some_and(|a| a.spec.node_name == node) { Ok(()) } else { no_relationship(node) }
    }

    fn service_account(&self, node: &str, a: &Attributes<'_>) -> Answer {
        // Credential providers of a kubelet look at annotations of the accounts its pods run under.
        if a.verb == "get" && a.subresource.is_empty() {
            return self.get(node, a, Wanted::ServiceAccount);
        }
        if a.verb != "create" || a.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if a.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(node, a, Wanted::ServiceAccount)
    }

    fn resource_slice(&self, node: &str, a: &Attributes<'_>) -> Answer {
        if !a.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match a.verb {
            // Admission checks the node name in the object.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => {
                let json = self.lookup.get("resourceslices", "", a.name);
                let slice: Option<serde_json::Value> = json.and_then(|json| serde_json::from_slice(&json).ok());
                let of = slice.as_ref().and_then(|s| s.pointer("/spec/nodeName")).and_then(|n| n.as_str());
                if of == Some(node) { Ok(()) } else { no_relationship(node) }
            }
            "list" | "watch" | "deletecollection" => match required(a.field_selector, "spec.nodeName") {
                Some(of) if of == node => Ok(()),
                _ => no("can only list/watch/deletecollection resourceslices with nodeName field selector"),
            },
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                     delete, deletecollection",
            ),
        }
    }

    fn pod(&self, node: &str, a: &Attributes<'_>) -> Answer {
        match (a.subresource, a.verb) {
            ("", "get") => self.related(node, a, Wanted::Itself),
            ("", "list" | "watch") => {
                if required(a.field_selector, "spec.nodeName") == Some(node) {
                    return Ok(());
                }
                let name = if a.name.is_empty() { required(a.field_selector, "metadata.name") } else { Some(a.name) };
                match name {
                    Some(name) if !a.namespace.is_empty() => {
                        self.related(node, &Attributes { name, ..*a }, Wanted::Itself)
                    }
                    _ => no("can only list/watch pods with spec.nodeName field selector"),
                }
            }
            // Admission (NodeRestriction) looks at the object.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => no(""),
        }
    }
}

fn lease(node: &str, a: &Attributes<'_>) -> Answer {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if a.namespace != LEASE_NAMESPACE {
        return no(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    // A creation does not always name its object; admission checks it.
    if a.verb != "create" && a.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn csi_node(node: &str, a: &Attributes<'_>) -> Answer {
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !a.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if a.verb != "create" && a.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}

fn own_node(node: &str, a: &Attributes<'_>) -> Answer {
    match (a.subresource, a.verb) {
        // Admission (NodeRestriction) looks at the object.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => {
            let name = if a.name.is_empty() {
                required(a.field_selector, "metadata.name").unwrap_or_default()
            } else {
                a.name
            };
            match name {
                "" => no(format!("node {node:?} cannot {} all nodes, only its own Node object", a.verb)),
                name if name == node => Ok(()),
                name => no(format!("node {node:?} cannot read {name:?}, only its own Node object")),
            }
        }
        _ => no(""),
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, attributes: &Attributes<'_>) -> (Decision, String) {
        let Some(node) = attributes.user.node_name() else { return (Decision::NoOpinion, String::new()) };
        let answer = if attributes.is_resource { self.answer(node, attributes) } else { self.by_rules(attributes) };
        match answer {
            Ok(()) => (Decision::Allow, String::new()),
            Err(why) => (Decision::NoOpinion, why),
        }
    }
}

#[cfg(test)]
mod tests;
