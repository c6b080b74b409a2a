//! `autoscaling`: `v2` is stored, `v1` is shown from it.
mod conversion;
pub mod horizontal_pod_autoscaler;
