//! How quota admission reads and charges `ResourceQuota` objects.
use crate::{registry::Registry, store::Put};
use admission::QuotaStore;
use apimachinery::ApiError;
use async_trait::async_trait;
use std::sync::Arc;
use storage::Expect;

const PREFIX: &str = "resourcequotas";

pub struct Quotas(pub Arc<Registry>);

#[async_trait]
impl QuotaStore for Quotas {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<Vec<u8>>, ApiError> {
        let Some(store) = self.0.store(PREFIX) else { return Ok(None) };
        Ok(store.read(namespace, name).await?.map(|entry| entry.json.to_vec()))
    }

    async fn replace(&self, namespace: &str, name: &str, json: Vec<u8>) -> Result<bool, ApiError> {
        let Some(store) = self.0.store(PREFIX) else { return Ok(false) };
        let mut object = store.resource.decode_stored(&json).map_err(|e| ApiError::internal(e.message))?;
        let version = object.metadata().resource_version.as_deref().and_then(|v| v.parse().ok());
        let Some(version) = version else { return Ok(false) };
        let written = store.put(&store.key(namespace, name), Expect::Revision(version), &mut *object).await?;
        Ok(matches!(written, Put::Done(_)))
    }
}
