//! All built-in kinds.
use crate::{kind::Erased, resource::Resource};
use k8s_openapi::api::{apps::v1 as apps, batch::v1 as batch, core::v1 as core};
use std::sync::Arc;

/// One line a kind.
pub const ALL: &[fn() -> Arc<dyn Resource>] = &[
    Erased::<core::ConfigMap>::resource,
    Erased::<core::Endpoints>::resource,
    Erased::<core::Event>::resource,
    Erased::<core::LimitRange>::resource,
    Erased::<core::Namespace>::resource,
    Erased::<core::Node>::resource,
    Erased::<core::PersistentVolume>::resource,
    Erased::<core::PersistentVolumeClaim>::resource,
    Erased::<core::Pod>::resource,
    Erased::<core::PodTemplate>::resource,
    Erased::<core::ReplicationController>::resource,
    Erased::<core::ResourceQuota>::resource,
    Erased::<core::Secret>::resource,
    Erased::<core::Service>::resource,
    Erased::<core::ServiceAccount>::resource,
    Erased::<apps::ControllerRevision>::resource,
    Erased::<apps::DaemonSet>::resource,
    Erased::<apps::Deployment>::resource,
    Erased::<apps::ReplicaSet>::resource,
    Erased::<apps::StatefulSet>::resource,
    Erased::<batch::CronJob>::resource,
    Erased::<batch::Job>::resource,
];

/// All built-in resources.
pub fn registry() -> Vec<Arc<dyn Resource>> {
    ALL.iter().map(|make| make()).collect()
}
