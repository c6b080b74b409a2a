//! Bootstrap tokens: the cluster's public information is signed with them, and they go when their time is over.
//!
//! Two controllers, off unless named in `--controllers`, as upstream has it (kubeadm names them). They watch the secrets of
//! type `bootstrap.kubernetes.io/token` in `kube-system`; the signer also `kube-public/cluster-info`.
mod signature;
#[cfg(test)]
mod tests;
mod token;

use crate::runtime::{Controller, Failure, Plan, Setup, Write};
use async_trait::async_trait;
use client::{Cache, Key, cache::Selection};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const INFO_NAMESPACE: &str = "kube-public";
const INFO_NAME: &str = "cluster-info";
/// What is signed.
const KUBECONFIG: &str = "kubeconfig";
/// Signatures stand beside it, by the token's ID.
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

fn tokens() -> Selection {
    let fields = format!("metadata.namespace=kube-system,type={}", token::TYPE);
    Selection { labels: None, fields: Some(fields) }
}

struct Signer {
    tokens: Cache<Secret>,
    info: Cache<ConfigMap>,
}

struct Cleaner {
    tokens: Cache<Secret>,
}

/// Start the controller that signs `cluster-info`.
pub fn start_signing(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let info = || Key::new(INFO_NAMESPACE, INFO_NAME);
    let tokens = setup.cache_selected::<Secret>(&tokens());
    setup.follow(&tokens, move |_, _, add| add(info()));
    let maps = setup.cache_selected::<ConfigMap>(&Selection::field("metadata.name", INFO_NAME));
    setup.follow(&maps, move |old, new, add| {
        if old.or(new).is_some_and(|map| map.metadata.namespace.as_deref() == Some(INFO_NAMESPACE)) {
            add(info());
        }
    });
    Ok(Arc::new(Signer { tokens, info: maps }))
}

/// Start the controller that deletes expired tokens.
pub fn start_cleaning(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let tokens = setup.cache_selected::<Secret>(&tokens());
    setup.follow(&tokens, |_, new, add| new.into_iter().for_each(|token| add(Key::of(token))));
    Ok(Arc::new(Cleaner { tokens }))
}

/// Every token that may sign has its signature there, and no other has.
fn sign(info: &ConfigMap, tokens: &[Arc<Secret>], now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let data = info.data.clone().unwrap_or_default();
    let Some(content) = data.get(KUBECONFIG) else {
        tracing::warn!("the config map {INFO_NAMESPACE}/{INFO_NAME} has no {KUBECONFIG:?} to sign");
        return plan;
    };
    let signing = tokens.iter().filter_map(|secret| token::signing(secret, now));
    let signatures: BTreeMap<String, String> = signing
        .map(|(id, key)| (format!("{SIGNATURE_PREFIX}{id}"), signature::detached(content.as_bytes(), id, key)))
        .collect();
    let mut wanted: BTreeMap<String, String> = data.clone();
    wanted.retain(|key, _| !key.starts_with(SIGNATURE_PREFIX));
    wanted.extend(signatures);
    if wanted != data {
        plan.write(Write::replace(&ConfigMap { data: Some(wanted), ..info.clone() }).or_gone());
    }
    // A token that expires signs no longer.
    if let Some(left) = tokens.iter().filter_map(|secret| token::left(secret, now)).filter(|d| !d.is_zero()).min() {
        plan.again_in(left);
    }
    plan
}

fn clean(secret: &Secret, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    match token::left(secret, now) {
        Some(Duration::ZERO) => plan.write(Write::delete(secret, None)),
        Some(left) => plan.again_in(left),
        None => {}
    }
    plan
}

#[async_trait]
impl Controller for Signer {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.info.at(key).map_or_else(Plan::nothing, |info| sign(&info, &self.tokens.list(), now)))
    }
}

#[async_trait]
impl Controller for Cleaner {
    async fn reconcile(&self, key: &Key, now: Timestamp) -> Result<Plan, Failure> {
        Ok(self.tokens.at(key).map_or_else(Plan::nothing, |secret| clean(&secret, now)))
    }
}
