//! Which resources are served under which group and version.
//!
//! Built once from the registered kinds; one lookup by borrowed names per request, no allocation.
use crate::store::ResourceStore;
use api::{Resource, Served, Subresource};
use apimachinery::{ApiError, status::On};
use bytes::Bytes;
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};
use storage::{Lookup, cache::Labels};

type Map<V> = HashMap<Box<str>, V, foldhash::fast::RandomState>;

/// A resource as one group and version shows it.
pub struct Endpoint {
    pub store: Arc<ResourceStore>,
    served: usize,
    /// `{"apiVersion":"apps/v1","kind":"Deployment",`: how stored objects begin; list items omit it.
    pub item_head: Box<str>,
    /// `{"kind":"PodList","apiVersion":"v1","metadata":{`
    pub list_head: Box<str>,
    /// `apps/v1`
    pub api_version: Box<str>,
}

impl Endpoint {
    pub fn resource(&self) -> &dyn Resource {
        &*self.store.resource
    }

    pub fn info(&self) -> &api::Info {
        self.store.resource.info()
    }

    pub fn served(&self) -> &Served {
        // `served` is an index into this very vector, which never changes.
        &self.info().served[self.served]
    }

    pub fn kind(&self) -> &str {
        &self.served().kind
    }

    /// For errors: the plural.
    pub fn on(&self) -> On<'_> {
        On { group: &self.served().group, resource: &self.info().plural }
    }

    /// For `Invalid` errors: the kind.
    pub fn on_kind(&self) -> On<'_> {
        On { group: &self.served().group, resource: self.kind() }
    }

    pub fn namespaced(&self) -> bool {
        self.info().scope == api::Scope::Namespaced
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.info().subresources.iter().find(|s| s.name == name)
    }

    /// Stored bytes in this endpoint's version.
    ///
    /// # Errors
    /// The stored object cannot be expressed in it.
    pub fn convert_out(&self, json: &Bytes) -> Result<Bytes, ApiError> {
        let Some(conversion) = &self.served().convert else { return Ok(json.clone()) };
        let mut value: Value = serde_json::from_slice(json).map_err(ApiError::internal)?;
        (conversion.from_storage)(&mut value).map_err(ApiError::internal)?;
        if let Value::Object(map) = &mut value {
            map.insert("apiVersion".into(), Value::String(self.api_version.to_string()));
            map.insert("kind".into(), Value::String(self.kind().to_owned()));
        }
        serde_json::to_vec(&value).map(Bytes::from).map_err(ApiError::internal)
    }

    /// This endpoint's version as storage-version JSON.
    ///
    /// # Errors
    /// `BadRequest` when it is not JSON or cannot be expressed in the storage version.
    pub fn convert_in(&self, json: Bytes) -> Result<Bytes, ApiError> {
        let Some(conversion) = &self.served().convert else { return Ok(json) };
        let mut value: Value = serde_json::from_slice(&json).map_err(|e| ApiError::bad_request(e.to_string()))?;
        (conversion.to_storage)(&mut value).map_err(ApiError::bad_request)?;
        if let (Value::Object(map), Some(storage)) = (&mut value, self.info().served.first()) {
            map.insert("apiVersion".into(), Value::String(api_version(&storage.group, &storage.version)));
            map.insert("kind".into(), Value::String(storage.kind.to_string()));
        }
        serde_json::to_vec(&value).map(Bytes::from).map_err(ApiError::internal)
    }
}

/// `v1`, `apps/v1`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

pub struct Registry {
    /// Group, version, plural.
    endpoints: Map<Map<Map<Arc<Endpoint>>>>,
    by_prefix: Map<Arc<ResourceStore>>,
    stores: Vec<Arc<ResourceStore>>,
}

impl Registry {
    pub fn new(stores: Vec<Arc<ResourceStore>>) -> Self {
        let mut endpoints: Map<Map<Map<Arc<Endpoint>>>> = Map::default();
        let mut by_prefix: Map<Arc<ResourceStore>> = Map::default();
        for store in &stores {
            let info = store.resource.info();
            by_prefix.insert(info.storage_prefix.as_ref().into(), store.clone());
            for (served, names) in info.served.iter().enumerate() {
                let api_version = api_version(&names.group, &names.version);
                let endpoint = Endpoint {
                    store: store.clone(),
                    served,
                    item_head: format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{}\",", names.kind).into(),
                    list_head: format!(
                        "{{\"kind\":\"{}List\",\"apiVersion\":\"{api_version}\",\"metadata\":{{",
                        names.kind
                    )
                    .into(),
                    api_version: api_version.into(),
                };
                endpoints
                    .entry(names.group.as_ref().into())
                    .or_default()
                    .entry(names.version.as_ref().into())
                    .or_default()
                    .insert(info.plural.as_ref().into(), Arc::new(endpoint));
            }
        }
        Registry { endpoints, by_prefix, stores }
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(group)?.get(version)?.get(plural)
    }

    pub fn stores(&self) -> &[Arc<ResourceStore>] {
        &self.stores
    }

    /// By storage prefix: `pods`, `services/specs`.
    pub fn store(&self, prefix: &str) -> Option<&Arc<ResourceStore>> {
        self.by_prefix.get(prefix)
    }
}

impl Lookup for Registry {
    fn get(&self, prefix: &str, namespace: &str, name: &str) -> Option<Bytes> {
        let store = self.store(prefix)?;
        store.cache.get(&store.key(namespace, name)).map(|entry| entry.json.clone())
    }

    fn labels(&self, prefix: &str, namespace: &str, name: &str) -> Option<Labels> {
        let store = self.store(prefix)?;
        store.cache.get(&store.key(namespace, name)).map(|entry| entry.labels().clone())
    }

    fn list(&self, prefix: &str, namespace: Option<&str>) -> Vec<Bytes> {
        let Some(store) = self.store(prefix) else { return Vec::new() };
        let range = store.range_prefix(namespace.unwrap_or_default());
        store.cache.snapshot().iter(&range).map(|entry| entry.json.clone()).collect()
    }

    fn version(&self, prefix: &str) -> u64 {
        self.store(prefix).map_or(0, |store| store.cache.last_change())
    }
}
