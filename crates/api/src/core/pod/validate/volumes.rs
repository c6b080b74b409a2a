//! Rules for volumes, and for mounts and devices of containers that name them.
use super::{check, set, volume_sources};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{PodSpec, Volume, VolumeDevice, VolumeMount};

/// The volumes of a pod, checked.
pub struct Volumes<'a>(&'a [Volume]);

impl<'a> Volumes<'a> {
    pub fn check(spec: &'a PodSpec, path: &Path, errors: &mut ErrorList) -> Self {
        let volumes = spec.volumes.as_deref().unwrap_or_default();
        for (i, volume) in volumes.iter().enumerate() {
            let path = path.child("volumes").index(i);
            volume_sources::validate(volume, &path, errors);
            if volume.name.is_empty() {
                errors.push(Error::required(&path.child("name"), ""));
            } else {
                check(&volume.name, validation::is_dns1123_label, || path.child("name"), errors);
            }
            if volumes.iter().take(i).any(|v| v.name == volume.name) {
                errors.push(Error::duplicate(&path.child("name"), &volume.name));
            }
        }
        Volumes(volumes)
    }

    fn get(&self, name: &str) -> Option<&Volume> {
        self.0.iter().find(|v| v.name == name)
    }
}

/// A path below something: relative, and never out of it.
pub fn descending_path(value: &str, path: &Path, errors: &mut ErrorList) {
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    if value.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

pub fn mounts(mounts: &[VolumeMount], volumes: &Volumes<'_>, privileged: bool, path: &Path, errors: &mut ErrorList) {
    for (i, mount) in mounts.iter().enumerate() {
        let at = || path.child("volumeMounts").index(i);
        if mount.name.is_empty() {
            errors.push(Error::required(&at().child("name"), ""));
        } else if volumes.get(&mount.name).is_none() {
            errors.push(Error::not_found(&at().child("name"), &mount.name));
        }
        if mount.mount_path.is_empty() {
            errors.push(Error::required(&at().child("mountPath"), ""));
        } else if mounts.iter().take(i).any(|m| m.mount_path == mount.mount_path) {
            errors.push(Error::invalid(&at().child("mountPath"), &mount.mount_path, "must be unique"));
        }
        if let Some(sub_path) = set(&mount.sub_path) {
            descending_path(sub_path, &path.child("subPath"), errors);
        }
        if let Some(expression) = set(&mount.sub_path_expr) {
            if set(&mount.sub_path).is_some() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(Error::invalid(&at().child("subPathExpr"), expression, detail));
            }
            descending_path(expression, &path.child("subPathExpr"), errors);
        }
        propagation(mount, privileged, at, errors);
    }
}

fn propagation(mount: &VolumeMount, privileged: bool, at: impl Fn() -> Path, errors: &mut ErrorList) {
    if let Some(propagation) = &mount.mount_propagation {
        let known = ["Bidirectional", "HostToContainer", "None"];
        let at = || at().child("mountPropagation");
        if !known.contains(&propagation.as_str()) {
            errors.push(Error::not_supported(&at(), propagation, &known));
        }
        if propagation == "Bidirectional" && !privileged {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(Error::forbidden(&at(), detail));
        }
    }
    if let Some(recursive) = mount.recursive_read_only.as_deref() {
        let at = || at().child("recursiveReadOnly");
        if !matches!(recursive, "Disabled" | "Enabled" | "IfPossible") {
            errors.push(Error::not_supported(&at(), recursive, &["Disabled", "Enabled", "IfPossible"]));
        }
        if recursive != "Disabled" && mount.read_only != Some(true) {
            errors.push(Error::forbidden(&at(), "may only be specified when readOnly is true"));
        }
    }
}

pub fn devices(
    devices: &[VolumeDevice],
    mounts: &[VolumeMount],
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (i, device) in devices.iter().enumerate() {
        let at = || path.child("volumeDevices").index(i);
        if device.name.is_empty() {
            errors.push(Error::required(&at().child("name"), ""));
        } else {
            match volumes.get(&device.name) {
                None => errors.push(Error::not_found(&at().child("name"), &device.name)),
                Some(volume) if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() => {
                    let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.push(Error::invalid(&at().child("name"), &device.name, detail));
                }
                Some(_) => {}
            }
            if devices.iter().take(i).any(|d| d.name == device.name) {
                errors.push(Error::invalid(&at().child("name"), &device.name, "must be unique"));
            }
            if mounts.iter().any(|m| m.name == device.name) {
                let detail = "must not already exist in volumeMounts";
                errors.push(Error::invalid(&at().child("name"), &device.name, detail));
            }
        }
        if device.device_path.is_empty() {
            errors.push(Error::required(&at().child("devicePath"), ""));
        } else {
            if devices.iter().take(i).any(|d| d.device_path == device.device_path) {
                errors.push(Error::invalid(&at().child("devicePath"), &device.device_path, "must be unique"));
            }
            if device.device_path.split('/').any(|part| part == "..") {
                errors.push(Error::invalid(&at().child("devicePath"), &device.device_path, "must not contain '..'"));
            }
        }
    }
}
