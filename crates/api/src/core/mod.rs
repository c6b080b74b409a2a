//! The core group, `v1`.
pub mod config_map;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod taints;
pub mod volume_defaults;
