//! One resource's objects: keys, the watch cache, encoding and committing.
//!
//! Everything stored is storage-version JSON with no resource version in it; everything read comes
//! from the cache, as bytes with the version spliced in. This is the only place that turns objects
//! into keys and storage errors into API errors.
use crate::limits;
use api::{Object, Resource, Scope};
use apimachinery::{ApiError, status::On};
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use storage::{
    Backend, Expect, LeaseId, Op,
    cache::{Cache, Entry, Extract, Facts, Fields, Labels, Options, Written},
};

/// Leases are shared by objects written within this time (upstream: `--lease-reuse-duration-seconds`).
const LEASE_REUSE: Duration = Duration::from_secs(60);

pub struct ResourceStore {
    pub resource: Arc<dyn Resource>,
    pub cache: Arc<Cache>,
    /// `/registry/pods/`
    prefix: Box<str>,
    namespaced: bool,
    backend: Arc<dyn Backend>,
    ttl_seconds: u32,
    lease: tokio::sync::Mutex<Option<(LeaseId, Instant)>>,
}

/// How objects begin that an upstream API server stored.
const PROTOBUF_MAGIC: &[u8] = b"k8s\0";

/// What came of a write.
pub enum Put {
    Done(Arc<Entry>),
    /// The expectation did not hold; this is what stands there, if it can be read.
    Conflict(Option<Arc<Entry>>),
}

/// Reads an object that somebody else wrote, for the cache.
struct Decode(Arc<dyn Resource>);

impl Extract for Decode {
    fn extract(&self, _key: &str, value: &Bytes) -> Result<Facts, String> {
        if !value.starts_with(PROTOBUF_MAGIC) {
            let object = self.0.decode_stored(value).map_err(|e| e.message)?;
            return Ok(facts(&*self.0, &*object));
        }
        let json = apimachinery::codec::protobuf::to_json(value).map_err(|e| e.to_string())?;
        let json = serde_json::to_vec(&json).map_err(|e| e.to_string())?;
        let object = self.0.decode_stored(&json).map_err(|e| e.message)?;
        Ok(Facts { json: Some(object.to_json().into()), ..facts(&*self.0, &*object) })
    }
}

fn facts(resource: &dyn Resource, object: &dyn Object) -> Facts {
    let labels = object.metadata().labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
    let fields = resource.field_values(object);
    Facts {
        labels: Labels::from_pairs(labels),
        fields: Fields::from_values(fields.iter().map(String::as_str)),
        json: None,
    }
}

/// Fields by which watchers and lists are found without asking every object.
const INDEXED: &[&str] = &["spec.nodeName"];

impl ResourceStore {
    /// `root` is `/registry`; `ttl_seconds` overrides the kind's own when not 0.
    pub fn start(backend: Arc<dyn Backend>, root: &str, resource: Arc<dyn Resource>, ttl_seconds: u32) -> Self {
        let info = resource.info();
        let prefix = format!("{root}/{}/", info.storage_prefix).into_boxed_str();
        let indexed =
            info.selectable_fields.iter().enumerate().filter(|(_, f)| INDEXED.contains(f)).map(|(i, _)| i).collect();
        let extract: Arc<dyn Extract> = Arc::new(Decode(resource.clone()));
        let cache = Cache::start(backend.clone(), &prefix, extract, Options { indexed, ..Options::default() });
        let namespaced = info.scope == Scope::Namespaced;
        ResourceStore { cache, prefix, namespaced, backend, ttl_seconds, lease: Default::default(), resource }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether objects are not spread over namespaces.
    pub fn prefix_is_flat(&self) -> bool {
        !self.namespaced
    }

    pub fn is_indexed(field: &str) -> bool {
        INDEXED.contains(&field)
    }

    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced { [&*self.prefix, namespace, "/", name].concat() } else { [&*self.prefix, name].concat() }
    }

    /// Key prefix of one namespace, or of everything when it is empty.
    pub fn range_prefix(&self, namespace: &str) -> String {
        if namespace.is_empty() || !self.namespaced {
            self.prefix.to_string()
        } else {
            [&*self.prefix, namespace, "/"].concat()
        }
    }

