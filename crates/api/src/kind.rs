//! [`Kind`]: what a kind file implements; [`Erased`] lifts it to [`Resource`].
//!
//! The order of things on the write path is fixed here, once: metadata rules come before the kind's own,
//! the status is dropped on creation, spec and status never change through the other's endpoint, and what belongs to
//! features that are off is dropped from pod templates.
use crate::{
    core::pod::disabled,
    decode, meta,
    resource::{Decoded, Grace, Info, Object, Resource, ScaleView, Scope, Target},
};
use apimachinery::{
    ApiError,
    field::{self, ErrorList},
    schema::{self, Schema},
    table::{Column, Row},
};
use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Serialize, de::DeserializeOwned};
use std::{any::Any, fmt::Debug, marker::PhantomData, sync::Arc};

/// A built-in kind's behaviour, over its storage version.
pub trait Kind:
    k8s_openapi::Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Default + Clone + Debug + Send + Sync + 'static
{
    const COLUMNS: &'static [Column];
    /// The server counts spec changes in `metadata.generation`.
    const GENERATION: bool = false;
    /// What names are allowed.
    const NAME: meta::NameRule = meta::SUBDOMAIN;

    fn info() -> Info;

    /// Upstream's `SetDefaults_*`; must change nothing when run twice.
    fn set_defaults(&mut self) {}

    /// What the server sets on new objects, after the status has been dropped.
    fn prepare_create(&mut self) {}

    /// What more an update must keep, after spec or status has been carried over.
    fn prepare_update(&mut self, _target: Target, _old: &Self) {}

    /// Everything that must hold for new and for updated objects; metadata is checked elsewhere.
    fn validate(&self, _errors: &mut ErrorList) {}

    /// What must hold only for new objects.
    fn validate_create(&self, _errors: &mut ErrorList) {}

    /// What must hold between the old and the new object, after [`Kind::validate`] for main updates.
    fn validate_update(&self, _target: Target, _old: &Self, _errors: &mut ErrorList) {}

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        Vec::new()
    }

    fn grace(&self, _requested_seconds: Option<i64>) -> Grace {
        Grace::Immediate
    }

    /// Values of the selectable fields, in the order of [`Info::selectable_fields`].
    fn field_values(&self) -> Vec<String> {
        Vec::new()
    }

    /// `now`: seconds since the epoch.
    fn row(&self, now: i64) -> Row;

    /// Where the object stands in tables of many, before the order of names; `None` where names are all.
    fn row_rank(&self) -> Option<i64> {
        None
    }

    fn scale(&self) -> Option<ScaleView> {
        None
    }

    fn set_scale(&mut self, _replicas: i32) {}

    /// Of kinds that make pods.
    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        None
    }

    fn pod_template_mut(&mut self) -> Option<&mut PodTemplateSpec> {
        None
    }

    // What `spec_and_status!` and `spec_only!` write.

    fn keep_spec(&mut self, _old: &Self) {}
    fn keep_status(&mut self, _old: &Self) {}
    fn clear_status(&mut self) {}
    /// Whether nothing changed that `metadata.generation` counts.
    fn same_spec(&self, _old: &Self) -> bool {
        true
    }
}

/// The spec/status split of kinds that have both.
macro_rules! spec_and_status {
    () => {
        fn keep_spec(&mut self, old: &Self) {
            self.spec.clone_from(&old.spec);
        }
        fn keep_status(&mut self, old: &Self) {
            self.status.clone_from(&old.status);
        }
        fn clear_status(&mut self) {
            self.status = Some(Default::default());
        }
        fn same_spec(&self, old: &Self) -> bool {
            self.spec == old.spec
        }
    };
}

/// Kinds whose spec changes are counted but that have no status.
macro_rules! spec_only {
    () => {
        fn same_spec(&self, old: &Self) -> bool {
            self.spec == old.spec
        }
    };
}

pub(crate) use {spec_and_status, spec_only};

impl<K: Kind> Object for K {
    fn metadata(&self) -> &ObjectMeta {
        k8s_openapi::Metadata::metadata(self)
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        k8s_openapi::Metadata::metadata_mut(self)
    }

