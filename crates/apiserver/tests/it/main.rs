//! The API server over real TLS, through the `kube` client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod access;
mod cluster;
mod component_writes;
mod components;
mod crud;
mod deletion;
mod etcd;
mod flow_control;
mod hostile;
mod lists;
mod patches;
mod pods;
mod representations;
mod services;
mod streams;
mod watches;
mod workloads;
