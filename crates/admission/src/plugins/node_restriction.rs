//! `NodeRestriction`: a kubelet writes only its own node, its lease and the pods bound to it.
//!
//! Works together with the Node authorizer, which cannot see objects. Source: "NodeRestriction" in the admission
//! controller reference; texts as upstream's.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use auth::{Attributes, Authorizer, Decision};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    certificates::v1::CertificateSigningRequest,
    coordination::v1::Lease,
    core::v1::{Node, PersistentVolumeClaim, Pod},
    resource::v1::ResourceSlice,
    storage::v1::CSINode,
};
use std::{collections::BTreeMap, sync::Arc};
use storage::Lookup;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

mod references;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const RESTRICTION: &str = "node-restriction.kubernetes.io";
/// Labels of the kubernetes.io domains that kubelets set; all others there are not theirs.
const KUBELET_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
];
const KUBELET_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// A role gives kubelets this verb for further audiences: the audience is the resource, the account the name.
const AUDIENCE_VERB: &str = "request-serviceaccounts-token-audience";
const KUBELET_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

pub(crate) struct NodeRestriction {
    lookup: Arc<dyn Lookup>,
    authorizer: Arc<dyn Authorizer>,
}

type Answer = Result<(), String>;

fn bound_to(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default()
}

fn forbidden_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within(RESTRICTION) {
        return true;
    }
    let theirs = KUBELET_LABELS.contains(&key) || KUBELET_LABEL_DOMAINS.iter().any(|d| within(d));
    (within("kubernetes.io") || within("k8s.io")) && !theirs
}

