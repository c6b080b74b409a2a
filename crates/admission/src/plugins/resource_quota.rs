//! `ResourceQuota`: charges what a request adds to the quotas of its namespace, or refuses it.
//!
//! Last in the chain: nothing after it may refuse. Charges to one namespace happen one after the other, each a compare
//! and swap of the quota's status; dry runs are checked and not charged.
use crate::{
    Config, Operation, Plugin, QuotaStore, Request,
    quota::{self, Charge, Usage},
};
use api::Object;
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use std::{
    any::Any,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};
use storage::Lookup;
use tokio::sync::Mutex;

const PREFIX: &str = "resourcequotas";
const ATTEMPTS: usize = 10;
/// Namespaces share this many locks.
const LOCKS: usize = 64;

pub(crate) struct ResourceQuotas {
    lookup: Arc<dyn Lookup>,
    store: Arc<dyn QuotaStore>,
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

/// What a request adds, and by which rules.
struct Addition<'a> {
    delta: Usage,
    object: &'a dyn Object,
}

impl Addition<'_> {
    /// What the quota limits and the pod does not state.
    fn unstated(&self, quota: &ResourceQuota) -> Option<String> {
        let pod = self.object.as_any().downcast_ref::<Pod>()?;
        let hard = quota.status.as_ref()?.hard.as_ref()?;
        let limited: Vec<&str> = hard.keys().map(String::as_str).collect();
        quota::unstated(pod, &limited)
    }

    fn concerns(&self, quota: &ResourceQuota) -> bool {
        quota::covers(quota, self.object.as_any())
            && (quota::charge(quota, &self.delta) != Charge::Unconcerned || self.unstated(quota).is_some())
    }
}

impl ResourceQuotas {
    pub fn new(config: &Config) -> Self {
        ResourceQuotas {
            lookup: Arc::clone(&config.lookup),
            store: Arc::clone(&config.quota),
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }

    fn lock_of(&self, namespace: &str) -> Option<&Mutex<()>> {
        let at = self.hasher.hash_one(namespace) % (LOCKS as u64);
        self.locks.get(usize::try_from(at).unwrap_or_default())
    }

    /// The quotas that limit something of the addition, and what must be written to each.
    fn plan(
        request: &Request<'_>,
        addition: &Addition<'_>,
        quotas: Vec<ResourceQuota>,
    ) -> Result<Vec<ResourceQuota>, ApiError> {
        let mut writes = Vec::new();
        for mut quota in quotas.into_iter().filter(|q| quota::covers(q, addition.object.as_any())) {
            let name = quota.metadata.name.clone().unwrap_or_default();
            if let Some(why) = addition.unstated(&quota) {
                return Err(request.forbidden(format!("failed quota: {name}: {why}")));
            }
            match quota::charge(&quota, &addition.delta) {
                Charge::Unconcerned => {}
                Charge::Refused(why) => return Err(request.forbidden(why)),
                Charge::Used(used) => {
                    let status = quota.status.get_or_insert_default();
                    status.used = Some(used.into_iter().map(|(n, q)| (n, q.to_api())).collect());
                    writes.push(quota);
                }
            }
        }
        Ok(writes)
    }

    async fn read(&self, namespace: &str, names: &[String]) -> Result<Vec<ResourceQuota>, ApiError> {
        let mut quotas = Vec::with_capacity(names.len());
        for name in names {
            if let Some(json) = self.store.get(namespace, name).await? {
                quotas.push(serde_json::from_slice(&json).map_err(ApiError::internal)?);
            }
        }
        Ok(quotas)
    }

    async fn charge(&self, request: &Request<'_>, addition: &Addition<'_>, names: &[String]) -> Result<(), ApiError> {
        let namespace = request.namespace;
        let _one_at_a_time = match self.lock_of(namespace) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        // Quotas that a lost race left uncharged; the others have been charged already.
        let mut left: Vec<String> = names.to_vec();
        for _ in 0..ATTEMPTS {
            let quotas = self.read(namespace, &left).await?;
            let writes = Self::plan(request, addition, quotas)?;
            left.clear();
            if request.dry_run {
                return Ok(());
            }
            for quota in writes {
                let name = quota.metadata.name.clone().unwrap_or_default();
                let json = serde_json::to_vec(&quota).map_err(ApiError::internal)?;
                if !self.store.replace(namespace, &name, json).await? {
                    left.push(name);
                }
            }
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(ApiError::internal(format!("resource quota evaluation timed out: {} changed too often", left.join(","))))
    }
}

#[async_trait]
impl Plugin for ResourceQuotas {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        if request.namespace.is_empty() || request.is("", "namespaces") || request.object.is_none() {
            return false;
        }
        matches!(
            (request.operation, request.group, request.resource, request.subresource),
            (Operation::Create, _, _, "")
                | (Operation::Update, "", "services" | "persistentvolumeclaims", "")
                | (Operation::Update, "", "pods", "resize")
        )
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let cached: Vec<ResourceQuota> = crate::lookup::list(&*self.lookup, PREFIX, Some(request.namespace));
        if cached.is_empty() {
            return Ok(());
        }
        let request = &*request;
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let of = |any: &dyn Any| quota::usage(request.group, request.resource, any);
        let new = of(object.as_any());
        let delta = match request.old.filter(|_| request.operation == Operation::Update) {
            Some(old) => quota::increase(&new, &of(old.as_any())),
            None => new,
        };
        if delta.is_empty() {
            return Ok(());
        }
        let addition = Addition { delta, object };
        // What no quota limits needs no read of the store.
        let concerned: Vec<String> =
            cached.into_iter().filter(|q| addition.concerns(q)).filter_map(|q| q.metadata.name).collect();
        if concerned.is_empty() {
            return Ok(());
        }
        self.charge(request, &addition, &concerned).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, json};

    fn cluster(hard: Value, used: Value) -> Cluster {
        let quota = json!({"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": hard.clone()},
            "status": {"hard": hard, "used": used}});
        Cluster::default().with("resourcequotas", quota)
    }

