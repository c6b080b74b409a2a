//! What may change in a pod that exists.
use k8s_openapi::api::core::v1::{Container, Pod};

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