    fn to_json(&self) -> Vec<u8> {
        // Maps have string keys and times are in range: serialising cannot fail.
        let mut out = Vec::with_capacity(1024);
        if serde_json::to_writer(&mut out, self).is_err() {
            out.clear();
        }
        out
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn clone_box(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        Kind::pod_template(self)
    }
}

fn drop_disabled<K: Kind>(new: &mut K, old: Option<&K>) {
    if let Some(spec) = new.pod_template_mut().and_then(|template| template.spec.as_mut()) {
        disabled::drop(spec, old.and_then(Kind::pod_template).and_then(|template| template.spec.as_ref()));
    }
}

/// A [`Kind`] as a [`Resource`].
pub struct Erased<K> {
    info: Info,
    schema: Option<Schema>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Erased<K> {
    pub fn new() -> Self {
        let schema = schema::of(K::GROUP, K::VERSION, K::KIND);
        Erased { info: K::info(), schema, kind: PhantomData }
    }

    /// The registry's line of a kind.
    pub fn resource() -> Arc<dyn Resource> {
        Arc::new(Self::new())
    }

    fn typed(object: &dyn Object) -> &K {
        object.as_any().downcast_ref().expect("handlers give a resource only objects that it decoded")
    }

    fn typed_mut(object: &mut dyn Object) -> &mut K {
        object.as_any_mut().downcast_mut().expect("handlers give a resource only objects that it decoded")
    }

    fn parse(&self, json: &[u8]) -> Result<K, ApiError> {
        serde_json::from_slice(json).map_err(|e| decode::error(K::KIND, K::VERSION, self.schema, json, &e))
    }
}

impl<K: Kind> Default for Erased<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kind> Resource for Erased<K> {
    fn info(&self) -> &Info {
        &self.info
    }

    fn decode(&self, json: &[u8]) -> Result<Decoded<Box<dyn Object>>, ApiError> {
        let mut object = self.parse(json)?;
        let checked = self.schema.map(|s| schema::check_fields(s, json)).unwrap_or_default();
        if let Some(schema) = self.schema.filter(|_| checked.zeros)
            && let Ok(mut value) = serde_json::from_slice(json)
        {
            schema::leave_out_zeros(schema, &mut value);
            object = self.parse(value.to_string().as_bytes())?;
        }
        let object = Box::new(object);
        Ok(Decoded { object, unknown_fields: checked.unknown, duplicate_fields: checked.duplicate })
    }

    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn Object>, ApiError> {
        Ok(Box::new(self.parse(json)?))
    }

    fn default(&self, object: &mut dyn Object) {
        Self::typed_mut(object).set_defaults();
    }

    fn prepare_create(&self, object: &mut dyn Object) {
        let object = Self::typed_mut(object);
        object.clear_status();
        if K::GENERATION {
            Object::metadata_mut(object).generation = Some(1);
        }
        drop_disabled(object, None);
        object.prepare_create();
    }

    fn validate_create(&self, object: &dyn Object) -> ErrorList {
        let object = Self::typed(object);
        let mut errors = ErrorList::default();
        let path = field::Path::new("metadata");
        meta::validate(Object::metadata(object), self.info.scope == Scope::Namespaced, K::NAME, &path, &mut errors);
        object.validate(&mut errors);
        object.validate_create(&mut errors);
        errors
    }

    fn prepare_update(&self, target: Target, object: &mut dyn Object, old: &dyn Object) {
        let (object, old) = (Self::typed_mut(object), Self::typed(old));
        match target {
            Target::Main => {
                object.keep_status(old);
                drop_disabled(object, Some(old));
            }
            Target::Status => object.keep_spec(old),
            Target::Other(_) => {}
        }
        object.prepare_update(target, old);
        if K::GENERATION {
            let before = Object::metadata(old).generation;
            let counted =
                if object.same_spec(old) { before } else { Some(before.unwrap_or_default().saturating_add(1)) };
            Object::metadata_mut(object).generation = counted;
        }
    }

    fn validate_update(&self, target: Target, object: &dyn Object, old: &dyn Object) -> ErrorList {
        let (object, old) = (Self::typed(object), Self::typed(old));
        let mut errors = ErrorList::default();
        let path = field::Path::new("metadata");
        meta::validate_update(Object::metadata(object), Object::metadata(old), &path, &mut errors);
        if target == Target::Main {
            object.validate(&mut errors);
        }
        object.validate_update(target, old, &mut errors);
        errors
    }

    fn warnings(&self, object: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        Self::typed(object).warnings(old.map(Self::typed))
    }

    fn grace(&self, object: &dyn Object, requested_seconds: Option<i64>) -> Grace {
        Self::typed(object).grace(requested_seconds)
    }

    fn field_values(&self, object: &dyn Object) -> Vec<String> {
        Self::typed(object).field_values()
    }

    fn columns(&self) -> &[Column] {
        K::COLUMNS
    }

    fn row(&self, object: &dyn Object, now: i64) -> Row {
        Self::typed(object).row(now)
    }

    fn row_rank(&self, object: &dyn Object) -> Option<i64> {
        Self::typed(object).row_rank()
    }

    fn scale(&self, object: &dyn Object) -> Option<ScaleView> {
        Self::typed(object).scale()
    }

    fn set_scale(&self, object: &mut dyn Object, replicas: i32) {
        Self::typed_mut(object).set_scale(replicas);
    }
}
