//! `OwnerReferencesPermissionEnforcement`: who changes owners must be able to delete the object, and who blocks an
//! owner's deletion must be able to set the owner's finalizers.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use auth::{Attributes, Authorizer, Decision};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::sync::Arc;

pub(crate) struct OwnerReferences {
    authorizer: Arc<dyn Authorizer>,
}

impl OwnerReferences {
    pub fn new(config: &Config) -> Self {
        OwnerReferences { authorizer: Arc::clone(&config.authorizer) }
    }

    fn refused(&self, attributes: &Attributes<'_>) -> Option<String> {
        match self.authorizer.authorize(attributes) {
            (Decision::Allow, _) => None,
            (_, reason) => Some(reason),
        }
    }
}

fn blocks(reference: &OwnerReference) -> bool {
    reference.block_owner_deletion == Some(true)
}

/// The resource of an owner's kind, as upstream's naming rule has it.
fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.strip_suffix('y') {
        _ if lower.ends_with('s') || lower.ends_with('x') => format!("{lower}es"),
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{lower}s"),
    }
}

#[async_trait]
impl Plugin for OwnerReferences {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let empty = Vec::new();
        let new = request.object.as_deref().and_then(|o| o.metadata().owner_references.as_ref()).unwrap_or(&empty);
        let old = request.old.and_then(|o| o.metadata().owner_references.as_ref()).unwrap_or(&empty);
        if new == old {
            return Ok(());
        }
        if request.operation == Operation::Update {
            let attributes = Attributes {
                version: request.version,
                namespace: request.namespace,
                name: request.name,
                subresource: request.subresource,
                ..Attributes::resource(request.user, "delete", request.group, request.resource)
            };
            if let Some(reason) = self.refused(&attributes) {
                let why = format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>");
                return Err(request.forbidden(why));
            }
        }
        let was_blocking = |r: &OwnerReference| old.iter().any(|o| o.uid == r.uid && blocks(o));
        for reference in new.iter().filter(|r| blocks(r) && !was_blocking(r)) {
            let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
            let resource = plural(&reference.kind);
            let attributes = Attributes {
                version,
                namespace: if reference.kind == "Node" { "" } else { request.namespace },
                name: &reference.name,
                subresource: "finalizers",
                ..Attributes::resource(request.user, "update", group, &resource)
            };
            if let Some(reason) = self.refused(&attributes) {
                let why = format!(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: \
                     {reason}, <nil>"
                );
                return Err(request.forbidden(why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};

    fn owned(block: bool) -> Value {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u", "blockOwnerDeletion": block});
        json!({"metadata": {"name": "c", "namespace": "ns", "ownerReferences": [owner]}})
    }

    #[tokio::test]
    async fn both_permissions() {
        let plain = json!({"metadata": {"name": "c", "namespace": "ns"}});
        let none = OwnerReferences::new(&Cluster::default().config());
        let create = |o: Value| Ask::<ConfigMap>::create("", "configmaps", o);
        create(owned(false)).run(&none).await.expect("new objects may have owners");
        assert!(create(owned(true)).refusal(&none).await.contains("cannot set blockOwnerDeletion"));
        let update = || Ask::<ConfigMap>::update("", "configmaps", plain.clone(), owned(false));
        assert!(update().refusal(&none).await.contains("cannot set an ownerRef on a resource you can't delete"));
        let all = Cluster::default().allow("delete configmaps c").allow("update replicasets/finalizers rs");
        let all = OwnerReferences::new(&all.config());
        update().run(&all).await.expect("may delete");
        create(owned(true)).run(&all).await.expect("may set finalizers");
    }

    #[test]
    fn plurals() {
        for (kind, want) in
            [("Pod", "pods"), ("NetworkPolicy", "networkpolicies"), ("Ingress", "ingresses"), ("Gateway", "gateways")]
        {
            assert_eq!(plural(kind), want);
        }
    }
}
