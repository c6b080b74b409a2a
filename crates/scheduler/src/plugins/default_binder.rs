//! Binds pods through the `pods/binding` subresource.
use super::Args;
use crate::{
    config::Error,
    framework::{BindError, Binding, Plugin, Point},
};
use futures::future::BoxFuture;
use serde_json::json;
use std::sync::Arc;

pub const NAME: &str = "DefaultBinder";

struct DefaultBinder;

pub fn new(_: &Args<'_>) -> Result<Arc<dyn Plugin>, Error> {
    Ok(Arc::new(DefaultBinder))
}

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Bind]
    }

    fn bind<'a>(&'a self, binding: &'a Binding) -> Option<BoxFuture<'a, Result<(), BindError>>> {
        Some(Box::pin(async move {
            let key = &binding.pod.key;
            let body = json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": {"namespace": &*key.namespace, "name": &*key.name, "uid": &*binding.pod.uid},
                "target": {"kind": "Node", "name": &*binding.node},
            });
            let path = format!("/api/v1/namespaces/{}/pods/{}/binding", key.namespace, key.name);
            crate::api::post(&binding.client, &path, &body)
                .await
                .map_err(|error| BindError { plugin: NAME, message: error.to_string() })
        }))
    }
}
