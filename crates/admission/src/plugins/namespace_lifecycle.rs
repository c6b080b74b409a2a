//! `NamespaceLifecycle`: nothing new in a namespace that is ending or does not exist; three namespaces never end.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::{
    ApiError,
    status::{Cause, On},
};
use async_trait::async_trait;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use storage::Lookup;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// The caches may lag behind a namespace that was created a moment ago.
const MISSING_WAIT: Duration = Duration::from_millis(50);
const MISSING_POLL: Duration = Duration::from_millis(5);

pub(crate) struct NamespaceLifecycle {
    lookup: Arc<dyn Lookup>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

impl NamespaceLifecycle {
    pub fn new(config: &Config) -> Self {
        NamespaceLifecycle { lookup: Arc::clone(&config.lookup) }
    }

    async fn find(&self, name: &str) -> Option<Namespace> {
        let deadline = tokio::time::Instant::now() + MISSING_WAIT;
        loop {
            if let Some(found) = crate::lookup::get(&*self.lookup, "namespaces", "", name) {
                return Some(found);
            }
            if tokio::time::Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(MISSING_POLL).await;
        }
    }
}

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        let namespaces = request.is("", "namespaces");
        match request.operation {
            Operation::Delete => namespaces && request.subresource.is_empty(),
            // Asking whether one may is no content.
            _ => !namespaces && !request.namespace.is_empty() && request.resource != "localsubjectaccessreviews",
        }
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.operation == Operation::Delete {
            if IMMORTAL.contains(&request.name) {
                return Err(request.forbidden("this namespace may not be deleted"));
            }
            return Ok(());
        }
        let name = request.namespace;
        let Some(namespace) = self.find(name).await else {
            return Err(ApiError::not_found(On { group: "", resource: "namespaces" }, name));
        };
        if request.operation != Operation::Create || namespace.status.phase != "Terminating" {
            return Ok(());
        }
        let mut error = request
            .forbidden(format!("unable to create new content in namespace {name} because it is being terminated"));
        if let Some(details) = &mut error.details {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {name} is being terminated"),
                field: "metadata.namespace".into(),
            });
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use k8s_openapi::api::core::v1;
    use serde_json::json;

    fn plugin() -> NamespaceLifecycle {
        let cluster = Cluster::default()
            .with("namespaces", json!({"metadata": {"name": "live"}, "status": {"phase": "Active"}}))
            .with("namespaces", json!({"metadata": {"name": "dying"}, "status": {"phase": "Terminating"}}));
        NamespaceLifecycle::new(&cluster.config())
    }

    fn create(namespace: &str) -> Ask<v1::ConfigMap> {
        Ask::create("", "configmaps", json!({"metadata": {"name": "c", "namespace": namespace}}))
    }

    #[tokio::test(start_paused = true)]
    async fn content_needs_a_living_namespace() {
        let plugin = plugin();
        create("live").result(&plugin).await.expect("admitted");
        let error = create("dying").run(&plugin).await.expect_err("ending");
        assert_eq!(
            error.message,
            "configmaps \"c\" is forbidden: unable to create new content in namespace dying because it is being terminated"
        );
        let details = error.details.expect("details");
        assert_eq!(details.causes[0].reason, "NamespaceTerminating");
        assert_eq!(details.causes[0].message, "namespace dying is being terminated");
        let error = create("none").run(&plugin).await.expect_err("missing");
        assert_eq!((error.code, error.message.as_str()), (404, "namespaces \"none\" not found"));
        let same = json!({"metadata": {"name": "c", "namespace": "dying"}});
        let mut update: Ask<v1::ConfigMap> = Ask::update("", "configmaps", same.clone(), same);
        update.run(&plugin).await.expect("updates go on");
    }

    #[tokio::test]
    async fn three_namespaces_are_immortal() {
        let plugin = plugin();
        let delete = |name: &str| Ask::<v1::Namespace>::delete("", "namespaces", json!({"metadata": {"name": name}}));
        for name in IMMORTAL {
            let want = format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
            assert_eq!(delete(name).refusal(&plugin).await, want);
        }
        delete("live").run(&plugin).await.expect("may go");
    }
}
