//! `DefaultIngressClass`: an ingress that names no class gets the default one, the newest if there are several.
use super::default_storage_class::newest_default;
use crate::{Config, Operation, Plugin, Request};
use apimachinery::ApiError;
use async_trait::async_trait;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use std::sync::Arc;
use storage::Lookup;

const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

pub(crate) struct DefaultIngressClass {
    lookup: Arc<dyn Lookup>,
}

impl DefaultIngressClass {
    pub fn new(config: &Config) -> Self {
        DefaultIngressClass { lookup: Arc::clone(&config.lookup) }
    }
}

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        request.is("networking.k8s.io", "ingresses") && request.subresource.is_empty()
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let Some(ingress) = request.typed_mut::<Ingress>() else { return Ok(()) };
        let annotated = ingress.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(OLD_CLASS));
        let spec = ingress.spec.get_or_insert_default();
        if annotated || spec.ingress_class_name.is_some() {
            return Ok(());
        }
        let classes: Vec<IngressClass> = crate::lookup::list(&*self.lookup, "ingressclasses", None);
        let default = newest_default(classes.iter().map(|c| &c.metadata), &[IS_DEFAULT]);
        spec.ingress_class_name = default.and_then(|m| m.name.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Cluster};
    use serde_json::json;

    #[tokio::test]
    async fn the_default_is_taken_unless_one_is_named() {
        let class = json!({"metadata": {"name": "nginx", "annotations": {IS_DEFAULT: "true"}}});
        let cluster = Cluster::default().with("ingressclasses", class);
        let plugin = DefaultIngressClass::new(&cluster.config());
        let chosen = async |value| {
            let ask = Ask::<Ingress>::create("networking.k8s.io", "ingresses", value);
            ask.result(&plugin).await.expect("admitted").spec.and_then(|s| s.ingress_class_name)
        };
        let plain = json!({"metadata": {"name": "i"}, "spec": {}});
        assert_eq!(chosen(plain).await.as_deref(), Some("nginx"));
        let annotated = json!({"metadata": {"name": "i", "annotations": {OLD_CLASS: "x"}}, "spec": {}});
        assert_eq!(chosen(annotated).await, None);
    }
}
