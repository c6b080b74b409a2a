//! A cluster in memory and requests to it, for the plugins' tests.
use crate::{Config, Operation, Plugin, QuotaStore, Request};
use api::Object;
use apimachinery::ApiError;
use async_trait::async_trait;
use auth::{Attributes, Authorizer, Decision, UserInfo};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use storage::{Lookup, Revision, cache::Labels};

/// Objects by prefix, namespace and name; also a quota store, and an authorizer that knows a few permissions.
#[derive(Clone, Default)]
pub(crate) struct Cluster(Arc<Inner>);

#[derive(Default)]
struct Inner {
    all: Mutex<BTreeMap<(String, String, String), Bytes>>,
    version: Mutex<Revision>,
    /// `verb resource name` that are allowed.
    allowed: Mutex<Vec<String>>,
    /// Quota writes to lose before one succeeds.
    conflicts: Mutex<usize>,
}

impl Cluster {
    pub fn config(&self) -> Config {
        Config {
            lookup: Arc::new(self.clone()),
            authorizer: Arc::new(self.clone()),
            quota: Arc::new(self.clone()),
            enable: Vec::new(),
            disable: Vec::new(),
        }
    }

    /// Stores what `metadata` names; returns itself for chaining.
    pub fn with(self, prefix: &str, object: Value) -> Self {
        self.put(prefix, &object);
        self
    }

    pub fn put(&self, prefix: &str, object: &Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let version = {
            let mut version = self.0.version.lock();
            *version += 1;
            *version
        };
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let key = (prefix.to_owned(), text("namespace"), text("name"));
        self.0.all.lock().insert(key, Bytes::from(object.to_string()));
    }

    pub fn allow(self, permission: &str) -> Self {
        self.0.allowed.lock().push(permission.to_owned());
        self
    }

    pub fn lose_writes(&self, count: usize) {
        *self.0.conflicts.lock() = count;
    }

    pub fn read(&self, prefix: &str, namespace: &str, name: &str) -> Value {
        let json = Lookup::get(self, prefix, namespace, name).expect("the object");
        serde_json::from_slice(&json).expect("JSON")
    }
}

impl Lookup for Cluster {
    fn get(&self, prefix: &str, namespace: &str, name: &str) -> Option<Bytes> {
        self.0.all.lock().get(&(prefix.into(), namespace.into(), name.into())).cloned()
    }

    fn labels(&self, prefix: &str, namespace: &str, name: &str) -> Option<Labels> {
        let object: Value = serde_json::from_slice(&Lookup::get(self, prefix, namespace, name)?).expect("JSON");
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        Some(Labels::from_pairs(labels.map(|(key, value)| (key.as_str(), value.as_str().expect("a text")))))
    }

    fn list(&self, prefix: &str, namespace: Option<&str>) -> Vec<Bytes> {
        let all = self.0.all.lock();
        let wanted = |k: &(String, String, String)| k.0 == prefix && namespace.is_none_or(|n| n == k.1);
        all.iter().filter(|(k, _)| wanted(k)).map(|(_, v)| v.clone()).collect()
    }

    fn version(&self, _: &str) -> Revision {
        *self.0.version.lock()
    }
}

impl Authorizer for Cluster {
    fn authorize(&self, a: &Attributes<'_>) -> (Decision, String) {
        let resource =
            if a.subresource.is_empty() { a.resource.to_owned() } else { format!("{}/{}", a.resource, a.subresource) };
        let asked = format!("{} {resource} {}", a.verb, a.name);
        let allowed = self.0.allowed.lock().contains(&asked);
        (if allowed { Decision::Allow } else { Decision::NoOpinion }, String::new())
    }
}

#[async_trait]
impl QuotaStore for Cluster {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<Vec<u8>>, ApiError> {
        Ok(Lookup::get(self, "resourcequotas", namespace, name).map(|b| b.to_vec()))
    }

    async fn replace(&self, namespace: &str, name: &str, json: Vec<u8>) -> Result<bool, ApiError> {
        let object: Value = serde_json::from_slice(&json).map_err(ApiError::internal)?;
        {
            let mut conflicts = self.0.conflicts.lock();
            if *conflicts > 0 {
                *conflicts -= 1;
                return Ok(false);
            }
        }
        let current = self.read("resourcequotas", namespace, name);
        if current["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return Ok(false);
        }
        self.put("resourcequotas", &object);
        Ok(true)
    }
}

/// One request, with the parts tests change.
pub(crate) struct Ask<T> {
    pub operation: Operation,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub object: Option<T>,
    pub old: Option<T>,
    pub user: UserInfo,
    pub dry_run: bool,
    pub warnings: Vec<String>,
    pub annotations: BTreeMap<String, String>,
}

impl<T> Ask<T>
where
    T: Object + DeserializeOwned + Clone,
{
    pub fn create(group: &'static str, resource: &'static str, object: Value) -> Self {
        Ask {
            operation: Operation::Create,
            group,
            resource,
            subresource: "",
            object: Some(serde_json::from_value(object).expect("an object of the kind")),
            old: None,
            user: UserInfo::new("u", ["system:authenticated"]),
            dry_run: false,
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    pub fn update(group: &'static str, resource: &'static str, old: Value, object: Value) -> Self {
        Ask {
            operation: Operation::Update,
            old: Some(serde_json::from_value(old).expect("an object of the kind")),
            ..Self::create(group, resource, object)
        }
    }

    pub fn delete(group: &'static str, resource: &'static str, old: Value) -> Self {
        Ask { operation: Operation::Delete, object: None, ..Self::update(group, resource, old.clone(), old) }
    }

    pub fn by(self, user: UserInfo) -> Self {
        Ask { user, ..self }
    }

    pub fn on(self, subresource: &'static str) -> Self {
        Ask { subresource, ..self }
    }

    /// Both phases, as the chain runs them.
    pub async fn run(&mut self, plugin: &dyn Plugin) -> Result<(), ApiError> {
        let mut object = self.object.clone();
        let old = self.old.clone();
        let meta = object.as_ref().or(old.as_ref()).map(|o| o.metadata().clone()).unwrap_or_default();
        let namespace = match self.resource {
            "namespaces" => meta.name.clone(),
            _ => meta.namespace.clone(),
        };
        let mut request = Request {
            operation: self.operation,
            group: self.group,
            version: "v1",
            kind: "",
            resource: self.resource,
            subresource: self.subresource,
            namespace: namespace.as_deref().unwrap_or_default(),
            name: meta.name.as_deref().unwrap_or_default(),
            user: &self.user,
            object: object.as_mut().map(|o| o as &mut dyn Object),
            old: old.as_ref().map(|o| o as &dyn Object),
            dry_run: self.dry_run,
            warnings: &mut self.warnings,
            audit_annotations: &mut self.annotations,
        };
        if plugin.handles(request.operation) && plugin.concerns(&request) {
            plugin.admit(&mut request).await?;
            plugin.validate(&mut request).await?;
        }
        self.object = object;
        Ok(())
    }

    /// The object after both phases.
    pub async fn result(mut self, plugin: &dyn Plugin) -> Result<T, ApiError> {
        self.run(plugin).await?;
        Ok(self.object.expect("an object"))
    }

    /// The text of the refusal.
    pub async fn refusal(mut self, plugin: &dyn Plugin) -> String {
        self.run(plugin).await.expect_err("refused").message
    }
}
