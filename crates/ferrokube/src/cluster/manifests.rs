//! Objects that every cluster of ours holds: the DNS service and the rights of the DNS server.
//!
//! Applied at each start: created when missing, brought back to this state when changed.
use super::layout::Cluster;
use anyhow::{Context, Result};
use http::{Method, Request};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const MANAGED: &str = "addonmanager.kubernetes.io/mode";

struct Manifest {
    /// The collection's path.
    path: &'static str,
    object: Value,
}

fn labels() -> Value {
    json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS", MANAGED: "Reconcile"})
}

/// The DNS server runs on the node, outside of any pod: its service has no selector, and the slice names the node's
/// side of the pod bridge.
fn dns(cluster: &Cluster, server: Ipv4Addr) -> Result<Vec<Manifest>> {
    let port = |name: &str, protocol: &str| json!({"name": name, "port": 53, "protocol": protocol, "targetPort": cluster.dns_port});
    let slice_port = |name: &str, protocol: &str| json!({"name": name, "port": cluster.dns_port, "protocol": protocol});
    let mut slice_labels = labels();
    slice_labels["kubernetes.io/service-name"] = json!("kube-dns");
    slice_labels["endpointslice.kubernetes.io/managed-by"] = json!("ferrokube");
    let read = json!(["list", "watch"]);
    Ok(vec![
        Manifest {
            path: "/api/v1/namespaces/kube-system/services",
            object: json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels()},
                "spec": {"clusterIP": cluster.service_ip(10)?.to_string(),
                    "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")]},
            }),
        },
        Manifest {
            path: "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
            object: json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "kube-dns-node", "namespace": "kube-system", "labels": slice_labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [server.to_string()], "conditions": {"ready": true}, "nodeName": cluster.node_name}],
                "ports": [slice_port("dns", "UDP"), slice_port("dns-tcp", "TCP")],
            }),
        },
        Manifest {
            path: "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            object: json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "system:coredns", "labels": {MANAGED: "Reconcile"}},
                "rules": [
                    {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": read},
                    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
                ],
            }),
        },
        Manifest {
            path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            object: json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "system:coredns", "labels": {MANAGED: "Reconcile"}},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
                "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
            }),
        },
    ])
}

fn request(method: Method, path: &str, content_type: &str, body: &Value) -> Result<Request<Vec<u8>>> {
    Ok(Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("accept", "application/json")
        .body(serde_json::to_vec(body)?)?)
}

async fn apply(client: &kube::Client, manifest: &Manifest) -> Result<()> {
    let name = manifest.object["metadata"]["name"].as_str().unwrap_or_default();
    let path = format!("{}/{name}", manifest.path);
    let patch = request(Method::PATCH, &path, "application/merge-patch+json", &manifest.object)?;
    match client.request_text(patch).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error).with_context(|| format!("updating {path}")),
    }
    let create = request(Method::POST, manifest.path, "application/json", &manifest.object)?;
    match client.request_text(create).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("creating {path}")),
    }
}

/// Apply all of it; `dns_server` is where the DNS server listens.
///
/// # Errors
/// The API server refuses an object.
pub async fn ensure(client: &kube::Client, cluster: &Cluster, dns_server: Ipv4Addr) -> Result<()> {
    let manifests = dns(cluster, dns_server)?;
    futures::future::try_join_all(manifests.iter().map(|manifest| apply(client, manifest))).await?;
    label_node(client, &cluster.node_name).await
}

/// Kubelets may not give themselves a role (NodeRestriction): the cluster's administrator does.
async fn label_node(client: &kube::Client, name: &str) -> Result<()> {
    let path = format!("/api/v1/nodes/{name}");
    let labels = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    let patch = request(Method::PATCH, &path, "application/merge-patch+json", &labels)?;
    client.request_text(patch).await.with_context(|| format!("labelling {path}"))?;
    Ok(())
}
