//! What the API server sees of a kind: [`Resource`], type-erased, and [`Object`], one value of it.
//!
//! Kind files implement the typed trait `Kind`; `Erased<K>` lifts it to `Resource`. Custom resources
//! implement `Resource` directly over JSON. Handlers cannot tell the difference, and must not.
//! Pure: time and randomness are arguments.
use apimachinery::{ApiError, field, table};
use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use std::{any::Any, borrow::Cow};

pub type Str = Cow<'static, str>;

/// One value of some kind, in its storage version.
pub trait Object: Any + Send + Sync + std::fmt::Debug {
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// The storage-version JSON, `apiVersion` and `kind` included and first.
    fn to_json(&self) -> Vec<u8>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn clone_box(&self) -> Box<dyn Object>;
    /// Of kinds that make pods.
    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        None
    }
}

/// One group, version and kind under which a resource is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// Empty for the core group.
    pub group: Str,
    pub version: Str,
    pub kind: Str,
    /// Converts JSON of this version to and from the storage version; `None` when they are the same.
    pub convert: Option<Conversion>,
}

#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    pub to_storage: fn(&mut serde_json::Value) -> Result<(), String>,
    pub from_storage: fn(&mut serde_json::Value) -> Result<(), String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// Names and shape of a resource: all that routes, discovery, OpenAPI and kubectl need to know.
#[derive(Clone, Debug)]
pub struct Info {
    /// Storage version first.
    pub served: Vec<Served>,
    /// `pods`
    pub plural: Str,
    pub singular: Str,
    pub list_kind: Str,
    pub short_names: Vec<Str>,
    pub categories: Vec<Str>,
    pub scope: Scope,
    /// Under `/registry`: `pods`, `services/specs`, `minions`, … as upstream lays keys out.
    pub storage_prefix: Str,
    /// Verbs of the main resource in discovery's (sorted) order.
    pub verbs: &'static [&'static str],
    pub subresources: Vec<Subresource>,
    /// Fields that selectors may name besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: &'static [&'static str],
    /// Seconds after which objects expire (events), 0 for never.
    pub ttl_seconds: u32,
    /// An update with no resourceVersion is allowed.
    pub unconditional_update: bool,
    /// PUT to a name that does not exist creates it.
    pub create_on_update: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `eviction`, `log`, `exec`, …
    pub name: Str,
    /// Group, version and kind of its body, as discovery lists them.
    pub group: Str,
    pub version: Str,
    pub kind: Str,
    pub verbs: &'static [&'static str],
}

/// What an update goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Main,
    Status,
    /// `ephemeralcontainers`, `resize`, …
    Other(&'static str),
}

#[derive(Clone, Debug, Default)]
pub struct Decoded<T> {
    pub object: T,
    /// Paths of unknown fields, as upstream words them (`spec.foo`).
    pub unknown_fields: Vec<String>,
    pub duplicate_fields: Vec<String>,
}

/// What deletion of an object means (`BeforeDelete` in upstream's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Gone at once.
    Immediate,
    /// Stays, with `deletionTimestamp`, for that many seconds at most.
    Seconds(i64),
}

/// The replica counts behind `/scale`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScaleView {
    pub spec_replicas: i32,
    pub status_replicas: i32,
    /// Serialised label selector.
    pub selector: String,
}

/// A kind as the API server handles it.
pub trait Resource: Send + Sync {
    fn info(&self) -> &Info;

    /// Decode storage-version JSON.
    ///
    /// # Errors
    /// `BadRequest` naming the field, in upstream's wording.
    fn decode(&self, json: &[u8]) -> Result<Decoded<Box<dyn Object>>, ApiError>;

    /// As [`Resource::decode`], for what was stored: nobody asks about its unknown fields.
    ///
    /// # Errors
    /// As [`Resource::decode`].
    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn Object>, ApiError> {
        Ok(self.decode(json)?.object)
    }

    fn default(&self, object: &mut dyn Object);

    /// Drop what clients may not set on creation (status), set what the server owns.
    fn prepare_create(&self, object: &mut dyn Object);
    fn validate_create(&self, object: &dyn Object) -> field::ErrorList;

    /// Carry over from `old` what `target` may not change; bump `metadata.generation` when the spec changed.
    fn prepare_update(&self, target: Target, object: &mut dyn Object, old: &dyn Object);
    fn validate_update(&self, target: Target, object: &dyn Object, old: &dyn Object) -> field::ErrorList;

    /// `Warning` header texts.
    fn warnings(&self, object: &dyn Object, old: Option<&dyn Object>) -> Vec<String>;

    fn grace(&self, object: &dyn Object, requested_seconds: Option<i64>) -> Grace;

    /// Values of [`Info::selectable_fields`], in that order.
    fn field_values(&self, object: &dyn Object) -> Vec<String>;

    fn columns(&self) -> &[table::Column];
    /// `now`: seconds since the epoch.
    fn row(&self, object: &dyn Object, now: i64) -> table::Row;

    /// Where the object stands in tables of many, before the order of names; `None` where names are all.
    fn row_rank(&self, _object: &dyn Object) -> Option<i64> {
        None
    }

    /// `None` when there is no scale subresource.
    fn scale(&self, object: &dyn Object) -> Option<ScaleView>;
    fn set_scale(&self, object: &mut dyn Object, replicas: i32);
}
