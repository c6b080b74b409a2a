//! The chain of enabled plugins.
use crate::{Error, Operation, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use auth::Authorizer;
use std::sync::Arc;
use storage::Lookup;

/// One admission plugin.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// As `--enable-admission-plugins` names it.
    fn name(&self) -> &'static str;

    fn handles(&self, operation: Operation) -> bool;

    /// Whether there is anything to do; keeps requests that are not this plugin's business cheap.
    fn concerns(&self, request: &Request<'_>) -> bool {
        let _ = request;
        true
    }

    /// May change the object.
    ///
    /// # Errors
    /// The answer to the client; nothing is stored.
    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let _ = request;
        Ok(())
    }

    /// Sees the object as it will be stored.
    ///
    /// # Errors
    /// The answer to the client; nothing is stored.
    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let _ = request;
        Ok(())
    }
}

/// Writes of quota usage, which the API server implements over its own store.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// The newest `ResourceQuota` as storage-version JSON, read from the store, not from a cache.
    ///
    /// # Errors
    /// The store failed.
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<Vec<u8>>, ApiError>;

    /// Replace the quota if its `metadata.resourceVersion` is still what `json` says. `false`: it is not, nothing was
    /// written.
    ///
    /// # Errors
    /// The store failed.
    async fn replace(&self, namespace: &str, name: &str, json: Vec<u8>) -> Result<bool, ApiError>;
}

/// What plugins work with, and which are on.
pub struct Config {
    pub lookup: Arc<dyn Lookup>,
    /// Asked by plugins that need a further permission of the user.
    pub authorizer: Arc<dyn Authorizer>,
    pub quota: Arc<dyn QuotaStore>,
    /// `--enable-admission-plugins`, besides the default ones.
    pub enable: Vec<String>,
    /// `--disable-admission-plugins`
    pub disable: Vec<String>,
}

/// The enabled plugins in upstream's order.
pub struct Chain {
    plugins: Vec<Arc<dyn Plugin>>,
}

impl Chain {
    /// # Errors
    /// An unknown plugin name, or one both enabled and disabled.
    pub fn standard(config: Config) -> Result<Self, Error> {
        Ok(Chain { plugins: crate::registry::enabled(&config)? })
    }

    /// First phase: plugins may change the object. Call before validation of the kind.
    ///
    /// # Errors
    /// The answer to the client.
    pub async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        crate::plugins::certificates::name_requestor(request);
        let operation = request.operation;
        for plugin in self.plugins.iter().filter(|p| p.handles(operation)) {
            if plugin.concerns(request) {
                plugin.admit(request).await?;
            }
        }
        Ok(())
    }

    /// Second phase: nothing changes any more. Call right before the object is stored.
    ///
    /// # Errors
    /// The answer to the client.
    pub async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let operation = request.operation;
        for plugin in self.plugins.iter().filter(|p| p.handles(operation)) {
            if plugin.concerns(request) {
                plugin.validate(request).await?;
            }
        }
        Ok(())
    }

    /// Names of the enabled plugins in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.plugins.iter().map(|p| p.name()).collect()
    }
}
