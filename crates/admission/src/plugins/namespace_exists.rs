//! `NamespaceExists`: nothing in a namespace that does not exist. `NamespaceLifecycle`, on by default, checks more.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::{ApiError, status::On};
use async_trait::async_trait;
use std::sync::Arc;
use storage::Lookup;

pub(crate) struct NamespaceExists {
    lookup: Arc<dyn Lookup>,
}

impl NamespaceExists {
    pub fn new(config: &Config) -> Self {
        NamespaceExists { lookup: Arc::clone(&config.lookup) }
    }
}

#[async_trait]
impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Delete)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        !request.namespace.is_empty() && !request.is("", "namespaces")
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if self.lookup.get("namespaces", "", request.namespace).is_some() {
            return Ok(());
        }
        Err(ApiError::not_found(On { group: "", resource: "namespaces" }, request.namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    #[tokio::test]
    async fn a_missing_namespace_is_named() {
        let cluster = Cluster::default().with("namespaces", json!({"metadata": {"name": "ns"}}));
        let plugin = NamespaceExists::new(&cluster.config());
        let create = |namespace: &str| {
            Ask::<ConfigMap>::create("", "configmaps", json!({"metadata": {"name": "c", "namespace": namespace}}))
        };
        create("ns").run(&plugin).await.expect("exists");
        assert_eq!(create("none").refusal(&plugin).await, "namespaces \"none\" not found");
    }
}
