//! `flowcontrol.apiserver.k8s.io/v1`: which requests are served first.
pub mod flow_schema;
pub mod priority_level_configuration;
