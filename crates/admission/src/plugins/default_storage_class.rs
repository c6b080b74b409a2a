//! `DefaultStorageClass`: a claim that names no class gets the default one, the newest if there are several.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::PersistentVolumeClaim, api::storage::v1::StorageClass, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{cmp::Reverse, sync::Arc};
use storage::Lookup;

const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) struct DefaultStorageClass {
    lookup: Arc<dyn Lookup>,
}

/// The name of the newest, and among equals the first, of what carries one of the `annotations` set to `true`.
pub(super) fn newest_default<'a>(
    all: impl Iterator<Item = &'a ObjectMeta>,
    annotations: &[&str],
) -> Option<&'a ObjectMeta> {
    let marked = |meta: &&ObjectMeta| {
        let value = |key: &&str| meta.annotations.as_ref().and_then(|a| a.get(*key));
        annotations.iter().filter_map(value).any(|v| v == "true")
    };
    all.filter(marked).min_by_key(|m| (Reverse(m.creation_timestamp.as_ref().map(|t| t.0)), m.name.clone()))
}

impl DefaultStorageClass {
    pub fn new(config: &Config) -> Self {
        DefaultStorageClass { lookup: Arc::clone(&config.lookup) }
    }
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "persistentvolumeclaims") && request.subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(claim) = request.typed_mut::<PersistentVolumeClaim>() else { return Ok(()) };
        let annotated = claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(BETA_CLASS));
        let spec = claim.spec.get_or_insert_default();
        if annotated || spec.storage_class_name.is_some() {
            return Ok(());
        }
        let classes: Vec<StorageClass> = crate::lookup::list(&*self.lookup, "storageclasses", None);
        let default = newest_default(classes.iter().map(|c| &c.metadata), &IS_DEFAULT);
        spec.storage_class_name = default.and_then(|m| m.name.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::{Value, json};

    fn class(name: &str, created: &str, default: &str) -> Value {
        json!({"metadata": {"name": name, "creationTimestamp": created,
            "annotations": {IS_DEFAULT[0]: default}}, "provisioner": "p"})
    }

    async fn chosen(cluster: &Cluster, spec: Value) -> Option<String> {
        let plugin = DefaultStorageClass::new(&cluster.config());
        let claim = json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": spec});
        let ask = Ask::<PersistentVolumeClaim>::create("", "persistentvolumeclaims", claim);
        ask.result(&plugin).await.expect("admitted").spec?.storage_class_name
    }

    #[tokio::test]
    async fn the_newest_default_is_taken() {
        let cluster = Cluster::default();
        assert_eq!(chosen(&cluster, json!({})).await, None);
        let cluster = cluster
            .with("storageclasses", class("old", "2020-01-01T00:00:00Z", "true"))
            .with("storageclasses", class("b", "2021-01-01T00:00:00Z", "true"))
            .with("storageclasses", class("a", "2021-01-01T00:00:00Z", "true"))
            .with("storageclasses", class("no", "2022-01-01T00:00:00Z", "false"));
        assert_eq!(chosen(&cluster, json!({})).await.as_deref(), Some("a"));
        assert_eq!(chosen(&cluster, json!({"storageClassName": ""})).await.as_deref(), Some(""));
    }
}
