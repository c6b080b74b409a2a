//! What a pod asks of a node.
//!
//! Source: `k8s.io/component-helpers/resource`: containers run together, init containers one after another, those
//! that restart stay on beside whatever comes after them.
use crate::{amounts, core::pod::status::is_restartable_init};
use apimachinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use std::collections::BTreeMap;

pub type Amounts = BTreeMap<String, Quantity>;

fn effective(spec: &PodSpec, list: fn(&Container) -> Option<&amounts::ResourceList>) -> Amounts {
    let mut together = Amounts::new();
    for container in &spec.containers {
        amounts::add(&mut together, list(container));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        if is_restartable_init(container) {
            amounts::add(&mut together, list(container));
            amounts::add(&mut sidecars, list(container));
            amounts::raise(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            amounts::add(&mut now, list(container));
            amounts::raise(&mut peak, &now);
        }
    }
    amounts::raise(&mut together, &peak);
    together
}

/// What the containers ask for, without pod-level resources and overhead.
pub fn containers_requests(spec: &PodSpec) -> Amounts {
    effective(spec, |c| c.resources.as_ref()?.requests.as_ref())
}

/// What must be free on a node for the pod: pod-level requests win, the overhead comes on top.
pub fn effective_requests(spec: &PodSpec) -> Amounts {
    let mut total = containers_requests(spec);
    override_with(&mut total, spec.resources.as_ref().and_then(|r| r.requests.as_ref()));
    amounts::add(&mut total, spec.overhead.as_ref());
    total
}

/// As [`effective_requests`], of the limits; overhead counts only for what is limited.
pub fn effective_limits(spec: &PodSpec) -> Amounts {
    let mut total = effective(spec, |c| c.resources.as_ref()?.limits.as_ref());
    override_with(&mut total, spec.resources.as_ref().and_then(|r| r.limits.as_ref()));
    for (name, amount) in amounts::parsed(spec.overhead.as_ref()) {
        if let Some(limit) = total.get_mut(name).filter(|l| !l.is_zero()) {
            *limit += amount;
        }
    }
    total
}

fn override_with(total: &mut Amounts, list: Option<&amounts::ResourceList>) {
    for (name, amount) in amounts::parsed(list) {
        total.insert(name.to_owned(), amount);
    }
}
