//! `Priority`: the number behind a pod's priority class, and only one default class.
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::{core::v1::Pod, scheduling::v1::PriorityClass};
use parking_lot::Mutex;
use std::sync::Arc;
use storage::{Lookup, Revision};

const PREFIX: &str = "priorityclasses";
const PREEMPT_LOWER_PRIORITY: &str = "PreemptLowerPriority";
/// The classes every cluster has, also in the moment before they are stored.
const SYSTEM: [(&str, i32); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    name: String,
    value: i32,
    preemption_policy: String,
}

impl From<PriorityClass> for Class {
    fn from(class: PriorityClass) -> Self {
        Class {
            name: class.metadata.name.unwrap_or_default(),
            value: class.value.unwrap_or_default(),
            preemption_policy: class.preemption_policy.unwrap_or_else(|| PREEMPT_LOWER_PRIORITY.into()),
        }
    }
}

pub(crate) struct Priority {
    lookup: Arc<dyn Lookup>,
    /// The default class as of a version of the classes.
    default: Mutex<Option<(Revision, Option<Class>)>>,
}

impl Priority {
    pub fn new(config: &Config) -> Self {
        Priority { lookup: Arc::clone(&config.lookup), default: Mutex::new(None) }
    }

    /// The global default; of several the one with the lowest value.
    fn default_class(&self) -> Option<Class> {
        let version = self.lookup.version(PREFIX);
        let mut known = self.default.lock();
        if let Some((at, class)) = &*known
            && *at == version
        {
            return class.clone();
        }
        let all: Vec<PriorityClass> = crate::lookup::list(&*self.lookup, PREFIX, None);
        let class = all.into_iter().filter(|c| c.global_default == Some(true)).map(Class::from).min_by_key(|c| c.value);
        *known = Some((version, class.clone()));
        class
    }

    fn class(&self, name: &str) -> Option<Class> {
        if let Some(found) = crate::lookup::get::<PriorityClass>(&*self.lookup, PREFIX, "", name) {
            return Some(found.into());
        }
        let (name, value) = SYSTEM.into_iter().find(|(n, _)| *n == name)?;
        Some(Class { name: name.into(), value, preemption_policy: PREEMPT_LOWER_PRIORITY.into() })
    }

    fn admit_new(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(spec) = request.typed::<Pod>().and_then(|p| p.spec.as_ref()) else { return Ok(()) };
        let class = match spec.priority_class_name.as_deref().unwrap_or_default() {
            "" => self.default_class().unwrap_or_else(|| Class {
                name: String::new(),
                value: 0,
                preemption_policy: PREEMPT_LOWER_PRIORITY.into(),
            }),
            name => self
                .class(name)
                .ok_or_else(|| request.forbidden(format!("no PriorityClass with name {name} was found")))?,
        };
        if let Some(given) = spec.priority.filter(|p| *p != class.value) {
            return Err(request.forbidden(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
                 computed {} from the given PriorityClass name",
                class.value
            )));
        }
        if let Some(given) = spec.preemption_policy.as_deref().filter(|p| *p != class.preemption_policy) {
            return Err(request.forbidden(format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {} from the given PriorityClass name",
                class.preemption_policy
            )));
        }
        if let Some(spec) = request.typed_mut::<Pod>().and_then(|p| p.spec.as_mut()) {
            spec.priority = Some(class.value);
            spec.preemption_policy = Some(class.preemption_policy);
            spec.priority_class_name = Some(class.name).filter(|n| !n.is_empty());
        }
        Ok(())
    }

    /// Only one class may be the default.
    fn check_class(&self, request: &Request<'_>) -> Result<(), ApiError> {
        let Some(class) = request.typed::<PriorityClass>().filter(|c| c.global_default == Some(true)) else {
            return Ok(());
        };
        match self.default_class() {
            Some(other) if Some(&other.name) != class.metadata.name.as_ref() => Err(request.forbidden(format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name
            ))),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.subresource.is_empty() && (request.is("", "pods") || request.is("scheduling.k8s.io", "priorityclasses"))
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if !request.is("", "pods") {
            return Ok(());
        }
        if request.operation == Operation::Create {
            return self.admit_new(request);
        }
        // Clients that do not know the fields send updates without them.
        let old = request.typed_old::<Pod>().and_then(|p| p.spec.as_ref());
        let (priority, policy) = old.map(|s| (s.priority, s.preemption_policy.clone())).unwrap_or_default();
        if let Some(spec) = request.typed_mut::<Pod>().and_then(|p| p.spec.as_mut()) {
            spec.priority = spec.priority.or(priority);
            spec.preemption_policy = spec.preemption_policy.take().or(policy);
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        if request.is("", "pods") { Ok(()) } else { self.check_class(request) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::{Value, json};

    fn class(name: &str, value: i32, default: bool) -> Value {
        json!({"metadata": {"name": name}, "value": value, "globalDefault": default})
    }

    fn pod(spec: Value) -> Ask<Pod> {
        let mut spec = spec;
        spec["containers"] = json!([]);
        Ask::create("", "pods", json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}))
    }

    #[tokio::test]
    async fn classes_become_numbers() {
        let cluster = Cluster::default().with("priorityclasses", class("high", 1000, false));
        let plugin = Priority::new(&cluster.config());
        let spec = async |value| pod(value).result(&plugin).await.expect("admitted").spec.expect("spec");
        let got = spec(json!({})).await;
        assert_eq!((got.priority, got.priority_class_name), (Some(0), None));
        assert_eq!(got.preemption_policy.as_deref(), Some("PreemptLowerPriority"));
        assert_eq!(spec(json!({"priorityClassName": "high"})).await.priority, Some(1000));
        let got = spec(json!({"priorityClassName": "system-node-critical"})).await;
        assert_eq!(got.priority, Some(2_000_001_000));
        cluster.put("priorityclasses", &class("base", 7, true));
        let got = spec(json!({})).await;
        assert_eq!((got.priority, got.priority_class_name.as_deref()), (Some(7), Some("base")));
    }

    #[tokio::test]
    async fn refusals() {
        let cluster = Cluster::default().with("priorityclasses", class("base", 7, true));
        let plugin = Priority::new(&cluster.config());
        assert_eq!(
            pod(json!({"priorityClassName": "x"})).refusal(&plugin).await,
            "pods \"p\" is forbidden: no PriorityClass with name x was found"
        );
        assert!(pod(json!({"priority": 5})).refusal(&plugin).await.contains("the integer value of priority (5)"));
        let second = Ask::<PriorityClass>::create("scheduling.k8s.io", "priorityclasses", class("two", 1, true));
        assert_eq!(
            second.refusal(&plugin).await,
            "priorityclasses.scheduling.k8s.io \"two\" is forbidden: PriorityClass base is already marked as default. \
             Only one default can exist"
        );
        let mut same = Ask::<PriorityClass>::create("scheduling.k8s.io", "priorityclasses", class("base", 1, true));
        same.run(&plugin).await.expect("itself");
    }
}
