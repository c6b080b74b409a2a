//! The `default` ServiceAccount of every namespace.
//!
//! Watches namespaces and service accounts. Small enough that its plan is here.
use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::core::ObjectMeta;
use std::sync::Arc;

const NAME: &str = "default";

struct ServiceAccounts {
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
}

/// Start the serviceaccount controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let namespaces = setup.watch::<Namespace>();
    let accounts = setup.watch_changes::<ServiceAccount>(|old, new, add| {
        if let (Some(gone), None) = (old, new) {
            add(Key::cluster(gone.metadata.namespace.as_deref().unwrap_or_default()));
        }
    });
    Ok(Arc::new(ServiceAccounts { namespaces, accounts }))
}

/// Whether things can be created in the namespace.
pub fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

fn plan(namespace: &Namespace, account: Option<&ServiceAccount>) -> Plan {
    let mut plan = Plan::nothing();
    if account.is_none() && is_active(namespace) {
        let metadata = ObjectMeta {
            namespace: namespace.metadata.name.clone(),
            name: Some(NAME.to_owned()),
            ..Default::default()
        };
        plan.write(Write::create(&ServiceAccount { metadata, ..Default::default() }).or_exists());
    }
    plan
}

#[async_trait]
impl Controller for ServiceAccounts {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let Some(namespace) = self.namespaces.at(key) else { return Ok(Plan::nothing()) };
        Ok(plan(&namespace, self.accounts.get(&key.name, NAME).as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;

    #[test]
    fn every_active_namespace_gets_one() {
        let active: Arc<Namespace> = object("metadata: {name: shop}\nstatus: {phase: Active}");
        assert_eq!(plan(&active, None).to_string(), "create ServiceAccount shop/default\n");
        let account: Arc<ServiceAccount> = object("metadata: {name: default, namespace: shop}");
        assert!(plan(&active, Some(&account)).is_empty());
        let leaving: Arc<Namespace> = object("metadata: {name: shop}\nstatus: {phase: Terminating}");
        assert!(plan(&leaving, None).is_empty());
    }
}
