//! `node.k8s.io/v1`: how containers are run.
pub mod runtime_class;
