//! What a kubelet may and may not do.
use super::*;
use crate::{UserInfo, testing::Objects};
use serde_json::json;

fn cluster() -> Arc<Objects> {
    let objects = Objects::default();
    let pod = json!({"metadata": {"name": "web"}, "spec": {
        "nodeName": "n1", "serviceAccountName": "sa",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "settings"}}]}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "vol"}},
            {"name": "b", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, {"serviceAccountToken": {}}]}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "d", "ephemeral": {"volumeClaimTemplate": {}}}]}});
    objects.put("pods", "ns", "web", pod.to_string().as_bytes());
    let mirror = json!({"metadata": {"name": "static-n1", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n1", "volumes": [{"name": "a", "secret": {"secretName": "stolen"}}]}});
    objects.put("pods", "ns", "static-n1", mirror.to_string().as_bytes());
    let device = json!({"metadata": {"name": "gpu"}, "spec": {"nodeName": "n1"}, "status": {
        "resourceClaimStatuses": [{"name": "x", "resourceClaimName": "claimed"}],
        "extendedResourceClaimStatus": {"resourceClaimName": "extended"}}});
    objects.put("pods", "ns", "gpu", device.to_string().as_bytes());
    let claim = json!({"spec": {"volumeName": "pv1"}});
    objects.put("persistentvolumeclaims", "ns", "data", claim.to_string().as_bytes());
    let volume = json!({"spec": {"claimRef": {"namespace": "ns", "name": "data"},
        "csi": {"nodeStageSecretRef": {"namespace": "ns", "name": "stage"}}}});
    objects.put("persistentvolumes", "", "pv1", volume.to_string().as_bytes());
    Arc::new(objects)
}

#[test]
fn decisions() {
    let authorizer = NodeAuthorizer::new(cluster());
    let node = UserInfo::new("system:node:n1", ["system:nodes", "system:authenticated"]);
    let other = UserInfo::new("system:node:n2", ["system:nodes"]);
    // user, verb, group, resource/subresource, namespace, name, field selector, allowed
    let cases = [
        (&node, "get", "", "secrets", "ns", "vol", "", true),
        (&node, "get", "", "secrets", "ns", "env", "", true),
        (&node, "watch", "", "secrets", "ns", "pull", "", true),
        (&node, "list", "", "secrets", "ns", "", "metadata.name=pull", true),
        (&node, "get", "", "secrets", "ns", "stage", "", true),
        (&node, "get", "", "secrets", "ns", "other", "", false),
        (&node, "list", "", "secrets", "ns", "", "", false),
        (&node, "delete", "", "secrets", "ns", "vol", "", false),
        (&other, "get", "", "secrets", "ns", "vol", "", false),
        (&node, "get", "", "configmaps", "ns", "kube-root-ca.crt", "", true),
        (&node, "get", "", "configmaps", "ns", "settings", "", true),
        (&node, "get", "", "configmaps", "kube-system", "settings", "", false),
        (&node, "get", "", "persistentvolumeclaims", "ns", "data", "", true),
        (&node, "get", "", "persistentvolumeclaims", "ns", "web-d", "", true),
        (&node, "patch", "", "persistentvolumeclaims/status", "ns", "data", "", true),
        (&node, "get", "", "persistentvolumes", "", "pv1", "", true),
        (&other, "get", "", "persistentvolumes", "", "pv1", "", false),
        (&node, "create", "", "serviceaccounts/token", "ns", "sa", "", true),
        (&node, "create", "", "serviceaccounts/token", "ns", "default", "", false),
        (&node, "get", "", "serviceaccounts", "ns", "sa", "", true),
        (&node, "get", "", "serviceaccounts", "ns", "default", "", false),
        (&node, "list", "", "serviceaccounts", "ns", "", "", false),
        (&node, "get", "", "secrets", "ns", "stolen", "", false),
        (&node, "get", "", "pods", "ns", "static-n1", "", true),
        (&node, "get", "resource.k8s.io", "resourceclaims", "ns", "claimed", "", true),
        (&node, "get", "resource.k8s.io", "resourceclaims", "ns", "extended", "", true),
        (&node, "get", "resource.k8s.io", "resourceclaims", "ns", "other", "", false),
        (&node, "deletecollection", "resource.k8s.io", "resourceslices", "", "", "spec.nodeName=n1", true),
        (&node, "deletecollection", "resource.k8s.io", "resourceslices", "", "", "", false),
        (&node, "create", "events.k8s.io", "events", "ns", "", "", true),
        (&node, "patch", "", "events", "ns", "x", "", true),
        (&node, "get", "", "pods", "ns", "web", "", true),
        (&other, "get", "", "pods", "ns", "web", "", false),
        (&node, "list", "", "pods", "", "", "spec.nodeName=n1", true),
        (&node, "list", "", "pods", "", "", "spec.nodeName=n2", false),
        (&node, "list", "", "pods", "", "", "", false),
        (&node, "patch", "", "pods/status", "ns", "web", "", true),
        (&node, "get", "", "nodes", "", "n1", "", true),
        (&node, "watch", "", "nodes", "", "", "metadata.name=n1", true),
        (&node, "get", "", "nodes", "", "n2", "", false),
        (&node, "list", "", "nodes", "", "", "", false),
        (&node, "patch", "", "nodes/status", "", "n1", "", true),
        (&node, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n1", "", true),
        (&node, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n2", "", false),
        (&node, "update", "coordination.k8s.io", "leases", "kube-system", "n1", "", false),
        (&node, "create", "storage.k8s.io", "csinodes", "", "", "", true),
        (&node, "list", "", "services", "", "", "", true),
        (&node, "create", "", "events", "ns", "", "", true),
        (&node, "list", "", "endpoints", "", "", "", false),
        (&node, "create", "certificates.k8s.io", "certificatesigningrequests", "", "", "", true),
        (&node, "create", "authorization.k8s.io", "subjectaccessreviews", "", "", "", true),
    ];
    for (user, verb, group, resource, namespace, name, field_selector, want) in cases {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let a = Attributes {
            subresource,
            namespace,
            name,
            field_selector,
            ..Attributes::resource(user, verb, group, resource)
        };
        let (decision, why) = authorizer.authorize(&a);
        assert_eq!(decision == Decision::Allow, want, "{} {verb} {resource} {namespace}/{name}: {why}", user.name);
        assert_ne!(decision, Decision::Deny);
    }
}

#[test]
fn texts_and_changes() {
    let objects = cluster();
    let authorizer = NodeAuthorizer::new(Arc::clone(&objects) as Arc<dyn Lookup>);
    let node = UserInfo::new("system:node:n1", ["system:nodes"]);
    let secret = |name| Attributes { namespace: "ns", name, ..Attributes::resource(&node, "get", "", "secrets") };
    assert_eq!(authorizer.authorize(&secret("x")).1, "no relationship found between node 'n1' and this object");
    assert_eq!(authorizer.authorize(&secret("vol")).0, Decision::Allow);
    objects.remove("pods", "ns", "web");
    assert_eq!(authorizer.authorize(&secret("vol")).0, Decision::NoOpinion);
    let user = UserInfo::new("system:node:n1", ["other"]);
    let a = Attributes { user: &user, ..secret("vol") };
    assert_eq!(authorizer.authorize(&a), (Decision::NoOpinion, String::new()));
}
