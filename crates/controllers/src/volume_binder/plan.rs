//! What is to be done about a claim, and about a volume.
//!
//! Binding is a chain of writes, each of which is done when it is found missing: the volume names the claim, the claim
//! names the volume, both say that they are bound.
use super::{
    matching::{self, is_reserved},
    reclaim::PROVISIONED_BY,
    volume_of,
};
use crate::runtime::{Plan, Write};
use client::events::reference;
use k8s_openapi::api::{
    core::v1::{
        ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, PersistentVolumeStatus,
    },
    storage::v1::StorageClass,
};
use kube::core::ObjectMeta;
use std::sync::Arc;

/// Both sides of the binding are written.
const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// We, and not a user, chose the other side.
const BY_US: &str = "pv.kubernetes.io/bound-by-controller";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONERS: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// Provisioners that upstream had built in; none of them is left.
const BUILT_IN: &str = "kubernetes.io/";

fn has(meta: &ObjectMeta, annotation: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|all| all.contains_key(annotation))
}

fn set(meta: &mut ObjectMeta, annotation: &str) {
    meta.annotations.get_or_insert_default().insert(annotation.to_owned(), "yes".to_owned());
}

/// What to do about a claim.
pub fn claim(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>], class: Option<&StorageClass>) -> Plan {
    let mut plan = Plan::nothing();
    let named = |name: &str| volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name));
    if has(&claim.metadata, COMPLETED) {
        keep(&mut plan, claim, volume_of(claim).map(named));
        return plan;
    }
    let Some(name) = volume_of(claim) else {
        find(&mut plan, claim, volumes, class);
        return plan;
    };
    let about = reference(claim);
    match named(name) {
        None => pending(&mut plan, claim),
        Some(volume) if is_reserved(volume, claim) => bind(&mut plan, volume, claim),
        Some(volume) if volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none()) => {
            match matching::mismatch(volume, claim) {
                None => bind(&mut plan, volume, claim),
                Some(why) => {
                    let message = format!("Cannot bind to requested volume {name:?}: {why}");
                    plan.warning(&about, "VolumeMismatch", message);
                    pending(&mut plan, claim);
                }
            }
        }
        Some(_) => {
            plan.warning(&about, "FailedBinding", format!("volume {name:?} already bound to a different claim."));
            pending(&mut plan, claim);
        }
    }
    plan
}

/// A claim that was bound stays so, or has lost its volume for good.
fn keep(plan: &mut Plan, claim: &PersistentVolumeClaim, volume: Option<Option<&Arc<PersistentVolume>>>) {
    let (reason, message) = match volume {
        None => ("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"),
        Some(None) => ("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
        Some(Some(volume)) => {
            let is_free = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none());
            if is_free || is_reserved(volume, claim) {
                return bind(plan, volume, claim);
            }
            ("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
    };
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Lost") {
        plan.warning(&reference(claim), reason, message);
        let status = PersistentVolumeClaimStatus {
            phase: Some("Lost".to_owned()),
            access_modes: None,
            capacity: None,
            ..claim.status.clone().unwrap_or_default()
        };
        plan.write(write_claim_status(claim, status));
    }
}

/// Choose a volume, or say why there is none.
fn find(
    plan: &mut Plan,
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    class: Option<&StorageClass>,
) {
    let mode = class.and_then(|class| class.volume_binding_mode.as_deref());
    let waits = mode == Some("WaitForFirstConsumer") && !has(&claim.metadata, SELECTED_NODE);
    if let Some(volume) = matching::best(claim, volumes, waits) {
        return bind(plan, &volume, claim);
    }
    let about = reference(claim);
    let name = matching::class(claim);
    match class {
        _ if waits => {
            let message = "waiting for first consumer to be created before binding";
            plan.normal(&about, "WaitForFirstConsumer", message);
        }
        Some(class) if class.provisioner.starts_with(BUILT_IN) => {
            let message = format!("no volume plugin matched name: {}", class.provisioner);
            plan.warning(&about, "ProvisioningFailed", message);
        }
        Some(class) => ask(plan, claim, &class.provisioner),
        None if name.is_empty() => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            plan.normal(&about, "FailedBinding", message);
        }
        None => {
            let message = format!("storageclass.storage.k8s.io {name:?} not found");
            plan.warning(&about, "ProvisioningFailed", message);
        }
    }
    pending(plan, claim);
}

/// Leave the volume to an external provisioner.
fn ask(plan: &mut Plan, claim: &PersistentVolumeClaim, provisioner: &str) {
    let annotations = claim.metadata.annotations.clone().unwrap_or_default();
    if PROVISIONERS.iter().any(|name| annotations.get(*name).map(String::as_str) != Some(provisioner)) {
        let mut asked = claim.clone();
        let annotations = asked.metadata.annotations.get_or_insert_default();
        annotations.extend(PROVISIONERS.map(|name| (name.to_owned(), provisioner.to_owned())));
        plan.write(Write::replace(&asked));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
         system administrator. If volume creation is delayed, please verify that the provisioner is running and \
         correctly registered."
    );
    plan.normal(&reference(claim), "ExternalProvisioning", message);
}

