//! `resource.k8s.io/v1`: devices that pods ask for.
pub mod device_class;
mod request;
pub mod resource_claim;
pub mod resource_claim_template;
pub mod resource_slice;

/// The group's name.
const GROUP: &str = "resource.k8s.io";
