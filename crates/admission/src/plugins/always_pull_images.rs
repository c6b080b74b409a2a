//! `AlwaysPullImages`: every container of a new pod pulls, so that nobody runs a private image they may not pull.
use crate::{Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

pub(crate) struct AlwaysPullImages;

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "pods") && matches!(request.subresource, "" | "ephemeralcontainers")
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(spec) = request.typed_mut::<Pod>().and_then(|p| p.spec.as_mut()) else { return Ok(()) };
        let always = || Some("Always".to_owned());
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            container.image_pull_policy = always();
        }
        for container in spec.ephemeral_containers.iter_mut().flatten() {
            container.image_pull_policy = always();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ask;
    use serde_json::json;

    #[tokio::test]
    async fn all_containers_pull() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "imagePullPolicy": "Never"}],
            "initContainers": [{"name": "i"}]}});
        let pod: Pod = Ask::create("", "pods", pod).result(&AlwaysPullImages).await.expect("admitted");
        let spec = pod.spec.expect("spec");
        assert_eq!(spec.containers[0].image_pull_policy.as_deref(), Some("Always"));
        assert_eq!(spec.init_containers.expect("init")[0].image_pull_policy.as_deref(), Some("Always"));
    }
}
