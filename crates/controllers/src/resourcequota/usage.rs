//! What one object uses, by quota resource name.
//!
//! Source: "Resource Quotas". Amounts are exact; what cannot be read counts as nothing.
use apimachinery::quantity::{self, Format, Quantity};
use k8s_openapi::{
    api::core::v1::{Container, PersistentVolumeClaim, Pod, Service},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use std::collections::BTreeMap;

pub type Usage = BTreeMap<String, Quantity>;
type Amounts = BTreeMap<String, ApiQuantity>;

fn one() -> Quantity {
    Quantity::from_value(1, Format::DecimalSi)
}

/// Add `more` to `usage`.
pub fn add(usage: &mut Usage, name: &str, amount: Quantity) {
    let total = match usage.get(name) {
        Some(known) => *known + amount,
        None => amount,
    };
    usage.insert(name.to_owned(), total);
}

fn read(amounts: Option<&Amounts>) -> Usage {
    let parsed =
        amounts.into_iter().flatten().filter_map(|(name, amount)| Some((name.clone(), quantity::of(amount).ok()?)));
    parsed.collect()
}

/// The larger of two amounts, each.
fn raise(usage: &mut Usage, other: Usage) {
    for (name, amount) in other {
        let larger = usage.get(&name).is_none_or(|known| *known < amount);
        if larger {
            usage.insert(name, amount);
        }
    }
}

/// What a pod needs at once: all containers and sidecars, or the largest init container if that is more.
fn total(pod: &Pod, of: impl Fn(&Container) -> Usage) -> Usage {
    let mut usage = Usage::new();
    let Some(spec) = &pod.spec else { return usage };
    let merge = |usage: &mut Usage, more: Usage| more.into_iter().for_each(|(name, amount)| add(usage, &name, amount));
    for container in &spec.containers {
        merge(&mut usage, of(container));
    }
    let (mut sidecars, mut peak) = (Usage::new(), Usage::new());
    for container in spec.init_containers.iter().flatten() {
        let mut needed = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            merge(&mut sidecars, needed);
            raise(&mut peak, sidecars.clone());
        } else {
            merge(&mut needed, sidecars.clone());
            raise(&mut peak, needed);
        }
    }
    merge(&mut usage, sidecars);
    raise(&mut usage, peak);
    merge(&mut usage, read(spec.overhead.as_ref()));
    usage
}

/// What a pod that has not ended uses.
pub fn pod(pod: &Pod) -> Usage {
    let mut usage = Usage::from([("pods".to_owned(), one())]);
    let resources = |container: &Container| container.resources.clone().unwrap_or_default();
    for (name, amount) in total(pod, |container| read(resources(container).requests.as_ref())) {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            add(&mut usage, &name, amount);
        }
        add(&mut usage, &format!("requests.{name}"), amount);
    }
    for (name, amount) in total(pod, |container| read(resources(container).limits.as_ref())) {
        add(&mut usage, &format!("limits.{name}"), amount);
    }
    usage
}

/// What a service uses.
pub fn service(service: &Service) -> Usage {
    let mut usage = Usage::from([("services".to_owned(), one())]);
    let Some(spec) = &service.spec else { return usage };
    let ports = spec.ports.as_ref().map_or(0, Vec::len);
    let ports = Quantity::from_value(i64::try_from(ports).unwrap_or(i64::MAX), Format::DecimalSi);
    match spec.type_.as_deref() {
        Some("NodePort") => add(&mut usage, "services.nodeports", ports),
        Some("LoadBalancer") => {
            add(&mut usage, "services.loadbalancers", one());
            if spec.allocate_load_balancer_node_ports != Some(false) {
                add(&mut usage, "services.nodeports", ports);
            }
        }
        _ => {}
    }
    usage
}

/// What a claim uses, in all and of its storage class.
pub fn claim(claim: &PersistentVolumeClaim) -> Usage {
    let mut usage = Usage::from([("persistentvolumeclaims".to_owned(), one())]);
    let Some(spec) = &claim.spec else { return usage };
    let storage = read(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref())).remove("storage");
    if let Some(storage) = storage {
        add(&mut usage, "requests.storage", storage);
    }
    if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
        let prefix = format!("{class}.storageclass.storage.k8s.io");
        add(&mut usage, &format!("{prefix}/persistentvolumeclaims"), one());
        if let Some(storage) = storage {
            add(&mut usage, &format!("{prefix}/requests.storage"), storage);
        }
    }
    usage
}
