//! `RuntimeClass`: a pod's overhead and node constraints come from its runtime class.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::{core::v1::Pod, node::v1::RuntimeClass};
use std::sync::Arc;
use storage::Lookup;

pub(crate) struct RuntimeClasses {
    lookup: Arc<dyn Lookup>,
}

impl RuntimeClasses {
    pub fn new(config: &Config) -> Self {
        RuntimeClasses { lookup: Arc::clone(&config.lookup) }
    }

    fn class(&self, request: &Request<'_>) -> Result<Option<RuntimeClass>, ApiError> {
        let spec = request.typed::<Pod>().and_then(|p| p.spec.as_ref());
        let Some(name) = spec.and_then(|s| s.runtime_class_name.as_deref()) else { return Ok(None) };
        let found = crate::lookup::get(&*self.lookup, "runtimeclasses", "", name);
        found.map(Some).ok_or_else(|| request.forbidden(format!("pod rejected: RuntimeClass {name:?} not found")))
    }
}

#[async_trait]
impl Plugin for RuntimeClasses {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "pods") && request.subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(class) = self.class(request)? else { return Ok(()) };
        let overhead = class.overhead.and_then(|o| o.pod_fixed);
        let spec = request.typed::<Pod>().and_then(|p| p.spec.as_ref());
        let given = spec.and_then(|s| s.overhead.as_ref()).filter(|o| !o.is_empty());
        if overhead.is_some() && given.is_some() && given != overhead.as_ref() {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(request.forbidden(why));
        }
        let scheduling = class.scheduling.unwrap_or_default();
        let selector = scheduling.node_selector.unwrap_or_default();
        let chosen = spec.and_then(|s| s.node_selector.as_ref());
        let conflict = selector.iter().find_map(|(key, value)| {
            let other = chosen?.get(key).filter(|v| *v != value)?;
            Some(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {other}"
            ))
        });
        if let Some(conflict) = conflict {
            return Err(request.forbidden(conflict));
        }
        let Some(spec) = request.typed_mut::<Pod>().and_then(|p| p.spec.as_mut()) else { return Ok(()) };
        if overhead.is_some() {
            spec.overhead = overhead;
        }
        if !selector.is_empty() {
            spec.node_selector.get_or_insert_default().extend(selector);
        }
        for toleration in scheduling.tolerations.unwrap_or_default() {
            let all = spec.tolerations.get_or_insert_default();
            if !all.contains(&toleration) {
                all.push(toleration);
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let overhead = self.class(request)?.and_then(|c| c.overhead?.pod_fixed);
        let spec = request.typed::<Pod>().and_then(|p| p.spec.as_ref());
        match (overhead, spec.and_then(|s| s.overhead.as_ref()).filter(|o| !o.is_empty())) {
            (None, Some(_)) => {
                Err(request
                    .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
            }
            (Some(of_class), of_pod) if of_pod != Some(&of_class) => {
                let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
                Err(request.forbidden(why))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::{Value, json};

    fn pod(mut spec: Value) -> Ask<Pod> {
        spec["containers"] = json!([]);
        Ask::create("", "pods", json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}))
    }

    #[tokio::test]
    async fn overhead_and_scheduling_are_taken_over() {
        let class = json!({"metadata": {"name": "kata"}, "handler": "kata",
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"kata": "yes"}, "tolerations": [{"key": "kata", "operator": "Exists"}]}});
        let cluster = Cluster::default().with("runtimeclasses", class);
        let plugin = RuntimeClasses::new(&cluster.config());
        let spec =
            pod(json!({"runtimeClassName": "kata"})).result(&plugin).await.expect("admitted").spec.expect("spec");
        assert_eq!(spec.overhead.expect("overhead")["cpu"].0, "250m");
        assert_eq!(spec.node_selector.expect("selector")["kata"], "yes");
        assert_eq!(spec.tolerations.expect("tolerations").len(), 1);
        for (spec, want) in [
            (json!({"runtimeClassName": "x"}), "pod rejected: RuntimeClass \"x\" not found"),
            (json!({"overhead": {"cpu": "1"}}), "Pod Overhead set without corresponding RuntimeClass"),
            (json!({"runtimeClassName": "kata", "overhead": {"cpu": "1"}}), "doesn't match RuntimeClass's"),
            (
                json!({"runtimeClassName": "kata", "nodeSelector": {"kata": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no",
            ),
        ] {
            let text = pod(spec).refusal(&plugin).await;
            assert!(text.contains(want), "{text}");
        }
        pod(json!({})).run(&plugin).await.expect("no class");
    }
}