fn pending(plan: &mut Plan, claim: &PersistentVolumeClaim) {
    let status = claim.status.clone().unwrap_or_default();
    if status.phase.as_deref() != Some("Pending") {
        plan.write(write_claim_status(
            claim,
            PersistentVolumeClaimStatus { phase: Some("Pending".to_owned()), ..status },
        ));
    }
}

fn write_claim_status(claim: &PersistentVolumeClaim, status: PersistentVolumeClaimStatus) -> Write {
    let (metadata, spec) = (claim.metadata.clone(), claim.spec.clone());
    Write::replace_status(&PersistentVolumeClaim { metadata, spec, status: Some(status) }).or_gone()
}

/// The next write of the chain.
fn bind(plan: &mut Plan, volume: &PersistentVolume, claim: &PersistentVolumeClaim) {
    let Some(spec) = &volume.spec else { return };
    let known = spec.claim_ref.as_ref();
    if known.is_none_or(|known| known.uid != claim.metadata.uid) {
        let mut bound = volume.clone();
        if known.is_none() {
            set(&mut bound.metadata, BY_US);
        }
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            field_path: None,
            ..reference(claim)
        };
        bound.spec.get_or_insert_default().claim_ref = Some(reference);
        return plan.write(Write::replace(&bound));
    }
    if volume_of(claim) != volume.metadata.name.as_deref() || !has(&claim.metadata, COMPLETED) {
        let mut bound = claim.clone();
        if volume_of(claim).is_none() {
            set(&mut bound.metadata, BY_US);
        }
        set(&mut bound.metadata, COMPLETED);
        bound.spec.get_or_insert_default().volume_name.clone_from(&volume.metadata.name);
        return plan.write(Write::replace(&bound));
    }
    let status = PersistentVolumeClaimStatus {
        phase: Some("Bound".to_owned()),
        access_modes: spec.access_modes.clone(),
        capacity: match &claim.status {
            // Of a bound claim it may have grown.
            Some(status) if status.phase.as_deref() == Some("Bound") => status.capacity.clone(),
            _ => spec.capacity.clone(),
        },
        ..claim.status.clone().unwrap_or_default()
    };
    if Some(&status) != claim.status.as_ref() {
        plan.write(write_claim_status(claim, status));
    }
}

/// What there is to do about a volume.
pub enum OfVolume {
    Plan(Plan),
    /// Its claim is gone, and the volume says so: what follows is up to its reclaim policy.
    Reclaim,
}

/// What to do about a volume whose reference names `claim`, if there is such a claim.
pub fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> OfVolume {
    let mut plan = Plan::nothing();
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let uid = reference.and_then(|reference| reference.uid.as_ref()).filter(|uid| !uid.is_empty());
    let known = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let Some(uid) = uid else {
        enter(&mut plan, volume, "Available", None);
        return OfVolume::Plan(plan);
    };
    let claim = claim.filter(|claim| claim.metadata.uid.as_ref() == Some(uid));
    // What was made for a claim is of no use when that has got another one.
    let is_bound_elsewhere = |claim: &PersistentVolumeClaim| {
        volume_of(claim).is_some_and(|name| volume.metadata.name.as_deref() != Some(name))
    };
    let deletes =
        volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) == Some("Delete");
    let made_for_it = deletes && has(&volume.metadata, PROVISIONED_BY);
    match claim.filter(|claim| !(made_for_it && is_bound_elsewhere(claim))) {
        None if matches!(known, "Released" | "Failed") => return OfVolume::Reclaim,
        None => drop(enter(&mut plan, volume, "Released", None)),
        Some(claim) if volume_of(claim).is_none() => {}
        Some(claim) if !is_bound_elsewhere(claim) => drop(enter(&mut plan, volume, "Bound", None)),
        Some(_) => plan.write(unbind(volume)),
    }
    OfVolume::Plan(plan)
}

/// Free a volume from its claim; one that a user reserved stays so for a claim of that name.
pub fn unbind(volume: &PersistentVolume) -> Write {
    let mut free = volume.clone();
    let by_us = free.metadata.annotations.as_mut().and_then(|all| all.remove(BY_US)).is_some();
    if let Some(spec) = &mut free.spec {
        if by_us {
            spec.claim_ref = None;
        } else if let Some(reference) = &mut spec.claim_ref {
            reference.uid = None;
        }
    }
    Write::replace(&free)
}

/// Write a volume's phase, and what the status says of it; whether that was not known.
pub fn enter(plan: &mut Plan, volume: &PersistentVolume, phase: &str, message: Option<&str>) -> bool {
    let known = volume.status.clone().unwrap_or_default();
    if known.phase.as_deref() == Some(phase) {
        return false;
    }
    let (metadata, spec) = (volume.metadata.clone(), volume.spec.clone());
    let (phase, message) = (Some(phase.to_owned()), message.map(str::to_owned));
    let status = PersistentVolumeStatus { phase, message, reason: None, ..known };
    plan.write(Write::replace_status(&PersistentVolume { metadata, spec, status: Some(status) }).or_gone());
    true
}
