//! Binds claims to volumes: the smallest free volume that will do, or the one that was chosen for the claim.
//!
//! A key without a namespace is a volume's, any other a claim's. Volumes are not made here: that is the work of external
//! provisioners, which are asked by an annotation. What a claim leaves behind is dealt with by its volume's reclaim
//! policy; files are removed here, as upstream's controller does it, for clusters of one machine.
mod matching;
mod plan;
mod reclaim;
mod recycler;
#[cfg(test)]
mod tests;

use crate::{
    Flags,
    runtime::{Controller, Failure, Plan, Setup, Write},
};
use async_trait::async_trait;
use client::{Cache, Key};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use plan::OfVolume;
use reclaim::Reclaim;
use std::{io, path::Path, sync::Arc, time::Duration};

struct VolumeBinder {
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    pods: Cache<Pod>,
    recycling: recycler::Settings,
    period: Duration,
}

/// The claim a volume is or is to be bound to.
fn claim_of(volume: &PersistentVolume) -> Option<Key> {
    let claim = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(Key::new(claim.namespace.as_deref()?, claim.name.as_deref()?))
}

/// The volume a claim is or is to be bound to.
fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Start the PersistentVolume binder.
pub fn start(setup: &mut Setup) -> Result<Arc<dyn Controller>, String> {
    let recycling = recycling(&setup.flags)?;
    let claims = setup.watch_mapped::<PersistentVolumeClaim>(|claim, add| {
        add(Key::of(claim));
        volume_of(claim).into_iter().for_each(|name| add(Key::new("", name)));
    });
    let waiting = claims.clone();
    let volumes = setup.watch_changes::<PersistentVolume>(move |old, new, add| {
        for volume in old.into_iter().chain(new) {
            add(Key::of(volume));
            claim_of(volume).into_iter().for_each(&mut *add);
        }
        // A volume that is free may be what a claim has been waiting for.
        if new.is_some_and(|volume| claim_of(volume).is_none()) {
            waiting.list().iter().filter(|claim| volume_of(claim).is_none()).for_each(|claim| add(Key::of(&**claim)));
        }
    });
    // The volume of a claim that is gone is found by its reference.
    let bound = volumes.clone();
    setup.follow(&claims, move |_, new, add| {
        if new.is_none() {
            bound.keys().into_iter().for_each(add);
        }
    });
    let waiting = claims.clone();
    let classes = setup.watch_changes::<StorageClass>(move |_, _, add| {
        waiting.list().iter().filter(|claim| volume_of(claim).is_none()).for_each(|claim| add(Key::of(&**claim)));
    });
    let pods = setup.watch_mapped::<Pod>(|pod, add| {
        let volume = pod.metadata.name.as_deref().and_then(|name| name.strip_prefix(recycler::PREFIX));
        volume.into_iter().for_each(|name| add(Key::new("", name)));
    });
    let period = setup.flags.pvclaimbinder_sync_period;
    Ok(Arc::new(VolumeBinder { claims, volumes, classes, pods, recycling, period }))
}

fn recycling(flags: &Flags) -> Result<recycler::Settings, String> {
    let template = |flag, path: Option<&Path>, minimum_s, per_gib_s| {
        let pod = match path {
            None => recycler::default_template(),
            Some(path) => recycler::parse(&crate::flags::file(flag, path)?)
                .map_err(|error| format!("--{flag}: {}: {error}", path.display()))?,
        };
        Ok::<_, String>(recycler::Template { pod, minimum_s, per_gib_s })
    };
    Ok(recycler::Settings {
        host_path: template(
            "pv-recycler-pod-template-filepath-hostpath",
            flags.pv_recycler_pod_template_filepath_hostpath.as_deref(),
            flags.pv_recycler_minimum_timeout_hostpath,
            flags.pv_recycler_timeout_increment_hostpath,
        )?,
        nfs: template(
            "pv-recycler-pod-template-filepath-nfs",
            flags.pv_recycler_pod_template_filepath_nfs.as_deref(),
            flags.pv_recycler_minimum_timeout_nfs,
            flags.pv_recycler_increment_timeout_nfs,
        )?,
    })
}

impl VolumeBinder {
    /// The pod that empties a volume.
    fn recycler(&self, volume: &str) -> Option<Arc<Pod>> {
        let pod = format!("{}{volume}", recycler::PREFIX);
        self.recycling.namespaces().into_iter().find_map(|namespace| self.pods.get(namespace, &pod))
    }

    /// The volume is gone: what still empties it has nothing left to do.
    fn forget(&self, volume: &str) -> Plan {
        let mut plan = Plan::nothing();
        let pod = self.recycler(volume).filter(|pod| recycler::is_made_here(pod, &self.recycling));
        if let Some(pod) = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            plan.write(Write::delete(&*pod, None));
        }
        plan
    }

    async fn reclaim(&self, volume: &PersistentVolume, namesake: Option<&PersistentVolumeClaim>) -> Plan {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let view = reclaim::View {
            namesake,
            pods: claim_of(volume).map(|claim| self.pods.list_in(&claim.namespace)).unwrap_or_default(),
            recycler: self.recycler(name),
            recycling: &self.recycling,
            period: self.period,
        };
        match reclaim::reclaim(volume, &view) {
            Reclaim::Plan(plan) => plan,
            Reclaim::Remove(path) => match remove(Path::new(&path)).await {
                Ok(()) => reclaim::deleted(volume),
                Err(error) => reclaim::delete_failed(volume, &format!("{path}: {error}"), self.period),
            },
        }
    }
}

/// Remove a file, or a folder with all that is in it; that there is none is as good.
async fn remove(path: &Path) -> io::Result<()> {
    let removed = match tokio::fs::symlink_metadata(path).await {
        Ok(found) if found.is_dir() => tokio::fs::remove_dir_all(path).await,
        Ok(_) => tokio::fs::remove_file(path).await,
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Controller for VolumeBinder {
    async fn reconcile(&self, key: &Key, _now: Timestamp) -> Result<Plan, Failure> {
        if key.namespace.is_empty() {
            let Some(volume) = self.volumes.at(key) else { return Ok(self.forget(&key.name)) };
            let claim = claim_of(&volume).and_then(|key| self.claims.at(&key));
            return match plan::volume(&volume, claim.as_deref()) {
                OfVolume::Plan(plan) => Ok(plan),
                OfVolume::Reclaim => Ok(self.reclaim(&volume, claim.as_deref()).await),
            };
        }
        let Some(claim) = self.claims.at(key) else { return Ok(Plan::nothing()) };
        let class = self.classes.get("", matching::class(&claim));
        Ok(plan::claim(&claim, &self.volumes.list(), class.as_deref()))
    }
}
