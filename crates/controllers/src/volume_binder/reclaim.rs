//! What becomes of a volume whose claim is gone: kept, emptied by a pod, or deleted. Pure.
//!
//! Only hostPath (and for emptying, NFS) can be dealt with here; what an external provisioner made is its own to
//! delete. Source: `reclaimVolume` and what it calls in `pkg/controller/volume/persistentvolume/pv_controller.go`.
use super::{plan, recycler};
use crate::{
    pods,
    runtime::{Plan, Write},
};
use client::events::reference;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use std::{sync::Arc, time::Duration};

/// Who made a volume for its claim.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// A volume of a built-in kind that a CSI driver looks after.
const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// Provisioners of upstream's own begin so.
const BUILT_IN: &str = "kubernetes.io/";
const HOST_PATH: &str = "kubernetes.io/host-path";

/// What there is beside the volume.
pub struct View<'a> {
    /// The claim that has the name of the gone one, if there is another of that name.
    pub namesake: Option<&'a PersistentVolumeClaim>,
    /// Pods of the claim's namespace.
    pub pods: Vec<Arc<Pod>>,
    /// The pod that empties this volume.
    pub recycler: Option<Arc<Pod>>,
    pub recycling: &'a recycler::Settings,
    /// When to look again at a volume that could not be dealt with.
    pub period: Duration,
}

/// What to do.
pub enum Reclaim {
    Plan(Plan),
    /// Remove what is at this path of this machine, then [`deleted`] or [`delete_failed`].
    Remove(String),
}

fn annotation<'a>(volume: &'a PersistentVolume, name: &str) -> Option<&'a str> {
    let value = volume.metadata.annotations.as_ref()?.get(name)?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}

/// What to do about a volume that is Released or Failed.
pub fn reclaim(volume: &PersistentVolume, view: &View<'_>) -> Reclaim {
    let Some(spec) = &volume.spec else { return Reclaim::Plan(Plan::nothing()) };
    if annotation(volume, MIGRATED_TO).is_some() {
        return Reclaim::Plan(Plan::nothing());
    }
    match spec.persistent_volume_reclaim_policy.as_deref().unwrap_or("Retain") {
        "Retain" => Reclaim::Plan(Plan::nothing()),
        "Recycle" => Reclaim::Plan(recycle(volume, view)),
        "Delete" => match deleter(volume) {
            Ok(None) => Reclaim::Plan(Plan::nothing()),
            Ok(Some(path)) if is_removable(path) => Reclaim::Remove(path.to_owned()),
            Ok(Some(path)) => {
                let why = format!("host_path deleter only supports /tmp/.+ but received provided {path}");
                Reclaim::Plan(delete_failed(volume, &why, view.period))
            }
            Err(why) => Reclaim::Plan(delete_failed(volume, &why, view.period)),
        },
        _ => {
            let message = "Volume has unrecognized PersistentVolumeReclaimPolicy";
            Reclaim::Plan(failed(volume, "VolumeUnknownReclaimPolicy", message))
        }
    }
}

/// Upstream's `/tmp/.+`, which is not tied to the beginning.
fn is_removable(path: &str) -> bool {
    path.find("/tmp/").is_some_and(|at| path.len() > at + "/tmp/".len())
}

/// The path to remove; `None`: deleting the volume is somebody else's work.
fn deleter(volume: &PersistentVolume) -> Result<Option<&str>, String> {
    let spec = volume.spec.as_ref();
    let path = spec.and_then(|spec| spec.host_path.as_ref()).map(|source| source.path.as_str());
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    match annotation(volume, PROVISIONED_BY) {
        Some(HOST_PATH) => {
            let missing =
                || format!("failed to create deleter for volume {name:?}: spec.PersistentVolumeSource.HostPath is nil");
            return path.map(Some).ok_or_else(missing);
        }
        Some(by) if by.starts_with(BUILT_IN) => return Err(format!("no volume plugin matched name: {by}")),
        Some(_) => return Ok(None),
        None if spec.is_some_and(|spec| spec.csi.is_some()) => return Ok(None),
        None => {}
    }
    let none =
        || format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched");
    path.map(Some).ok_or_else(none)
}

/// The volume's content is gone: so is the volume.
pub fn deleted(volume: &PersistentVolume) -> Plan {
    let mut plan = Plan::nothing();
    plan.write(Write::delete(volume, None));
    plan
}

/// The volume could not be deleted; that is tried again.
pub fn delete_failed(volume: &PersistentVolume, why: &str, period: Duration) -> Plan {
    let mut plan = failed(volume, "VolumeFailedDelete", why);
    plan.again_in(period);
    plan
}

/// The volume has failed: said once.
fn failed(volume: &PersistentVolume, reason: &'static str, message: &str) -> Plan {
    let mut plan = Plan::nothing();
    if plan::enter(&mut plan, volume, "Failed", Some(message)) {
        plan.warning(&reference(volume), reason, message);
    }
    plan
}

fn recycle(volume: &PersistentVolume, view: &View<'_>) -> Plan {
    let mut plan = Plan::nothing();
    let about = reference(volume);
    let users = users(volume, &view.pods);
    if !users.is_empty() && view.namesake.is_none() {
        let message = format!("Volume is used by pods: {}", users.join(","));
        plan.normal(&about, "VolumeFailedRecycle", message);
        plan.again_in(view.period);
        return plan;
    }
    let Some(wanted) = recycler::pod(volume, view.recycling) else {
        let mut plan = failed(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!");
        plan.again_in(view.period);
        return plan;
    };
    let Some(pod) = &view.recycler else {
        plan.write(Write::create(&wanted));
        return plan;
    };
    let outcome = match pods::phase(pod) {
        _ if pod.metadata.deletion_timestamp.is_some() => return plan,
        // Somebody else's, or one that was made for another volume of this name.
        _ if !recycler::is_for(pod, &wanted) => Err("old recycler pod found, will retry later".to_owned()),
        "Succeeded" => Ok(()),
        "Failed" => {
            let said = pod.status.as_ref().and_then(|status| status.message.as_deref());
            let why = said.unwrap_or("pod failed, pod.Status.Message unknown");
            Err(format!("failed to recycle volume: {why}"))
        }
        _ => return plan,
    };
    if outcome.is_ok() {
        plan.normal(&about, "VolumeRecycled", "Volume recycled");
        // Free first: a volume whose pod is gone would be emptied again.
        plan.write(plan::unbind(volume));
        plan.write(Write::delete(&**pod, None));
        return plan;
    }
    plan.write(Write::delete(&**pod, None));
    if let Err(why) = outcome {
        let mut more = failed(volume, "VolumeFailedRecycle", &format!("Recycle failed: {why}"));
        plan.steps.append(&mut more.steps);
        plan.again_in(view.period);
    }
    plan
}

/// The pods that use the volume's claim and have not ended, as `namespace/name`.
fn users(volume: &PersistentVolume, pods: &[Arc<Pod>]) -> Vec<String> {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let name = claim.and_then(|claim| claim.name.as_deref()).unwrap_or_default();
    let uses = |pod: &&Arc<Pod>| {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes
            .into_iter()
            .any(|one| one.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == name))
    };
    let mut users: Vec<String> = pods
        .iter()
        .filter(uses)
        .filter(|pod| !pods::is_terminal(pod))
        .map(|pod| client::Key::of(&**pod).to_string())
        .collect();
    users.sort();
    users
}
