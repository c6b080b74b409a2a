//! `PersistentVolumeClaimResize`: a claim grows only when it is bound and its class allows expansion.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::{
    ApiError,
    quantity::{self, Quantity},
};
use async_trait::async_trait;
use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use std::sync::Arc;
use storage::Lookup;

pub(crate) struct PersistentVolumeClaimResize {
    lookup: Arc<dyn Lookup>,
}

fn size(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    quantity::of(claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?).ok()
}

impl PersistentVolumeClaimResize {
    pub fn new(config: &Config) -> Self {
        PersistentVolumeClaimResize { lookup: Arc::clone(&config.lookup) }
    }

    fn class_allows(&self, claim: &PersistentVolumeClaim) -> bool {
        let name = claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref()).unwrap_or_default();
        let class: Option<StorageClass> = crate::lookup::get(&*self.lookup, "storageclasses", "", name);
        class.is_some_and(|c| c.allow_volume_expansion == Some(true))
    }
}

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "persistentvolumeclaims") && request.subresource.is_empty()
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let (Some(new), Some(old)) = (request.typed::<PersistentVolumeClaim>(), request.typed_old()) else {
            return Ok(());
        };
        if size(new) <= size(old) {
            return Ok(());
        }
        if old.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
            return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
        }
        if !self.class_allows(old) {
            return Err(request.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                 support resize",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::{Value, json};

    fn claim(size: &str, class: &str, phase: &str) -> Value {
        json!({"metadata": {"name": "c", "namespace": "ns"}, "status": {"phase": phase},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    }

    #[tokio::test]
    async fn growth_needs_a_bound_claim_and_a_willing_class() {
        let class =
            |name, allow| json!({"metadata": {"name": name}, "provisioner": "p", "allowVolumeExpansion": allow});
        let cluster =
            Cluster::default().with("storageclasses", class("yes", true)).with("storageclasses", class("no", false));
        let plugin = PersistentVolumeClaimResize::new(&cluster.config());
        let grow = |class: &str, phase: &str, to: &str| {
            let (old, new) = (claim("1Gi", class, phase), claim(to, class, phase));
            Ask::<PersistentVolumeClaim>::update("", "persistentvolumeclaims", old, new)
        };
        grow("yes", "Bound", "2Gi").run(&plugin).await.expect("grows");
        grow("no", "Pending", "1Gi").run(&plugin).await.expect("same size");
        assert!(grow("no", "Bound", "2Gi").refusal(&plugin).await.contains("must support resize"));
        assert!(grow("yes", "Pending", "2Gi").refusal(&plugin).await.contains("Only bound"));
    }
}