fn labels(node: Option<&Node>) -> BTreeMap<&str, &str> {
    let all = node.and_then(|n| n.metadata.labels.as_ref());
    all.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

impl NodeRestriction {
    pub fn new(config: &Config) -> Self {
        NodeRestriction { lookup: Arc::clone(&config.lookup), authorizer: Arc::clone(&config.authorizer) }
    }

    fn stored_pod(&self, request: &Request<'_>) -> Option<Pod> {
        crate::lookup::get(&*self.lookup, "pods", request.namespace, request.name)
    }

    fn check(&self, node: &str, request: &Request<'_>) -> Answer {
        match (request.group, request.resource, request.subresource) {
            ("", "pods", "") => self.pod(node, request),
            ("", "pods", "status") => pod_status(node, request),
            ("", "pods", "eviction") => match self.stored_pod(request) {
                Some(pod) if bound_to(&pod) == node => Ok(()),
                Some(_) => Err(format!("node {node} can only evict pods with spec.nodeName set to itself")),
                None => Ok(()),
            },
            ("", "pods", sub) => {
                Err(format!("unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed"))
            }
            ("", "nodes", _) => own_node(node, request),
            ("", "persistentvolumeclaims", "status") => claim_status(node, request),
            ("", "persistentvolumeclaims", _) => Err("may only update PVC status".into()),
            ("", "serviceaccounts", "token") => self.token(node, request),
            ("coordination.k8s.io", "leases", _) => lease(node, request),
            ("storage.k8s.io", "csinodes", _) => csi_node(node, request),
            ("resource.k8s.io", "resourceslices", _) => resource_slice(node, request),
            ("certificates.k8s.io", "certificatesigningrequests", "") => signing_request(node, request),
            _ => Ok(()),
        }
    }

    fn pod(&self, node: &str, request: &Request<'_>) -> Answer {
        match request.operation {
            Operation::Create => match request.typed() {
                Some(pod) => self.mirror_pod(node, pod),
                None => Ok(()),
            },
            Operation::Delete => {
                let stored = if request.old.is_none() { self.stored_pod(request) } else { None };
                match request.typed_old().or(stored.as_ref()) {
                    Some(pod) if bound_to(pod) != node => {
                        Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
                    }
                    _ => Ok(()),
                }
            }
            other => Err(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                other.as_str()
            )),
        }
    }

    fn mirror_pod(&self, node: &str, pod: &Pod) -> Answer {
        if !pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)) {
            return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
        }
        if bound_to(pod) != node {
            return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        match pod.metadata.owner_references.as_deref().unwrap_or_default() {
            [] => return Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
            [owner] => {
                if owner.api_version != "v1" || owner.kind != "Node" || owner.name != node {
                    return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
                }
                if owner.controller != Some(true) {
                    return Err(format!(
                        "node {node:?} can only create pods with a controller owner reference set to itself"
                    ));
                }
                if owner.block_owner_deletion == Some(true) {
                    return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
                }
                let stored: Option<Node> = crate::lookup::get(&*self.lookup, "minions", "", node);
                let uid = stored.and_then(|n| n.metadata.uid);
                if uid.as_ref() != Some(&owner.uid) {
                    return Err(format!(
                        "node {node} UID mismatch: expected {} got {}",
                        uid.unwrap_or_default(),
                        owner.uid
                    ));
                }
            }
            _ => {
                return Err(format!("node {node:?} can only create pods with a single owner reference set to itself"));
            }
        }
        match references::first(pod) {
            Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
            None => Ok(()),
        }
    }

    /// Tokens are asked for the pods of the node only. The API server calls this with the token request as the object.
    fn token(&self, node: &str, request: &Request<'_>) -> Answer {
        let Some(asked) = request.typed::<TokenRequest>() else { return Ok(()) };
        let bound = asked.spec.as_ref().and_then(|s| s.bound_object_ref.as_ref());
        let Some(bound) = bound.filter(|b| b.kind.as_deref() == Some("Pod") && b.api_version.as_deref() == Some("v1"))
        else {
            return Err("node requested token not bound to a pod".into());
        };
        let name = bound.name.as_deref().unwrap_or_default();
        if bound.uid.as_ref().is_none_or(String::is_empty) {
            return Err("node requested token with a pod binding without a uid".into());
        }
        match crate::lookup::get::<Pod>(&*self.lookup, "pods", request.namespace, name) {
            None => Err(format!("pod {name:?} not found")),
            Some(pod) if pod.metadata.uid != bound.uid => {
                let uid = pod.metadata.uid.unwrap_or_default();
                let asked = bound.uid.clone().unwrap_or_default();
                Err(format!(
                    "the UID in the bound object reference ({asked}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
                ))
            }
            Some(pod) if bound_to(&pod) != node => {
                Err("node requested token bound to a pod scheduled on a different node".into())
            }
            Some(pod) => self.audience(request, asked, &pod),
        }
    }

    /// A token for an audience that the pod does not ask for itself needs a role that says so.
    fn audience(&self, request: &Request<'_>, asked: &TokenRequest, pod: &Pod) -> Answer {
        let audiences: &[String] = asked.spec.as_ref().and_then(|s| s.audiences.as_deref()).unwrap_or_default();
        let audience = match audiences {
            [] => "",
            [one] => one,
            _ => return Err("node may only request 0 or 1 audiences".into()),
        };
        if references::audiences(&*self.lookup, pod).any(|named| named == audience) {
            return Ok(());
        }
        let attributes = Attributes {
            namespace: request.namespace,
            name: request.name,
            ..Attributes::resource(request.user, AUDIENCE_VERB, "", audience)
        };
        match self.authorizer.authorize(&attributes) {
            (Decision::Allow, _) => Ok(()),
            (_, why) if why.is_empty() => Err(format!("audience {audience:?} not found in pod spec volume")),
            (_, why) => Err(format!("audience {audience:?} not found in pod spec volume, {why}")),
        }
    }
}

