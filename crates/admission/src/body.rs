//! [`Body`]: bodies of subresources, which no resource of the API server decodes, as plugins see them.
use api::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::{any::Any, fmt::Debug};

/// A k8s-openapi value (`TokenRequest`, `Eviction`, `Binding`) as the object of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Body<T>(pub T);

impl<T> Object for Body<T>
where
    T: k8s_openapi::Metadata<Ty = ObjectMeta> + Serialize + Clone + Debug + Send + Sync + 'static,
{
    fn metadata(&self) -> &ObjectMeta {
        self.0.metadata()
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        self.0.metadata_mut()
    }

    fn to_json(&self) -> Vec<u8> {
        // Maps have string keys: serialising cannot fail.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        &mut self.0
    }

    fn clone_box(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}
