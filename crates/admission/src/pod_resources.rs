//! What a pod as a whole asks for: containers together, or the largest init container, plus overhead.
//!
//! Source: "Resource sharing within containers" (init and sidecar containers) and KEP-2837 (pod-level resources).
use apimachinery::quantity::{self, Quantity};
use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use std::collections::BTreeMap;

/// Amounts by resource name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;
type ApiAmounts = BTreeMap<String, ApiQuantity>;

/// What cannot be parsed is left out; validation of the kind reports it.
pub(crate) fn parsed(amounts: Option<&ApiAmounts>) -> Amounts {
    amounts.into_iter().flatten().filter_map(|(name, q)| Some((name.clone(), quantity::of(q).ok()?))).collect()
}

pub(crate) fn add(to: &mut Amounts, amounts: &Amounts) {
    for (name, amount) in amounts {
        match to.get_mut(name) {
            Some(sum) => *sum += *amount,
            None => {
                to.insert(name.clone(), *amount);
            }
        }
    }
}

fn raise(to: &mut Amounts, amounts: &Amounts) {
    for (name, amount) in amounts {
        match to.get_mut(name) {
            Some(max) => *max = (*max).max(*amount),
            None => {
                to.insert(name.clone(), *amount);
            }
        }
    }
}

fn total(spec: &PodSpec, of: impl Fn(&ResourceRequirements) -> Option<&ApiAmounts>) -> Amounts {
    let amounts = |c: &Container| parsed(c.resources.as_ref().and_then(&of));
    let mut sum = Amounts::new();
    for container in &spec.containers {
        add(&mut sum, &amounts(container));
    }
    let (mut sidecars, mut largest_init) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut own = amounts(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut largest_init, &own);
    }
    raise(&mut sum, &largest_init);
    // Pod-level amounts replace the sum for the resources they name.
    sum.extend(parsed(spec.resources.as_ref().and_then(of)));
    sum
}

pub(crate) fn requests(spec: &PodSpec) -> Amounts {
    let mut sum = total(spec, |r| r.requests.as_ref());
    add(&mut sum, &parsed(spec.overhead.as_ref()));
    sum
}

pub(crate) fn limits(spec: &PodSpec) -> Amounts {
    let mut sum = total(spec, |r| r.limits.as_ref());
    let overhead = parsed(spec.overhead.as_ref());
    for (name, amount) in &mut sum {
        if let Some(more) = overhead.get(name) {
            *amount += *more;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_and_sidecars() {
        let with = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [{"name": "a", "resources": with("100m")}, {"name": "b", "resources": with("200m")}],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": with("50m")},
                {"name": "big", "resources": with("1")}],
            "overhead": {"cpu": "10m"}}))
        .expect("spec");
        assert_eq!(requests(&spec)["cpu"].to_string(), "1060m");
        assert!(limits(&spec).is_empty());
        let spec = PodSpec { init_containers: None, ..spec };
        assert_eq!(requests(&spec)["cpu"].to_string(), "310m");
    }
}
