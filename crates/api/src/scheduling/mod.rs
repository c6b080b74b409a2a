//! `scheduling.k8s.io/v1`: which pods go first.
pub mod priority_class;
