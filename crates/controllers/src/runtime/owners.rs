//! Owner references: who controls an object, and what an object controls.
use client::{Cache, Key, cache::Kept};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use std::sync::Arc;

const INDEX: &str = "controller";

/// The owner that manages the object, if any.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` is the UID of the object's controller.
pub fn is_controlled_by(meta: &ObjectMeta, owner: Option<&str>) -> bool {
    owner.is_some() && controller_of(meta).map(|o| o.uid.as_str()) == owner
}

/// The reference by which `owner` manages its children.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The key of the object's controller if that is of kind `K`, whatever version it was named by.
pub fn controller_key<K: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> Option<Key> {
    let owner = controller_of(meta)?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let same = owner.kind == K::kind(&()) && group == K::group(&());
    same.then(|| Key::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name))
}

fn orphans(namespace: &str) -> String {
    format!("orphans/{namespace}")
}

/// Index a cache for [`controlled`] and [`candidates`].
pub fn add_index<K: Kept>(cache: &Cache<K>) {
    cache.add_index(INDEX, |object| {
        let meta = object.meta();
        let found = controller_of(meta).map(|owner| owner.uid.clone());
        vec![found.unwrap_or_else(|| orphans(meta.namespace.as_deref().unwrap_or_default()))]
    });
}

/// The objects the controller `uid` manages.
pub fn controlled<K: Kept>(cache: &Cache<K>, uid: &str) -> Vec<Arc<K>> {
    cache.by_index(INDEX, uid)
}

/// The objects the controller `uid` manages, and those of its namespace that nobody manages.
pub fn candidates<K: Kept>(cache: &Cache<K>, uid: &str, namespace: &str) -> Vec<Arc<K>> {
    let mut found = cache.by_index(INDEX, uid);
    found.extend(cache.by_index(INDEX, &orphans(namespace)));
    found
}
