//! Volumes behind claims: the claim, the persistent volume it is bound to, and where that one lies on this host.
//!
//! hostPath and local persistent volumes are used in place; every other kind is refused by name.
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};

use super::host_path;
use crate::objects::Objects;
use crate::spec;

/// Why a volume cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Setting it up failed; the message does not say of which volume.
    SetUp(String),
    /// Setting up the persistent volume of that name failed.
    SetUpOf(String, String),
    /// It is not known what to set up.
    Unprocessed(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Failure::SetUp(why)
    }
}

impl Failure {
    /// The text of the `FailedMount` event about the pod's volume `name`.
    pub fn text(&self, name: &str) -> String {
        match self {
            Failure::SetUp(why) => format!("MountVolume.SetUp failed for volume \"{name}\" : {why}"),
            Failure::SetUpOf(volume, why) => format!("MountVolume.SetUp failed for volume \"{volume}\" : {why}"),
            Failure::Unprocessed(why) => format!(
                "Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], failed to \
                 process volumes=[{name}]: {why}"
            ),
        }
    }
}

/// The name of the claim behind a pod's volume, if there is one.
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    volume.ephemeral.as_ref().map(|_| format!("{}-{}", spec::name(pod), volume.name))
}

/// Where the volume behind the claim lies; checked, and given to the pod's group.
///
/// # Errors
/// Upstream's words, where upstream has some for it.
pub async fn set_up(
    objects: &Objects,
    pod: &Pod,
    volume: &Volume,
    name: &str,
    group: Option<u32>,
) -> Result<PathBuf, Failure> {
    let namespace = spec::namespace(pod);
    let unprocessed = |why: String| Failure::Unprocessed(format!("error processing PVC {namespace}/{name}: {why}"));
    let claim = objects.claim(namespace, name).await;
    let claim = claim.map_err(|e| unprocessed(format!("failed to fetch PVC from API server: {e}")))?;
    if volume.ephemeral.is_some() && !is_owner(pod, &claim) {
        let pod = format!("{namespace}/{}", spec::name(pod));
        let why = format!("PVC \"{namespace}/{name}\" was not created for pod \"{pod}\" (pod is not owner)");
        return Err(unprocessed(why));
    }
    let volume_name = bound(&claim).map_err(unprocessed)?;
    let found = objects.persistent_volume(&volume_name).await;
    let found = found.map_err(|e| unprocessed(format!("failed to fetch PV {volume_name} from API server: {e}")))?;
    belongs(&found, &claim).map_err(unprocessed)?;
    let block = mode(pod, volume, &found).map_err(Failure::Unprocessed)?;
    let read_only = volume.persistent_volume_claim.as_ref().and_then(|c| c.read_only).unwrap_or(false);
    let failed = |why: String| Failure::SetUpOf(volume_name.clone(), why);
    let spec = found.spec.as_ref();
    if let Some(host) = spec.and_then(|s| s.host_path.as_ref()) {
        host_path::check(&host.path, host.type_.as_deref().unwrap_or_default()).map_err(failed)?;
        return Ok(PathBuf::from(&host.path));
    }
    let Some(local) = spec.and_then(|s| s.local.as_ref()) else {
        return Err(failed("only hostPath and local persistent volumes are supported by this kubelet yet".into()));
    };
    let path = PathBuf::from(&local.path);
    let metadata = std::fs::metadata(&path).map_err(|_| failed(format!("path \"{}\" does not exist", local.path)))?;
    if metadata.file_type().is_block_device() != block {
        let what =
            if block { "is not a block device" } else { "is a block device; its file system is not mounted here yet" };
        return Err(failed(format!("path \"{}\" {what}", local.path)));
    }
    if let Some(group) = group.filter(|_| !block) {
        let lazy = spec::spec(pod).security_context.as_ref().and_then(|c| c.fs_group_change_policy.as_deref())
            == Some("OnRootMismatch");
        let place = path.clone();
        let given = tokio::task::spawn_blocking(move || give(&place, group, read_only, lazy)).await;
        given
            .map_err(|e| failed(e.to_string()))?
            .map_err(|e| failed(format!("applyFSGroup failed for vol {volume_name}: {e}")))?;
    }
    Ok(path)
}

fn is_owner(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == spec::uid(pod))
}

/// The name of the volume a claim is bound to.
fn bound(claim: &PersistentVolumeClaim) -> Result<String, String> {
    if claim.metadata.deletion_timestamp.is_some() {
        return Err("PVC is being deleted".into());
    }
    if claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
        return Err("PVC is not bound".into());
    }
    let name = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|name| !name.is_empty());
    name.ok_or_else(|| "PVC has empty pvc.Spec.VolumeName".into())
}

/// Whether the volume, too, is bound to the claim.
fn belongs(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let Some(reference) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    let (points, is) =
        (reference.uid.as_deref().unwrap_or_default(), claim.metadata.uid.as_deref().unwrap_or_default());
    if points != is {
        return Err(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {points} does not point to claim.UID {is}"
        ));
    }
    Ok(())
}

