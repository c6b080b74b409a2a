//! `kube-root-ca.crt` in every namespace: with what pods verify the API server.
//!
//! Watches namespaces and the ConfigMaps of that name. Small enough that its plan is here.
use crate::{
    flags,
    runtime::{Controller, Failure, Plan, Setup, Write},
    serviceaccount::is_active,
};
use async_trait::async_trait;
use client::{Cache, Key, cache::Selection};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::ObjectMeta;
use std::{collections::BTreeMap, sync::Arc};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

struct Publisher {
    namespaces: Cache<Namespace>,
    maps: Cache<ConfigMap>,
    ca_pem: String,
}

/// Start the root CA publisher.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let Some(path) = setup.flags.root_ca_file.clone() else { return Err("it needs --root-ca-file".to_owned()) };
    let ca_pem = flags::file("root-ca-file", &path)?;
    let namespaces = setup.watch::<Namespace>();
    let maps = setup.cache_selected::<ConfigMap>(&Selection::field("metadata.name", NAME));
    setup.follow(&maps, |old, new, add| {
        for map in old.into_iter().chain(new) {
            add(Key::cluster(map.metadata.namespace.as_deref().unwrap_or_default()));
        }
    });
    Ok(Arc::new(Publisher { namespaces, maps, ca_pem }))
}

fn plan(namespace: &Namespace, map: Option<&ConfigMap>, ca_pem: &str) -> Plan {
    let mut plan = Plan::nothing();
    if !is_active(namespace) {
        return plan;
    }
    let data = BTreeMap::from([("ca.crt".to_owned(), ca_pem.to_owned())]);
    let annotation = ("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned());
    match map {
        None => {
            let metadata = ObjectMeta {
                namespace: namespace.metadata.name.clone(),
                name: Some(NAME.to_owned()),
                annotations: Some(BTreeMap::from([annotation])),
                ..Default::default()
            };
            plan.write(Write::create(&ConfigMap { metadata, data: Some(data), ..Default::default() }).or_exists());
        }
        Some(map) if map.data.as_ref() != Some(&data) => {
            let mut map = map.clone();
            map.data = Some(data);
            map.metadata.annotations.get_or_insert_default().extend([annotation]);
            plan.write(Write::replace(&map));
        }
        Some(_) => {}
    }
    plan
}

#[async_trait]
impl Controller for Publisher {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let Some(namespace) = self.namespaces.at(key) else { return Ok(Plan::nothing()) };
        Ok(plan(&namespace, self.maps.get(&key.name, NAME).as_deref(), &self.ca_pem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::object;

    #[test]
    fn the_bundle_is_published_and_kept() {
        let namespace: Arc<Namespace> = object("metadata: {name: shop}");
        assert_eq!(plan(&namespace, None, "CA").to_string(), "create ConfigMap shop/kube-root-ca.crt\n");
        let map: Arc<ConfigMap> = object("metadata: {name: kube-root-ca.crt, namespace: shop}\ndata: {ca.crt: CA}");
        assert!(plan(&namespace, Some(&map), "CA").is_empty());
        assert_eq!(plan(&namespace, Some(&map), "NEW").to_string(), "replace ConfigMap shop/kube-root-ca.crt\n");
    }
}
