//! What `describe` shows: one file a kind, or a family of kinds; everything that has none is shown field by field.
//!
//! Describers are pure: what they need besides the object is fetched first, into [`Related`].
mod autoscaling;
mod certificate;
mod config;
mod containers;
mod doc;
mod events;
mod generic;
mod network;
mod network_policy;
mod node;
mod pod;
mod policy;
mod rbac;
mod storage;
mod volumes;
mod workloads;

use crate::{Context, Result, http::with_query};
use doc::Doc;
pub use doc::since;
pub use pod::template_text;
pub use rbac::rows as rule_rows;
use serde_json::Value;

/// Objects besides the one described. What a kind does not need is empty.
#[derive(Debug, Default)]
pub struct Related {
    pods: Vec<Value>,
    sets: Vec<Value>,
    slices: Vec<Value>,
    services: Vec<Value>,
    quotas: Vec<Value>,
    limits: Vec<Value>,
    lease: Option<Value>,
}

type Describer = fn(&mut Doc, &Value, &Related);

/// (group, kind, describer, has a table of events).
const KINDS: &[(&str, &str, Describer, bool)] = &[
    ("", "Pod", pod::pod, true),
    ("", "Node", node::node, true),
    ("", "Service", network::service, true),
    ("", "Namespace", config::namespace, false),
    ("", "ConfigMap", config::config_map, true),
    ("", "Secret", config::secret, false),
    ("", "ServiceAccount", config::service_account, true),
    ("", "PersistentVolumeClaim", storage::claim, true),
    ("", "PersistentVolume", storage::volume, true),
    ("apps", "Deployment", workloads::deployment, true),
    ("apps", "ReplicaSet", workloads::replica_set, true),
    ("apps", "DaemonSet", workloads::daemon_set, true),
    ("apps", "StatefulSet", workloads::stateful_set, true),
    ("batch", "Job", workloads::job, true),
    ("batch", "CronJob", workloads::cron_job, true),
    ("networking.k8s.io", "Ingress", network::ingress, true),
    ("networking.k8s.io", "ServiceCIDR", network::service_cidr, true),
    ("networking.k8s.io", "IPAddress", network::ip_address, false),
    ("networking.k8s.io", "IngressClass", network::ingress_class, true),
    ("networking.k8s.io", "NetworkPolicy", network_policy::network_policy, false),
    ("autoscaling", "HorizontalPodAutoscaler", autoscaling::autoscaler, true),
    ("certificates.k8s.io", "CertificateSigningRequest", certificate::request, true),
    ("", "ReplicationController", workloads::replication_controller, true),
    ("", "Endpoints", network::endpoints_object, true),
    ("discovery.k8s.io", "EndpointSlice", network::endpoint_slice, true),
    ("", "ResourceQuota", policy::quota, false),
    ("", "LimitRange", policy::limit_range, false),
    ("policy", "PodDisruptionBudget", policy::budget, true),
    ("scheduling.k8s.io", "PriorityClass", policy::priority_class, true),
    ("storage.k8s.io", "StorageClass", policy::storage_class, true),
    ("rbac.authorization.k8s.io", "Role", rbac::role, false),
    ("rbac.authorization.k8s.io", "ClusterRole", rbac::role, false),
    ("rbac.authorization.k8s.io", "RoleBinding", rbac::binding, false),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", rbac::binding, false),
];

fn of(group: &str, kind: &str) -> (Describer, bool) {
    let known = KINDS.iter().find(|(g, k, ..)| *g == group && *k == kind);
    known.map_or((generic::object as Describer, true), |(.., describer, events)| (*describer, *events))
}

/// The description of an object, with its events when `show_events`.
///
/// # Errors
/// The server refuses to tell what else is needed.
pub async fn describe(context: &Context, object: &Value, show_events: bool) -> Result<String> {
    let newer = newer(context, object).await?;
    let object = newer.as_ref().unwrap_or(object);
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let (describer, has_events) = of(group, object["kind"].as_str().unwrap_or_default());
    let related = related(context, object).await?;
    let mut doc = Doc::default();
    describer(&mut doc, object, &related);
    if show_events && has_events {
        match events::of(context, object).await {
            Ok(events) => events::table(&mut doc, &events),
            // Who may not list events sees the description without them.
            Err(crate::Error::Server(_)) => events::table(&mut doc, &[]),
            Err(error) => return Err(error),
        }
    }
    Ok(doc.finish())
}

/// The same object in the version that is described: autoscalers in the second, where the server has it.
async fn newer(context: &Context, object: &Value) -> Result<Option<Value>> {
    if object["apiVersion"] != "autoscaling/v1" || object["kind"] != "HorizontalPodAutoscaler" {
        return Ok(None);
    }
    let text = |field: &str| crate::http::escape(object["metadata"][field].as_str().unwrap_or_default());
    let path =
        format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}", text("namespace"), text("name"));
    match context.api().await?.get(&path).await {
        Ok(newer) => Ok(Some(newer)),
        Err(crate::Error::Server(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Items of a list; nothing when the list may not be read, as describing goes on without it.
async fn list(context: &Context, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
    match context.api().await?.get(&with_query(path, query)).await {
        Ok(mut list) => Ok(match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        }),
        Err(crate::Error::Server(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

async fn related(context: &Context, object: &Value) -> Result<Related> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(name);
    let core = |plural: &str| format!("/api/v1/namespaces/{namespace}/{plural}");
    let labels = doc::selector(&object["spec"]["selector"]);
    let labels = if labels == "<none>" { "" } else { labels.as_str() };
    let mut found = Related::default();
    match object["kind"].as_str().unwrap_or_default() {
        "Node" => {
            let node = format!("spec.nodeName={name}");
            found.pods = list(context, "/api/v1/pods", &[("fieldSelector", &node)]).await?;
            let lease = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
            found.lease = context.api().await?.get(&lease).await.ok();
        }
        "ReplicaSet" | "DaemonSet" | "StatefulSet" => {
            found.pods = list(context, &core("pods"), &[("labelSelector", labels)]).await?;
        }
        "PersistentVolumeClaim" => found.pods = list(context, &core("pods"), &[]).await?,
        "Deployment" => {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
            found.sets = list(context, &path, &[("labelSelector", labels)]).await?;
        }
        "Service" => {
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
            let service = format!("kubernetes.io/service-name={name}");
            found.slices = list(context, &path, &[("labelSelector", &service)]).await?;
        }
        "Ingress" => {
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
            found.slices = list(context, &path, &[]).await?;
            found.services = list(context, &core("services"), &[]).await?;
        }
        "ReplicationController" => {
            let labels = doc::equalities(&object["spec"]["selector"]);
            found.pods = list(context, &core("pods"), &[("labelSelector", &labels)]).await?;
        }
        "Namespace" => {
            found.quotas = list(context, &core("resourcequotas"), &[]).await?;
            found.limits = list(context, &core("limitranges"), &[]).await?;
        }
        _ => {}
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{fs, path::Path};

    /// Objects and the official descriptions of them, without events and what depends on the time.
    #[test]
    fn descriptions_are_the_official_ones() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/describe");
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let object: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let want = fs::read_to_string(path.with_extension("txt")).unwrap();
            let group = object["apiVersion"].as_str().unwrap().split_once('/').map_or("", |(group, _)| group);
            let (describer, _) = of(group, object["kind"].as_str().unwrap());
            let mut doc = Doc::default();
            describer(&mut doc, &object, &Related::default());
            assert_eq!(doc.finish(), want, "{}", path.display());
            count += 1;
        }
        assert!(count > 10, "the goldens are there");
    }
}
