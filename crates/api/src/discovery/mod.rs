//! `discovery.k8s.io/v1`: what is behind a service.
pub mod endpoint_slice;
