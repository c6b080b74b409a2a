//! What selects pods: services and controllers (for default spreading) and disruption budgets (for preemption).
use crate::{
    objects::{LabelSelecting, MapSelecting, StringMap},
    pod::PodInfo,
};
use apimachinery::labels::{self, Selector};
use foldhash::HashMap;

/// A PodDisruptionBudget.
pub struct Budget {
    pub selector: Selector,
    pub disruptions_allowed: i32,
    /// Names of pods whose disruption is already counted.
    pub disrupted: Vec<String>,
}

type ByName<T> = HashMap<String, T>;
/// Namespace, then name.
type ByNamespace<T> = HashMap<String, ByName<T>>;

#[derive(Default)]
pub struct Selectors {
    services: ByNamespace<StringMap>,
    replication_controllers: ByNamespace<StringMap>,
    replica_sets: ByNamespace<Selector>,
    stateful_sets: ByNamespace<Selector>,
    budgets: ByNamespace<Budget>,
}

/// Which of the collections an object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorKind {
    Service,
    ReplicationController,
    ReplicaSet,
    StatefulSet,
    Budget,
}

fn put<T>(map: &mut ByNamespace<T>, namespace: &str, name: &str, value: Option<T>) {
    match value {
        Some(value) => {
            map.entry(namespace.to_owned()).or_default().insert(name.to_owned(), value);
        }
        None => {
            if let Some(names) = map.get_mut(namespace) {
                names.remove(name);
                if names.is_empty() {
                    map.remove(namespace);
                }
            }
        }
    }
}

impl Selectors {
    /// Takes over a service or a replication controller.
    pub fn set_map(&mut self, kind: SelectorKind, object: MapSelecting) {
        let map = if kind == SelectorKind::Service { &mut self.services } else { &mut self.replication_controllers };
        put(map, &object.metadata.namespace, &object.metadata.name, Some(object.spec.selector));
    }

    /// Takes over a replica set, a stateful set or a disruption budget.
    pub fn set_labels(&mut self, kind: SelectorKind, object: LabelSelecting) {
        let selector = labels::from_optional(object.spec.selector.as_ref()).unwrap_or_else(|_| Selector::nothing());
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        match kind {
            SelectorKind::Budget => {
                let disrupted = object.status.disrupted_pods.into_keys().collect();
                let budget = Budget { selector, disruptions_allowed: object.status.disruptions_allowed, disrupted };
                put(&mut self.budgets, namespace, name, Some(budget));
            }
            SelectorKind::StatefulSet => put(&mut self.stateful_sets, namespace, name, Some(selector)),
            _ => put(&mut self.replica_sets, namespace, name, Some(selector)),
        }
    }

    pub fn remove(&mut self, kind: SelectorKind, namespace: &str, name: &str) {
        match kind {
            SelectorKind::Service => put(&mut self.services, namespace, name, None),
            SelectorKind::ReplicationController => put(&mut self.replication_controllers, namespace, name, None),
            SelectorKind::ReplicaSet => put(&mut self.replica_sets, namespace, name, None),
            SelectorKind::StatefulSet => put(&mut self.stateful_sets, namespace, name, None),
            SelectorKind::Budget => put(&mut self.budgets, namespace, name, None),
        }
    }

    /// Forgets all objects of a kind.
    pub fn clear(&mut self, kind: SelectorKind) {
        match kind {
            SelectorKind::Service => self.services.clear(),
            SelectorKind::ReplicationController => self.replication_controllers.clear(),
            SelectorKind::ReplicaSet => self.replica_sets.clear(),
            SelectorKind::StatefulSet => self.stateful_sets.clear(),
            SelectorKind::Budget => self.budgets.clear(),
        }
    }

    /// The disruption budgets of a namespace.
    pub fn budgets(&self, namespace: &str) -> impl Iterator<Item = &Budget> {
        self.budgets.get(namespace).into_iter().flat_map(HashMap::values)
    }

    /// What selects the pods this one is a replica of: the conditions of its services and its controller
    /// together; `None` when there are none. Upstream's `DefaultSelector`.
    pub fn default_selector(&self, pod: &PodInfo) -> Option<Selector> {
        let namespace = &*pod.key.namespace;
        let mut equalities = StringMap::new();
        for selector in self.services.get(namespace).into_iter().flat_map(HashMap::values) {
            if !selector.is_empty() && selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v)) {
                equalities.extend(selector.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
        }
        let mut requirements = Vec::new();
        if let Some(owner) = pod.controller() {
            fn find<'a, T>(map: &'a ByNamespace<T>, namespace: &str, name: &str) -> Option<&'a T> {
                map.get(namespace)?.get(name)
            }
            let own = match owner.kind.as_str() {
                "ReplicationController" => {
                    let of_controller = find(&self.replication_controllers, namespace, &owner.name);
                    equalities.extend(of_controller.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
                    None
                }
                "ReplicaSet" => find(&self.replica_sets, namespace, &owner.name),
                "StatefulSet" => find(&self.stateful_sets, namespace, &owner.name),
                _ => None,
            };
            requirements.extend(own.into_iter().flat_map(|s| s.requirements().iter().cloned()));
        }
        if equalities.is_empty() && requirements.is_empty() {
            return None;
        }
        requirements.extend(Selector::from_labels(&equalities).requirements().iter().cloned());
        Some(Selector::from_requirements(requirements))
    }
}
