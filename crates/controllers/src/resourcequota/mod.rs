//! ResourceQuota status: what a namespace uses of what it may.
//!
//! Watches quotas and what they count. Admission does the refusing, and charges what is created; this is what it starts
//! from, and what gives back. So neither a creation nor a charge is a reason to count: the caches may not have an object
//! yet that has been charged, and what was counted then would be too little. All quotas are counted again from time to
//! time (`--resource-quota-sync-period`), as upstream does it.
mod plan;
#[cfg(test)]
mod tests;
mod usage;

use crate::{
    pods,
    runtime::{Controller, Failure, Plan, Setup},
};
use async_trait::async_trait;
use client::{Cache, Key, cache::Kept};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret, Service},
};
use kube::core::PartialObjectMeta;
use plan::View;
use std::{sync::Arc, time::Duration};

type Counter = Box<dyn Fn(&str) -> usize + Send + Sync>;

struct Quotas {
    resync: Duration,
    quotas: Cache<ResourceQuota>,
    pods: Cache<Pod>,
    services: Cache<Service>,
    claims: Cache<PersistentVolumeClaim>,
    /// By `<resource>` or `<resource>.<group>`: how many there are in a namespace.
    counters: Vec<(String, Counter)>,
}

/// Count a kind, and have its namespace's quotas looked at when one goes, or changes so that `differs`.
fn counted<K: Kept<DynamicType = ()>>(
    setup: &mut Setup,
    quotas: &Cache<ResourceQuota>,
    differs: fn(&K, &K) -> bool,
) -> (Cache<K>, (String, Counter)) {
    let all = quotas.clone();
    let cache = setup.watch_changes::<K>(move |old, new, add| {
        let Some(old) = old.filter(|old| new.is_none_or(|new| differs(old, new))) else { return };
        let namespace = old.meta().namespace.clone().unwrap_or_default();
        all.list_in(&namespace).iter().for_each(|quota| add(Key::of(&**quota)));
    });
    let (plural, group) = (K::plural(&()), K::group(&()));
    let name = if group.is_empty() { plural.into_owned() } else { format!("{plural}.{group}") };
    let counting = cache.clone();
    (cache, (name, Box::new(move |namespace| counting.list_in(namespace).len())))
}

/// Start the ResourceQuota controller.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let quotas = setup.watch_changes::<ResourceQuota>(|old, new, add| {
        if let Some(new) = new.filter(|new| old.is_none_or(|old| old.spec != new.spec)) {
            add(Key::of(new));
        }
    });
    let never = |_: &_, _: &_| false;
    let (pods, pod_count) = counted::<Pod>(setup, &quotas, |old, new| {
        pods::is_terminal(old) != pods::is_terminal(new) || old.spec != new.spec
    });
    let (services, service_count) = counted::<Service>(setup, &quotas, |old, new| old.spec != new.spec);
    let (claims, claim_count) = counted::<PersistentVolumeClaim>(setup, &quotas, |old, new| old.spec != new.spec);
    let own = quotas.clone();
    let quota_count: Counter = Box::new(move |namespace| own.list_in(namespace).len());
    let counters = vec![
        pod_count,
        service_count,
        claim_count,
        ("resourcequotas".to_owned(), quota_count),
        counted::<PartialObjectMeta<ConfigMap>>(setup, &quotas, |_, _| false).1,
        counted::<PartialObjectMeta<Secret>>(setup, &quotas, |_, _| false).1,
        counted::<ReplicationController>(setup, &quotas, never).1,
        counted::<Deployment>(setup, &quotas, |_, _| false).1,
        counted::<ReplicaSet>(setup, &quotas, |_, _| false).1,
        counted::<StatefulSet>(setup, &quotas, |_, _| false).1,
        counted::<DaemonSet>(setup, &quotas, |_, _| false).1,
        counted::<Job>(setup, &quotas, |_, _| false).1,
        counted::<CronJob>(setup, &quotas, |_, _| false).1,
    ];
    let resync = setup.flags.resource_quota_sync_period;
    Ok(Arc::new(Quotas { resync, quotas, pods, services, claims, counters }))
}

#[async_trait]
impl Controller for Quotas {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        let Some(quota) = self.quotas.at(key) else { return Ok(Plan::nothing()) };
        let namespace = &*key.namespace;
        let counts = self.counters.iter().map(|(name, count)| (name.clone(), count(namespace)));
        let mut plan = plan::plan(&View {
            quota,
            pods: self.pods.list_in(namespace),
            services: self.services.list_in(namespace),
            claims: self.claims.list_in(namespace),
            counts: counts.collect(),
        });
        plan.again_in(self.resync);
        Ok(plan)
    }
}
