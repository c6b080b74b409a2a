//! All built-in kinds.
use crate::{kind::Erased, resource::Resource};
use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps, autoscaling::v2 as autoscaling,
    batch::v1 as batch, certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, flowcontrol::v1 as flowcontrol, networking::v1 as networking, node::v1 as node,
    policy::v1 as policy, rbac::v1 as rbac, resource::v1 as dra, scheduling::v1 as scheduling, storage::v1 as storage,
};
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
    Erased::<admissionregistration::MutatingAdmissionPolicy>::resource,
    Erased::<admissionregistration::MutatingAdmissionPolicyBinding>::resource,
    Erased::<admissionregistration::MutatingWebhookConfiguration>::resource,
    Erased::<admissionregistration::ValidatingAdmissionPolicy>::resource,
    Erased::<admissionregistration::ValidatingAdmissionPolicyBinding>::resource,
    Erased::<admissionregistration::ValidatingWebhookConfiguration>::resource,
    Erased::<autoscaling::HorizontalPodAutoscaler>::resource,
    Erased::<certificates::CertificateSigningRequest>::resource,
    Erased::<coordination::Lease>::resource,
    Erased::<discovery::EndpointSlice>::resource,
    Erased::<flowcontrol::FlowSchema>::resource,
    Erased::<flowcontrol::PriorityLevelConfiguration>::resource,
    Erased::<networking::IPAddress>::resource,
    Erased::<networking::Ingress>::resource,
    Erased::<networking::IngressClass>::resource,
    Erased::<networking::NetworkPolicy>::resource,
    Erased::<networking::ServiceCIDR>::resource,
    Erased::<node::RuntimeClass>::resource,
    Erased::<policy::PodDisruptionBudget>::resource,
    Erased::<rbac::ClusterRole>::resource,
    Erased::<rbac::ClusterRoleBinding>::resource,
    Erased::<rbac::Role>::resource,
    Erased::<rbac::RoleBinding>::resource,
    Erased::<dra::DeviceClass>::resource,
    Erased::<dra::ResourceClaim>::resource,
    Erased::<dra::ResourceClaimTemplate>::resource,
    Erased::<dra::ResourceSlice>::resource,
    Erased::<scheduling::PriorityClass>::resource,
    Erased::<storage::CSIDriver>::resource,
    Erased::<storage::CSINode>::resource,
    Erased::<storage::CSIStorageCapacity>::resource,
    Erased::<storage::StorageClass>::resource,
    Erased::<storage::VolumeAttachment>::resource,
    Erased::<storage::VolumeAttributesClass>::resource,
];

/// All built-in resources.
pub fn registry() -> Vec<Arc<dyn Resource>> {
    ALL.iter().map(|make| make()).collect()
}
