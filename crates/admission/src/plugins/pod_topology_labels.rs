//! `PodTopologyLabels`: a pod that gets its node also gets the node's zone and region as labels.
//!
//! Source: KEP-4742. The node is known when the pod is bound, or created with `spec.nodeName`.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Binding, Pod};
use std::sync::Arc;
use storage::Lookup;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(crate) struct PodTopologyLabels {
    lookup: Arc<dyn Lookup>,
}

impl PodTopologyLabels {
    pub fn new(config: &Config) -> Self {
        PodTopologyLabels { lookup: Arc::clone(&config.lookup) }
    }
}

fn node_name(request: &Request<'_>) -> Option<String> {
    let name = match request.typed::<Binding>() {
        Some(binding) if matches!(binding.target.kind.as_deref(), None | Some("" | "Node")) => &binding.target.name,
        Some(_) => return None,
        None => &request.typed::<Pod>()?.spec.as_ref()?.node_name,
    };
    name.clone().filter(|n| !n.is_empty())
}

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        let bound = request.subresource == "binding";
        request.is("", "pods") && (bound || request.subresource.is_empty() && request.operation == Operation::Create)
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(name) = node_name(request) else { return Ok(()) };
        // A node that is not there (yet) has no labels to give.
        let Some(of_node) = self.lookup.labels("minions", "", &name) else { return Ok(()) };
        let Some(object) = request.object.as_deref_mut() else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = of_node.get(label) {
                object.metadata_mut().labels.get_or_insert_default().insert(label.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;
    use crate::testing::{Ask, Cluster};
    use serde_json::json;
    use std::collections::BTreeMap;

    #[tokio::test]
    async fn zone_and_region_are_copied() {
        let node = json!({"metadata": {"name": "n", "labels": {LABELS[0]: "z", LABELS[1]: "r", "other": "x"}}});
        let plugin = PodTopologyLabels::new(&Cluster::default().with("minions", node).config());
        let want = BTreeMap::from([(LABELS[0].to_owned(), "z".to_owned()), (LABELS[1].to_owned(), "r".to_owned())]);
        let binding = json!({"metadata": {"name": "p", "namespace": "ns"}, "target": {"kind": "Node", "name": "n"}});
        let bound =
            Ask::<Body<Binding>>::create("", "pods", binding).on("binding").result(&plugin).await.expect("bound");
        assert_eq!(bound.0.metadata.labels, Some(want.clone()));
        let pod = |node: &str| {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": []}});
            Ask::<Pod>::create("", "pods", pod)
        };
        assert_eq!(pod("n").result(&plugin).await.expect("created").metadata.labels, Some(want));
        assert_eq!(pod("none").result(&plugin).await.expect("created").metadata.labels, None);
        assert_eq!(pod("").result(&plugin).await.expect("created").metadata.labels, None);
    }
}
