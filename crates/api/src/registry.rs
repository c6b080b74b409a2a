//! All built-in kinds.
use crate::{kind::Erased, resource::Resource};
use k8s_openapi::api::core::v1 as core;
use std::sync::Arc;

/// One line a kind.
pub const ALL: &[fn() -> Arc<dyn Resource>] = &[
    Erased::<core::ConfigMap>::resource,
    Erased::<core::Namespace>::resource,
    Erased::<core::Node>::resource,
    Erased::<core::Pod>::resource,
];

/// All built-in resources.
pub fn registry() -> Vec<Arc<dyn Resource>> {
    ALL.iter().map(|make| make()).collect()
}