fn pod_status(node: &str, request: &Request<'_>) -> Answer {
    let Some(old) = request.typed_old::<Pod>() else { return Ok(()) };
    if bound_to(old) != node {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    if let Some(new) = request.typed::<Pod>() {
        let filled = |l: &Option<BTreeMap<String, String>>| l.clone().filter(|l| !l.is_empty());
        if filled(&new.metadata.labels) != filled(&old.metadata.labels) {
            return Err(format!("node {node:?} cannot update labels through pod status"));
        }
        let claims = |p: &Pod| p.status.as_ref().and_then(|s| s.resource_claim_statuses.clone());
        if claims(new) != claims(old) {
            return Err(format!("node {node:?} cannot update resource claim statuses"));
        }
    }
    Ok(())
}

fn own_node(node: &str, request: &Request<'_>) -> Answer {
    let new = request.typed::<Node>();
    let named = new.and_then(|n| n.metadata.name.as_deref()).unwrap_or(request.name);
    if named != node {
        return Err(format!("node {node:?} is not allowed to modify node {named:?}"));
    }
    let shown = |keys: Vec<&str>| keys.join(", ");
    if request.operation == Operation::Create {
        let forbidden: Vec<&str> = labels(new).into_keys().filter(|k| forbidden_label(k)).collect();
        if !forbidden.is_empty() {
            return Err(format!("node {node:?} is not allowed to set the following labels: {}", shown(forbidden)));
        }
    }
    if request.operation == Operation::Update {
        let old = request.typed_old::<Node>();
        let taints = |n: Option<&Node>| n.and_then(|n| n.spec.as_ref()?.taints.clone()).filter(|t| !t.is_empty());
        if taints(new) != taints(old) {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        let owners = |n: Option<&Node>| n.and_then(|n| n.metadata.owner_references.clone()).filter(|o| !o.is_empty());
        if owners(new) != owners(old) {
            return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
        }
        let (new, old) = (labels(new), labels(old));
        let mut changed: Vec<&str> =
            new.keys().chain(old.keys()).copied().filter(|k| new.get(k) != old.get(k) && forbidden_label(k)).collect();
        changed.sort_unstable();
        changed.dedup();
        if !changed.is_empty() {
            return Err(format!("is not allowed to modify labels: {}", shown(changed)));
        }
    }
    Ok(())
}

/// Of a claim's status only what resizing reports may change.
fn claim_status(node: &str, request: &Request<'_>) -> Answer {
    if request.operation != Operation::Update {
        return Err(format!("unexpected operation {:?}", request.operation.as_str()));
    }
    let (Some(new), Some(old)) = (request.typed::<PersistentVolumeClaim>(), request.typed_old()) else {
        return Ok(());
    };
    let rest = |claim: &PersistentVolumeClaim| {
        let mut claim = claim.clone();
        claim.metadata.managed_fields = None;
        claim.metadata.resource_version = None;
        let status = claim.status.get_or_insert_default();
        status.capacity = None;
        status.conditions = None;
        status.allocated_resource_statuses = None;
        status.allocated_resources = None;
        claim
    };
    if rest(new) != rest(old) {
        return Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        ));
    }
    Ok(())
}

fn lease(node: &str, request: &Request<'_>) -> Answer {
    if request.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    let named = request.typed::<Lease>().and_then(|l| l.metadata.name.as_deref()).unwrap_or(request.name);
    if named != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn csi_node(node: &str, request: &Request<'_>) -> Answer {
    let named = request.typed::<CSINode>().and_then(|n| n.metadata.name.as_deref()).unwrap_or(request.name);
    if named != node {
        return Err("can only access CSINode with the same name as the requesting node".into());
    }
    Ok(())
}

/// A kubelet asks for certificates in its own name only.
fn signing_request(node: &str, request: &Request<'_>) -> Answer {
    let Some(csr) = request.typed::<CertificateSigningRequest>() else { return Ok(()) };
    if request.operation != Operation::Create || !KUBELET_SIGNERS.contains(&csr.spec.signer_name.as_str()) {
        return Ok(());
    }
    let (_, block) = x509_parser::pem::parse_x509_pem(&csr.spec.request.0)
        .map_err(|_| "unable to parse csr: PEM block type must be CERTIFICATE REQUEST".to_owned())?;
    let (_, parsed) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| format!("unable to parse csr: {error}"))?;
    let subject = &parsed.certification_request_info.subject;
    let own = subject.iter_common_name().filter_map(|name| name.as_str().ok()).last();
    if own.and_then(|name| name.strip_prefix("system:node:")) == Some(node) {
        return Ok(());
    }
    Err(format!("can only create a node CSR with CN=system:node:{node}"))
}

