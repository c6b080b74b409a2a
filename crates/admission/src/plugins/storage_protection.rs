//! `StorageObjectInUseProtection`: claims and volumes get the finalizer that keeps them while they are used.
use crate::{Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;

pub(crate) struct StorageObjectInUseProtection;

fn finalizer(resource: &str) -> Option<&'static str> {
    match resource {
        "persistentvolumeclaims" => Some("kubernetes.io/pvc-protection"),
        "persistentvolumes" => Some("kubernetes.io/pv-protection"),
        _ => None,
    }
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.group.is_empty() && request.subresource.is_empty() && finalizer(request.resource).is_some()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if let (Some(finalizer), Some(object)) = (finalizer(request.resource), request.object.as_deref_mut()) {
            let finalizers = object.metadata_mut().finalizers.get_or_insert_default();
            if !finalizers.iter().any(|f| f == finalizer) {
                finalizers.push(finalizer.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ask;
    use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
    use serde_json::json;

    #[tokio::test]
    async fn both_kinds() {
        let named = json!({"metadata": {"name": "x", "finalizers": ["mine"]}});
        let plugin = StorageObjectInUseProtection;
        let claim: PersistentVolumeClaim =
            Ask::create("", "persistentvolumeclaims", named.clone()).result(&plugin).await.expect("admitted");
        assert_eq!(claim.metadata.finalizers.expect("some"), ["mine", "kubernetes.io/pvc-protection"]);
        let volume: PersistentVolume =
            Ask::create("", "persistentvolumes", named).result(&plugin).await.expect("admitted");
        assert_eq!(volume.metadata.finalizers.expect("some"), ["mine", "kubernetes.io/pv-protection"]);
    }
}
