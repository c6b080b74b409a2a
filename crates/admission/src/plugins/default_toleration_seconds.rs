//! `DefaultTolerationSeconds`: pods stay five minutes on a node that is not ready or unreachable.
use crate::{Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Toleration};

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;
const NO_EXECUTE: &str = "NoExecute";

pub(crate) struct DefaultTolerationSeconds;

fn empty_or(value: Option<&String>, wanted: &str) -> bool {
    value.is_none_or(|v| v.is_empty() || v == wanted)
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "pods") && request.subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(spec) = request.typed_mut::<Pod>().and_then(|p| p.spec.as_mut()) else { return Ok(()) };
        let tolerations = spec.tolerations.get_or_insert_default();
        let missing = KEYS.map(|key| {
            let covers = |t: &Toleration| empty_or(t.key.as_ref(), key) && empty_or(t.effect.as_ref(), NO_EXECUTE);
            (key, !tolerations.iter().any(covers))
        });
        for (key, _) in missing.into_iter().filter(|(_, missing)| *missing) {
            tolerations.push(Toleration {
                key: Some(key.into()),
                operator: Some("Exists".into()),
                effect: Some(NO_EXECUTE.into()),
                toleration_seconds: Some(SECONDS),
                value: None,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ask;
    use serde_json::{Value, json};

    async fn tolerations(given: Value) -> Vec<(String, Option<i64>)> {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [], "tolerations": given}});
        let pod: Pod = Ask::create("", "pods", pod).result(&DefaultTolerationSeconds).await.expect("admitted");
        let list = pod.spec.and_then(|s| s.tolerations).expect("tolerations");
        list.into_iter().map(|t| (t.key.unwrap_or_default(), t.toleration_seconds)).collect()
    }

    #[tokio::test]
    async fn missing_ones_are_added() {
        let own = |key: &str, seconds| (key.to_owned(), seconds);
        assert_eq!(tolerations(json!([])).await, [own(KEYS[0], Some(300)), own(KEYS[1], Some(300))]);
        let given = json!([{"key": KEYS[1], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
        assert_eq!(tolerations(given).await, [own(KEYS[1], Some(5)), own(KEYS[0], Some(300))]);
        assert_eq!(tolerations(json!([{"operator": "Exists"}])).await, [own("", None)]);
    }
}
