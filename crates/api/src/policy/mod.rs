//! `policy/v1`: how many pods may be missing.
pub mod pod_disruption_budget;
