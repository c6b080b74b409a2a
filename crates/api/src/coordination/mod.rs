//! `coordination.k8s.io/v1`: who holds what.
pub mod lease;
