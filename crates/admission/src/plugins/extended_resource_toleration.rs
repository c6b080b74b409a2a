//! `ExtendedResourceToleration`: a pod that asks for an extended resource tolerates the taint of that name.
use crate::{Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use std::collections::BTreeSet;

pub(crate) struct ExtendedResourceToleration;

/// `example.com/gpu`, as opposed to native resources and `requests.` names.
fn is_extended(name: &str) -> bool {
    match name.split_once('/') {
        Some((domain, _)) => {
            domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io") && !name.starts_with("requests.")
        }
        None => false,
    }
}

#[async_trait]
impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "pods") && request.subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(spec) = request.typed_mut::<Pod>().and_then(|p| p.spec.as_mut()) else { return Ok(()) };
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let requests = containers.filter_map(|c| c.resources.as_ref()?.requests.as_ref());
        let names: BTreeSet<String> = requests.flat_map(|r| r.keys()).filter(|n| is_extended(n)).cloned().collect();
        for name in names {
            let tolerations = spec.tolerations.get_or_insert_default();
            if !tolerations.iter().any(|t| t.key.as_deref() == Some(&name) && t.operator.as_deref() == Some("Exists")) {
                let operator = Some("Exists".to_owned());
                tolerations.push(Toleration { key: Some(name), operator, ..Toleration::default() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_foreign_domains_are_extended() {
        for (name, want) in [("cpu", false), ("example.com/gpu", true), ("x.kubernetes.io/y", false)] {
            assert_eq!(is_extended(name), want, "{name}");
        }
    }
}