/// Whether the volume is a block device; it has to be used as what it is.
fn mode(pod: &Pod, volume: &Volume, found: &PersistentVolume) -> Result<bool, String> {
    let mode = found.spec.as_ref().and_then(|s| s.volume_mode.as_deref()).unwrap_or("Filesystem");
    let name = &volume.name;
    let all = || spec::spec(pod).containers.iter().chain(spec::init_containers(pod));
    let mounted = all().any(|c| c.volume_mounts.iter().flatten().any(|m| &m.name == name));
    let device = all().any(|c| c.volume_devices.iter().flatten().any(|d| &d.name == name));
    if mounted && mode != "Filesystem" {
        return Err(format!("volume {name} has volumeMode {mode}, but is specified in volumeMounts"));
    }
    if device && mode != "Block" {
        return Err(format!("volume {name} has volumeMode {mode}, but is specified in volumeDevices"));
    }
    Ok(mode == "Block")
}

/// Gives everything below `top` to `group`, readable and (unless `read_only`) writable for it; new files inherit it.
/// With `lazy`, not if `top` itself is as it should be already.
fn give(top: &Path, group: u32, read_only: bool, lazy: bool) -> io::Result<()> {
    let (files, folders) = if read_only { (0o440, 0o2550) } else { (0o660, 0o2770) };
    let own = std::fs::symlink_metadata(top)?;
    if lazy && own.gid() == group && own.mode() & folders == folders {
        return Ok(());
    }
    let mut left = vec![(top.to_owned(), own)];
    while let Some((path, metadata)) = left.pop() {
        std::os::unix::fs::lchown(&path, None, Some(group))?;
        if metadata.is_symlink() {
            continue;
        }
        let more = if metadata.is_dir() { folders } else { files };
        std::fs::set_permissions(&path, Permissions::from_mode((metadata.mode() & 0o7777) | more))?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?;
                left.push((entry.path(), entry.metadata()?));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
        serde_json::from_value(apimachinery::codec::yaml::parse(yaml).expect("yaml")).expect("an object")
    }

    #[test]
    fn what_is_bound_to_what() {
        let claim = |yaml: &str| parsed::<PersistentVolumeClaim>(yaml);
        for (yaml, want) in [
            ("{spec: {volumeName: pv1}, status: {phase: Pending}}", Err("PVC is not bound")),
            ("{spec: {}, status: {phase: Bound}}", Err("PVC has empty pvc.Spec.VolumeName")),
            (
                "{metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}, status: {phase: Bound}}",
                Err("PVC is being deleted"),
            ),
            ("{spec: {volumeName: pv1}, status: {phase: Bound}}", Ok("pv1")),
        ] {
            assert_eq!(bound(&claim(yaml)).as_deref().map_err(String::as_str), want, "{yaml}");
        }
        let mine = claim("{metadata: {uid: u1}}");
        let volume = |reference: &str| {
            parsed::<PersistentVolume>(&format!("{{metadata: {{name: pv1}}, spec: {{{reference}}}}}"))
        };
        assert_eq!(belongs(&volume("claimRef: {uid: u1}"), &mine), Ok(()));
        assert_eq!(
            belongs(&volume("claimRef: {uid: u2}"), &mine).expect_err("another's"),
            "found PV object pv1 but its pv.Spec.ClaimRef.UID u2 does not point to claim.UID u1"
        );
        assert!(belongs(&volume(""), &mine).expect_err("nobody's").contains("nil pv.Spec.ClaimRef"));
    }

    #[test]
    fn a_volume_is_used_as_what_it_is() {
        let used = |how: &str| -> Pod { parsed(&format!("spec: {{containers: [{{name: a, {how}}}]}}")) };
        let (mounts, devices) =
            ("volumeMounts: [{name: v, mountPath: /v}]", "volumeDevices: [{name: v, devicePath: /dev/v}]");
        let volume: Volume = parsed("name: v");
        for (how, of, want) in [
            (mounts, "Filesystem", Ok(false)),
            (devices, "Block", Ok(true)),
            (mounts, "Block", Err("volume v has volumeMode Block, but is specified in volumeMounts")),
            (devices, "Filesystem", Err("volume v has volumeMode Filesystem, but is specified in volumeDevices")),
        ] {
            let found = parsed(&format!("spec: {{volumeMode: {of}}}"));
            assert_eq!(mode(&used(how), &volume, &found), want.map_err(str::to_owned), "{how} {of}");
        }
    }

    #[test]
    fn everything_becomes_the_groups() {
        let dir = tempfile::tempdir().expect("a folder");
        let group = rustix::process::getegid().as_raw();
        let (file, outside) = (dir.path().join("f"), tempfile::NamedTempFile::new().expect("a file"));
        std::fs::write(&file, "").expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set");
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).expect("linked");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o7777;
        let before = mode(outside.path());
        give(dir.path(), group, false, true).expect("given");
        assert_eq!((mode(&file), mode(dir.path()) & 0o2770, mode(outside.path())), (0o660, 0o2770, before));
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set");
        give(dir.path(), group, false, true).expect("given");
        assert_eq!(mode(&file), 0o600, "the top is right already");
    }
}
