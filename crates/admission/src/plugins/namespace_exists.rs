//! `NamespaceExists` and its deprecated sibling `NamespaceAutoProvision`.
//!
//! `NamespaceLifecycle` checks the same and is on by default. Auto-provisioning would have to create the namespace;
//! plugins write nothing, so a missing namespace is refused under either name.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::{ApiError, status::On};
use async_trait::async_trait;
use std::sync::Arc;
use storage::Lookup;

pub(crate) struct NamespaceExists {
    lookup: Arc<dyn Lookup>,
    name: &'static str,
}

impl NamespaceExists {
    pub fn new(config: &Config, name: &'static str) -> Self {
        NamespaceExists { lookup: Arc::clone(&config.lookup), name }
    }
}

#[async_trait]
impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        self.name
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
