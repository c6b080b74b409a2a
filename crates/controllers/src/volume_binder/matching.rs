//! Which volume will do for a claim.
use crate::pods;
use apimachinery::{labels, quantity};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use std::sync::Arc;

/// Where a storage class was named before it had a field.
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The claim's storage class; empty if it wants none.
pub fn class(claim: &PersistentVolumeClaim) -> &str {
    let beta = claim.metadata.annotations.as_ref().and_then(|all| all.get(BETA_CLASS));
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    beta.or(field).map_or("", String::as_str)
}

fn class_of(volume: &PersistentVolume) -> &str {
    let beta = volume.metadata.annotations.as_ref().and_then(|all| all.get(BETA_CLASS));
    let field = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    beta.or(field).map_or("", String::as_str)
}

fn requested(claim: &PersistentVolumeClaim) -> quantity::Quantity {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    requests.and_then(|all| all.get("storage")).and_then(|size| quantity::of(size).ok()).unwrap_or_default()
}

fn capacity(volume: &PersistentVolume) -> quantity::Quantity {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity.and_then(|all| all.get("storage")).and_then(|size| quantity::of(size).ok()).unwrap_or_default()
}

fn modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

fn block(mode: Option<&String>) -> bool {
    mode.is_some_and(|mode| mode == "Block")
}

/// Why the volume will not do for a claim that asks for it by name, in upstream's words.
pub fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let spec = claim.spec.as_ref()?;
    let wanted = spec.access_modes.iter().flatten();
    if capacity(volume) < requested(claim) {
        Some("requested PV is too small")
    } else if class_of(volume) != class(claim) {
        Some("storageClassName does not match")
    } else if block(volume.spec.as_ref()?.volume_mode.as_ref()) != block(spec.volume_mode.as_ref()) {
        Some("incompatible volumeMode")
    } else if wanted.into_iter().any(|mode| !modes(volume).contains(mode)) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

/// Whether the volume's reference names the claim; a volume may name a claim that does not exist yet.
pub fn is_reserved(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    reference.is_some_and(|reference| {
        let uid = reference.uid.as_ref().filter(|uid| !uid.is_empty());
        reference.namespace == claim.metadata.namespace
            && reference.name == claim.metadata.name
            && uid.is_none_or(|uid| Some(uid) == claim.metadata.uid.as_ref())
    })
}

/// The volume that is reserved for the claim, or the best of those that are free: with the fewest access modes, then
/// the smallest. Only the former if `reserved_only`.
pub fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    reserved_only: bool,
) -> Option<Arc<PersistentVolume>> {
    let fits = |volume: &Arc<PersistentVolume>| mismatch(volume, claim).is_none();
    if let Some(reserved) = volumes.iter().find(|volume| is_reserved(volume, claim) && fits(volume)) {
        return Some(reserved.clone());
    }
    if reserved_only {
        return None;
    }
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.map(labels::from_label_selector).transpose().ok()?;
    let is_free = |volume: &&Arc<PersistentVolume>| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none())
            && volume.metadata.deletion_timestamp.is_none()
            && phase == Some("Available")
            && selector.as_ref().is_none_or(|selector| selector.matches(pods::labels(&volume.metadata)))
    };
    let free = volumes.iter().filter(is_free).filter(|volume| fits(volume));
    free.min_by(|a, b| modes(a).len().cmp(&modes(b).len()).then_with(|| capacity(a).cmp(&capacity(b)))).cloned()
}
