//! `DenyServiceExternalIPs`: no new `spec.externalIPs`; those already there may stay or go.
use crate::{Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Service;

pub(crate) struct DenyServiceExternalIps;

fn addresses(service: Option<&Service>) -> &[String] {
    service.and_then(|s| s.spec.as_ref()?.external_ips.as_deref()).unwrap_or_default()
}

#[async_trait]
impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "services") && request.subresource.is_empty()
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let old = addresses(request.typed_old());
        if addresses(request.typed()).iter().all(|address| old.contains(address)) {
            return Ok(());
        }
        Err(request.forbidden("Use of external IPs is denied by admission control."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ask;
    use serde_json::{Value, json};

    fn service(addresses: &[&str]) -> Value {
        json!({"metadata": {"name": "s"}, "spec": {"externalIPs": addresses}})
    }

    #[tokio::test]
    async fn only_new_ones_are_refused() {
        let plugin = DenyServiceExternalIps;
        let create = |a: &[&str]| Ask::<Service>::create("", "services", service(a));
        let update = |a: &[&str], b: &[&str]| Ask::<Service>::update("", "services", service(a), service(b));
        create(&[]).run(&plugin).await.expect("none");
        update(&["10.1.1.1", "10.1.1.2"], &["10.1.1.2"]).run(&plugin).await.expect("fewer");
        assert_eq!(
            update(&["10.1.1.1"], &["10.1.1.2"]).refusal(&plugin).await,
            "services \"s\" is forbidden: Use of external IPs is denied by admission control."
        );
        create(&["10.1.1.1"]).refusal(&plugin).await;
    }
}
