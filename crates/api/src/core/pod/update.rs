//! What may change in a pod that exists.
//!
//! Source: `ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate`, `ValidatePodResize`.
use crate::difference;
use apimachinery::field::{Error, ErrorList, Path};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
    set to 1 if it was previously negative)";

/// The `resize` endpoint changes resources and resize policies only.
pub fn keep_all_but_resources(new: &mut Pod, old: &Pod) {
    let asked = new.spec.take().unwrap_or_default();
    *new = Pod { metadata: std::mem::take(&mut new.metadata), ..old.clone() };
    let Some(spec) = &mut new.spec else { return };
    let copy = |to: &mut [Container], from: Vec<Container>| {
        for asked in from {
            if let Some(container) = to.iter_mut().find(|c| c.name == asked.name) {
                container.resources = asked.resources;
                container.resize_policy = asked.resize_policy;
            }
        }
    };
    copy(&mut spec.containers, asked.containers);
    copy(spec.init_containers.as_deref_mut().unwrap_or_default(), asked.init_containers.unwrap_or_default());
}

/// The `ephemeralcontainers` endpoint changes nothing else.
pub fn keep_all_but_ephemeral(new: &mut Pod, old: &Pod) {
    let ephemeral = new.spec.as_mut().and_then(|s| s.ephemeral_containers.take());
    *new = Pod { metadata: std::mem::take(&mut new.metadata), ..old.clone() };
    new.spec.get_or_insert_default().ephemeral_containers = ephemeral;
}

/// A main update.
pub fn validate(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else { return };
    if spec == before {
        return;
    }
    let path = Path::new("spec");
    if spec.containers.len() != before.containers.len() {
        let detail = "pod updates may not add or remove containers";
        errors.push(Error::forbidden(&path.child("containers"), detail));
        return;
    }
    let count = |s: &PodSpec| s.init_containers.as_ref().map_or(0, Vec::len);
    if count(spec) != count(before) {
        let detail = "pod updates may not add or remove containers";
        errors.push(Error::forbidden(&path.child("initContainers"), detail));
        return;
    }
    deadline(spec, before, &path, errors);
    gates(spec, before, &path, errors);
    tolerations(spec, before, &path, errors);
    let mut allowed = spec.clone();
    put_back(&mut allowed, before);
    if allowed != *before {
        let difference = difference::text(&allowed, before);
        errors.push(Error::forbidden(
            &path,
            format!("pod updates may not change fields other than {MAY_CHANGE}\n{difference}"),
        ));
    }
}

/// Undoes the changes that are allowed.
fn put_back(new: &mut PodSpec, old: &PodSpec) {
    for (container, before) in new.containers.iter_mut().zip(&old.containers) {
        container.image.clone_from(&before.image);
    }
    let init = new.init_containers.iter_mut().flatten().zip(old.init_containers.iter().flatten());
    for (container, before) in init {
        container.image.clone_from(&before.image);
    }
    new.active_deadline_seconds = old.active_deadline_seconds;
    let gated = old.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty());
    new.scheduling_gates.clone_from(&old.scheduling_gates);
    new.tolerations.clone_from(&old.tolerations);
    if new.termination_grace_period_seconds == Some(1) && old.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        new.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    // A pod the scheduler does not look at yet may ask for less choice.
    if gated {
        if adds_only(new, old) {
            new.node_selector.clone_from(&old.node_selector);
        }
        let node_affinity = old.affinity.as_ref().and_then(|a| a.node_affinity.clone());
        if let Some(affinity) = &mut new.affinity {
            affinity.node_affinity = node_affinity;
        }
        let only_node = new.affinity.as_ref().is_some_and(|a| *a == Default::default());
        if only_node && old.affinity.is_none() {
            new.affinity = None;
        }
    }
}

fn adds_only(new: &PodSpec, old: &PodSpec) -> bool {
    let after = new.node_selector.as_ref();
    old.node_selector.iter().flatten().all(|(k, v)| after.and_then(|a| a.get(k)) == Some(v))
}

fn deadline(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let at = || path.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(now), Some(before)) if now > before => {
            errors.push(Error::invalid(&at(), now, "must be less than or equal to previous value"));
        }
        (None, Some(before)) => {
            errors.push(Error::invalid(&at(), before, "must not update from a positive integer to nil value"));
        }
        _ => {}
    }
}

fn gates(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let before = old.scheduling_gates.as_deref().unwrap_or_default();
    for gate in new.scheduling_gates.iter().flatten() {
        if !before.contains(gate) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.push(Error::forbidden(&path.child("schedulingGates"), detail));
        }
    }
}

fn tolerations(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let after = new.tolerations.as_deref().unwrap_or_default();
    let same = |a: &Toleration, b: &Toleration| {
        a.key == b.key && a.operator == b.operator && a.value == b.value && a.effect == b.effect
    };
    let kept = |before: &Toleration| after.iter().any(|t| same(t, before));
    if !old.tolerations.iter().flatten().all(kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(&path.child("tolerations"), detail));
    }
}

/// Ephemeral containers are added, never changed or taken away.
pub fn validate_ephemeral(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    let path = Path::new("spec").child("ephemeralContainers");
    let after = new.spec.as_ref().and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or_default();
    for before in old.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten()) {
        match after.iter().find(|c| c.name == before.name) {
            None => {
                let detail = format!("existing ephemeral containers {:?} may not be removed\n", before.name);
                errors.push(Error::forbidden(&path, detail));
            }
            Some(now) if now != before => {
                let difference = difference::text(now, before);
                let detail =
                    format!("existing ephemeral containers {:?} may not be changed\n{difference}", before.name);
                errors.push(Error::forbidden(&path, detail));
            }
            Some(_) => {}
        }
    }
}

/// Only cpu and memory, and never the quality of service.
pub fn validate_resize(new: &Pod, old: &Pod, errors: &mut ErrorList) {
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else { return };
    let path = Path::new("spec");
    if super::status::qos_class(spec) != super::status::qos_class(before) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&path, super::status::qos_class(spec), detail));
    }
    for (i, (container, before)) in spec.containers.iter().zip(&before.containers).enumerate() {
        let others = |c: &Container| {
            let mut resources = c.resources.clone().unwrap_or_default();
            for list in [&mut resources.limits, &mut resources.requests].into_iter().flatten() {
                list.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
            }
            resources
        };
        let (after, before) = (others(container), others(before));
        let empty = |list: &Option<crate::amounts::ResourceList>| list.clone().unwrap_or_default();
        if empty(&after.limits) != empty(&before.limits) || empty(&after.requests) != empty(&before.requests) {
            let detail = "only cpu and memory resources are mutable";
            errors.push(Error::forbidden(&path.child("containers").index(i).child("resources"), detail));
        }
    }
}
