//! `TaintNodesByCondition`: a new node takes no pods until the node controller has seen it ready.
use crate::{Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Taint};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const NO_SCHEDULE: &str = "NoSchedule";

pub(crate) struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("", "nodes") && request.subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(node) = request.typed_mut::<Node>() else { return Ok(()) };
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        if !taints.iter().any(|t| t.key == NOT_READY && t.effect == NO_SCHEDULE) {
            taints.push(Taint { key: NOT_READY.into(), effect: NO_SCHEDULE.into(), ..Taint::default() });
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
    async fn new_nodes_are_tainted_once() {
        let mut node = json!({"metadata": {"name": "n"}});
        for _ in 0..2 {
            let admitted: Node = Ask::create("", "nodes", node).result(&TaintNodesByCondition).await.expect("admitted");
            node = serde_json::to_value(&admitted).expect("JSON");
            assert_eq!(node["spec"]["taints"], json!([{"key": NOT_READY, "effect": NO_SCHEDULE}]));
        }
    }
}