    /// Waits until the cache shows every write acknowledged before.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn fresh(&self) -> Result<(), ApiError> {
        self.cache.read_consistent().await.map(drop).map_err(unavailable)
    }

    /// The newest state, linearizably.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(&self, namespace: &str, name: &str) -> Result<Option<Arc<Entry>>, ApiError> {
        self.fresh().await?;
        Ok(self.cache.get(&self.key(namespace, name)))
    }

    /// Decode what the cache holds; its metadata carries the resource version.
    ///
    /// # Errors
    /// What is stored is not an object of this kind.
    pub fn decode(&self, entry: &Entry) -> Result<Box<dyn Object>, ApiError> {
        self.resource.decode_stored(&entry.json).map_err(|e| ApiError::internal(e.message))
    }

    /// Write a new state. The object's own resource version is taken out.
    ///
    /// # Errors
    /// The store's, as API errors; a lost race is not one.
    pub async fn put(&self, key: &str, expect: Expect, object: &mut dyn Object) -> Result<Put, ApiError> {
        object.metadata_mut().resource_version = None;
        let value = Bytes::from(object.to_json());
        let lease = if self.ttl_seconds == 0 { 0 } else { self.lease().await? };
        let facts = facts(&*self.resource, object);
        match self.cache.commit(key, expect, Op::Put { value, lease }, Some(facts)).await.map_err(unavailable)? {
            Written::Done { entry: Some(entry), .. } => Ok(Put::Done(entry)),
            Written::Done { entry: None, .. } => Err(ApiError::internal("what was written cannot be read back")),
            Written::Conflict { current } => Ok(Put::Conflict(current)),
        }
    }

    /// Remove the state at `entry`. `Err` inside: somebody else wrote first.
    ///
    /// # Errors
    /// As [`ResourceStore::put`].
    pub async fn remove(&self, entry: &Entry) -> Result<Result<(), Option<Arc<Entry>>>, ApiError> {
        let expect = Expect::Revision(entry.revision);
        match self.cache.commit(&entry.key, expect, Op::Delete, None).await.map_err(unavailable)? {
            Written::Done { .. } => Ok(Ok(())),
            Written::Conflict { current } => Ok(Err(current)),
        }
    }

    async fn lease(&self) -> Result<LeaseId, ApiError> {
        let mut current = self.lease.lock().await;
        match *current {
            Some((lease, granted)) if granted.elapsed() < LEASE_REUSE => Ok(lease),
            _ => {
                let ttl = self.ttl_seconds.saturating_add(LEASE_REUSE.as_secs() as u32);
                let lease = self.backend.grant_lease(ttl).await.map_err(unavailable)?;
                *current = Some((lease, Instant::now()));
                Ok(lease)
            }
        }
    }

    /// Wait until the cache has seen `revision`, as reads of "not older than" need it.
    ///
    /// # Errors
    /// 504 with the cause clients look for when the store is not that far.
    pub async fn wait_for(&self, revision: u64) -> Result<(), ApiError> {
        match tokio::time::timeout(limits::FRESH_WAIT, self.cache.wait_for(revision)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(storage::Error::Future { requested, current })) => Err(too_large_version(requested, current)),
            Ok(Err(error)) => Err(unavailable(error)),
            Err(_) => Err(too_large_version(revision, self.cache.snapshot().revision())),
        }
    }
}

/// `Too large resource version`, with the cause that makes clients retry.
pub fn too_large_version(requested: u64, current: u64) -> ApiError {
    use apimachinery::status::{Cause, Details};
    let mut error = ApiError::timeout(format!("Too large resource version: {requested}, current: {current}"));
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    error.details = Some(Box::new(Details { causes: vec![cause], retry_after_seconds: 1, ..Details::default() }));
    error
}

/// A storage error in API terms.
pub fn unavailable(error: storage::Error) -> ApiError {
    use storage::Error;
    match error {
        Error::TooLarge { .. } => ApiError::too_large(error.to_string()),
        Error::Timeout(_) => ApiError::timeout(error.to_string()),
        Error::Unavailable(_) | Error::NoSpace(_) => ApiError::unavailable(error.to_string()),
        Error::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
        Error::Future { requested, current } => too_large_version(requested, current),
        _ => {
            tracing::error!(%error, "storage");
            ApiError::internal(error)
        }
    }
}

/// A write was meant for another object of that name; in the words of upstream's storage, which clients get to see.
pub fn wrong_uid(key: &str, wanted: &str, found: &str) -> String {
    format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {wanted}, UID in object meta: {found}"
    )
}

/// Names an object in errors.
pub fn on<'a>(group: &'a str, resource: &'a str) -> On<'a> {
    On { group, resource }
}
