//! The hashes by which revisions of a template are told apart in names and labels, digit for digit upstream's, so that
//! either manager finds what the other one made.
//!
//! Deployments and DaemonSets hash a print of the Go struct ([`print`]), StatefulSets the revision's own bytes
//! ([`patch`]). Both hold for Kubernetes 1.36: a field that another version adds to the pod template changes every
//! hash, which is why an existing revision is looked for by its content and never by its hash.
pub mod patch;

mod layout;
mod print;
mod quantity;

use k8s_openapi::api::core::v1::PodTemplateSpec;

const OFFSET_BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// FNV-1a over 32 bits.
fn fnv1a(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}

/// FNV-1 over 32 bits: multiplied first.
fn fnv1(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| hash.wrapping_mul(PRIME) ^ u32::from(*byte))
}

fn safe(sum: u32) -> String {
    apimachinery::names::safe_encode(&sum.to_string())
}

/// The value of `pod-template-hash`, and of a DaemonSet's `controller-revision-hash`; `collisions` tells apart
/// templates whose hashes met.
pub fn of_template(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let template = serde_json::to_value(template).unwrap_or_default();
    let sum = fnv1a(OFFSET_BASIS, print::pod_template(&template).as_bytes());
    let sum = match collisions {
        Some(count) => fnv1a(fnv1a(sum, &count.to_le_bytes()), &[0; 4]),
        None => sum,
    };
    safe(sum)
}

/// The hash in the name of a StatefulSet's revision, whose data is `patch`.
pub fn of_patch(patch: &str, collisions: i32) -> String {
    safe(fnv1(fnv1(OFFSET_BASIS, patch.as_bytes()), collisions.to_string().as_bytes()))
}

#[cfg(test)]
mod tests;