    fn pod(resources: Value) -> Ask<Pod> {
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        Ask::create("", "pods", json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}))
    }

    fn used(cluster: &Cluster) -> Value {
        cluster.read("resourcequotas", "ns", "q")["status"]["used"].clone()
    }

    #[tokio::test]
    async fn usage_is_charged_until_the_limit() {
        let cluster = cluster(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "0", "requests.cpu": "0"}));
        let plugin = ResourceQuotas::new(&cluster.config());
        let ask = || pod(json!({"requests": {"cpu": "300m"}}));
        ask().run(&plugin).await.expect("first");
        cluster.lose_writes(3);
        ask().run(&plugin).await.expect("second, against races");
        assert_eq!(used(&cluster), json!({"pods": "2", "requests.cpu": "600m"}));
        assert_eq!(
            ask().refusal(&plugin).await,
            "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
        );
        assert_eq!(used(&cluster), json!({"pods": "2", "requests.cpu": "600m"}));
    }

    #[tokio::test]
    async fn dry_runs_are_checked_and_not_charged() {
        let cluster = cluster(json!({"pods": "1"}), json!({"pods": "0"}));
        let plugin = ResourceQuotas::new(&cluster.config());
        let mut ask = pod(json!({}));
        ask.dry_run = true;
        ask.run(&plugin).await.expect("fits");
        assert_eq!(used(&cluster), json!({"pods": "0"}));
    }

    #[tokio::test]
    async fn compute_must_be_stated() {
        let cluster = cluster(json!({"limits.memory": "1Gi"}), json!({"limits.memory": "0"}));
        let plugin = ResourceQuotas::new(&cluster.config());
        assert_eq!(
            pod(json!({})).refusal(&plugin).await,
            "pods \"p\" is forbidden: failed quota: q: must specify limits.memory for: c"
        );
    }

    #[tokio::test]
    async fn updates_charge_the_difference() {
        let cluster = cluster(json!({"services.nodeports": "2"}), json!({"services.nodeports": "1"}));
        let plugin = ResourceQuotas::new(&cluster.config());
        let service = |ports: usize| {
            let ports: Vec<Value> = (1..=ports).map(|p| json!({ "port": p })).collect();
            json!({"metadata": {"name": "s", "namespace": "ns"}, "spec": {"type": "NodePort", "ports": ports}})
        };
        let grow = |from, to| Ask::<Service>::update("", "services", service(from), service(to));
        grow(1, 2).run(&plugin).await.expect("fits");
        assert_eq!(used(&cluster), json!({"services.nodeports": "2"}));
        assert!(grow(2, 3).refusal(&plugin).await.contains("requested: services.nodeports=1"));
        grow(2, 1).run(&plugin).await.expect("less is always allowed");
    }

    #[tokio::test]
    async fn many_at_once_never_exceed() {
        let cluster = cluster(json!({"pods": "5"}), json!({"pods": "0"}));
        let plugin = Arc::new(ResourceQuotas::new(&cluster.config()));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let plugin = Arc::clone(&plugin);
                tokio::spawn(async move { pod(json!({})).run(&*plugin).await.is_ok() })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            admitted += usize::from(task.await.expect("no panic"));
        }
        assert_eq!(admitted, 5);
        assert_eq!(used(&cluster), json!({"pods": "5"}));
    }
}