fn resource_slice(node: &str, request: &Request<'_>) -> Answer {
    let of = |slice: &ResourceSlice| slice.spec.node_name.as_deref() == Some(node);
    let slices = [request.typed::<ResourceSlice>(), request.typed_old::<ResourceSlice>()];
    if slices.into_iter().flatten().all(of) {
        return Ok(());
    }
    Err(format!(
        "can only {} ResourceSlice with the same NodeName as the requesting node",
        request.operation.as_str().to_lowercase()
    ))
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.user.in_group(auth::groups::NODES)
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(node) = request.user.node_name() else {
            let why = format!("could not determine node from user {:?}", request.user.name);
            return Err(request.forbidden(why));
        };
        self.check(node, request).map_err(|why| request.forbidden(why))
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        self.admit(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;
    use crate::testing::{Ask, Cluster};
    use auth::UserInfo;
    use serde_json::{Value, json};

    fn kubelet() -> UserInfo {
        UserInfo::new("system:node:n1", ["system:nodes", "system:authenticated"])
    }

    fn plugin() -> NodeRestriction {
        let cluster = Cluster::default().with("minions", json!({"metadata": {"name": "n1", "uid": "u1"}}));
        NodeRestriction::new(&cluster.config())
    }

    async fn answer<T: api::Object + serde::de::DeserializeOwned + Clone>(mut ask: Ask<T>) -> String {
        ask.user = kubelet();
        match ask.run(&plugin()).await {
            Ok(()) => "ok".into(),
            Err(error) => error.message.split_once("forbidden: ").map(|(_, why)| why.to_owned()).unwrap_or_default(),
        }
    }

    fn node(name: &str, labels: Value, taints: Value) -> Value {
        json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}})
    }

    #[tokio::test]
    async fn nodes() {
        let create = |n: Value| answer(Ask::<Node>::create("", "nodes", n));
        let update = |a: Value, b: Value| answer(Ask::<Node>::update("", "nodes", a, b));
        let plain = || node("n1", json!({"kubernetes.io/hostname": "n1", "own": "x"}), json!([]));
        assert_eq!(create(plain()).await, "ok");
        assert_eq!(create(node("n2", json!({}), json!([]))).await, "node \"n1\" is not allowed to modify node \"n2\"");
        assert_eq!(
            create(node("n1", json!({"node-role.kubernetes.io/control-plane": ""}), json!([]))).await,
            "node \"n1\" is not allowed to set the following labels: node-role.kubernetes.io/control-plane"
        );
        assert_eq!(
            update(
                plain(),
                node("n1", json!({"kubernetes.io/hostname": "n1"}), json!([{"key": "a", "effect": "NoSchedule"}]))
            )
            .await,
            "node \"n1\" is not allowed to modify taints"
        );
        assert_eq!(
            update(plain(), node("n1", json!({"x.node-restriction.kubernetes.io/a": "b"}), json!([]))).await,
            "is not allowed to modify labels: x.node-restriction.kubernetes.io/a"
        );
        assert_eq!(update(plain(), node("n1", json!({"kubernetes.io/os": "linux"}), json!([]))).await, "ok");
    }

    #[tokio::test]
    async fn pods() {
        let pod = |node: &str, mirror: bool| {
            let annotations = if mirror { json!({MIRROR: "x"}) } else { json!({}) };
            json!({"metadata": {"name": "p", "namespace": "ns", "annotations": annotations},
                "spec": {"nodeName": node, "containers": []}})
        };
        let create = |p: Value| answer(Ask::<Pod>::create("", "pods", p));
        assert!(create(pod("n1", true)).await.contains("with an owner reference set to itself"));
        assert!(create(pod("n1", false)).await.contains("can only create mirror pods"));
        assert!(create(pod("n2", true)).await.contains("spec.nodeName set to itself"));
        let mut owned = pod("n1", true);
        owned["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": true}]);
        assert_eq!(create(owned.clone()).await, "ok");
        for (field, value, what) in [
            ("serviceAccountName", json!("x"), "serviceaccounts"),
            ("imagePullSecrets", json!([{"name": "x"}]), "secrets"),
            ("containers", json!([{"name": "c", "envFrom": [{"configMapRef": {"name": "x"}}]}]), "configmaps"),
            ("volumes", json!([{"name": "v", "ephemeral": {}}]), "persistentvolumeclaims"),
            ("resourceClaims", json!([{"name": "r", "resourceClaimName": "x"}]), "resourceclaims"),
        ] {
            let mut pod = owned.clone();
            pod["spec"][field] = value;
            assert_eq!(create(pod).await, format!("node \"n1\" can not create pods that reference {what}"));
        }
        owned["metadata"]["ownerReferences"][0]["uid"] = json!("u2");
        assert_eq!(create(owned).await, "node n1 UID mismatch: expected u1 got u2");
        let delete = |p: Value| answer(Ask::<Pod>::delete("", "pods", p));
        assert_eq!(delete(pod("n1", false)).await, "ok");
        assert_eq!(delete(pod("n2", false)).await, "node \"n1\" can only delete pods with spec.nodeName set to itself");
        let status = |p: Value, q: Value| answer(Ask::<Pod>::update("", "pods", p, q).on("status"));
        assert_eq!(status(pod("n1", false), pod("n1", false)).await, "ok");
        assert!(status(pod("n2", false), pod("n2", false)).await.contains("can only update pod status"));
    }

    #[tokio::test]
    async fn tokens_are_for_audiences_that_the_pod_names() {
        let token = json!({"path": "t", "audience": "vault"});
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"nodeName": "n1",
            "containers": [], "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": token}]}}]}});
        let ask = |audiences: Value| {
            let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"});
            let request = json!({"metadata": {"name": "sa", "namespace": "ns"},
                "spec": {"audiences": audiences, "boundObjectRef": bound}});
            Ask::<Body<TokenRequest>>::create("", "serviceaccounts", request).on("token").by(kubelet())
        };
        let cluster = Cluster::default().with("pods", pod);
        let plugin = NodeRestriction::new(&cluster.config());
        ask(json!(["vault"])).run(&plugin).await.expect("the pod's own audience");
        let refused = ask(json!(["other"])).refusal(&plugin).await;
        assert!(refused.ends_with("audience \"other\" not found in pod spec volume"), "{refused}");
        let refused = ask(json!(["vault", "other"])).refusal(&plugin).await;
        assert!(refused.ends_with("node may only request 0 or 1 audiences"), "{refused}");
        assert!(ask(json!([])).refusal(&plugin).await.contains("audience \"\" not found"));
        let allowed = cluster.clone().allow("request-serviceaccounts-token-audience other sa");
        let plugin = NodeRestriction::new(&allowed.config());
        ask(json!(["other"])).run(&plugin).await.expect("a role says so");
    }

    #[tokio::test]
    async fn certificates_are_asked_for_in_the_nodes_own_name() {
        let csr = |name: &str, signer: &str| {
            let request = pki::Request { common_name: name.into(), ..pki::Request::default() };
            let key = pki::PrivateKey::generate().expect("a key");
            let pem = pki::certificate_request(&request, &key).expect("a request");
            let request = k8s_openapi::ByteString(pem.into_bytes());
            answer(Ask::<CertificateSigningRequest>::create(
                "certificates.k8s.io",
                "certificatesigningrequests",
                json!({"metadata": {"name": "x"}, "spec": {"request": request, "signerName": signer}}),
            ))
        };
        let own = "can only create a node CSR with CN=system:node:n1";
        assert_eq!(csr("system:node:n1", "kubernetes.io/kubelet-serving").await, "ok");
        assert_eq!(csr("system:node:n2", "kubernetes.io/kubelet-serving").await, own);
        assert_eq!(csr("system:node:n2", "kubernetes.io/kube-apiserver-client-kubelet").await, own);
        assert_eq!(csr("x", "example.com/mine").await, "ok");
    }

    #[tokio::test]
    async fn leases_and_other_users() {
        let lease = |namespace: &str, name: &str| {
            let lease = json!({"metadata": {"name": name, "namespace": namespace}});
            Ask::<Lease>::create("coordination.k8s.io", "leases", lease)
        };
        assert_eq!(answer(lease(LEASE_NAMESPACE, "n1")).await, "ok");
        assert!(answer(lease(LEASE_NAMESPACE, "n2")).await.contains("same name"));
        assert!(answer(lease("kube-system", "n1")).await.contains("kube-node-lease"));
        lease("kube-system", "x").run(&plugin()).await.expect("not a node");
        let unnamed = lease("kube-system", "x").by(UserInfo::new("x", ["system:nodes"]));
        assert!(unnamed.refusal(&plugin()).await.ends_with("could not determine node from user \"x\""));
    }
}
