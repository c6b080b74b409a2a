//! Namespaces: when one is deleted, everything in it goes first.
//!
//! Watches namespaces. What is in one is asked of the server, by discovery, so that no kind is forgotten.
//! Pods go first and alone (KEP-5080): what they use outlives them.
mod content;
mod plan;
#[cfg(test)]
mod tests;

use crate::runtime::{Controller, Failure, Plan, Setup};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use std::sync::Arc;

struct Namespaces {
    namespaces: Cache<Namespace>,
    client: kube::Client,
}

/// Start the namespace controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let namespaces = setup.watch::<Namespace>();
    Ok(Arc::new(Namespaces { namespaces, client: setup.client.clone() }))
}

#[async_trait]
impl Controller for Namespaces {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        let Some(namespace) = self.namespaces.at(key) else { return Ok(Plan::nothing()) };
        if namespace.metadata.deletion_timestamp.is_none() || !plan::is_ours(&namespace) {
            return Ok(Plan::nothing());
        }
        let found = content::delete(&self.client, &key.name).await;
        Ok(plan::plan(&namespace, &found, now))
    }
}
