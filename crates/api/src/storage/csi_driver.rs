//! CSIDrivers.
use crate::{
    cells,
    kind::{Kind, spec_only},
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::storage::v1::CSIDriver;

impl Kind for CSIDriver {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::boolean(
            "AttachRequired",
            "attachRequired indicates this CSI volume driver requires an attach operation (because it implements the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should call the attach volume interface which checks the volumeattachment status and waits until the volume is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume driver and updates the volumeattachment status when the attach operation is complete. If the value is specified to false, the attach operation will be skipped. Otherwise the attach operation will be called.  This field is immutable.",
        ),
        cells::boolean(
            "PodInfoOnMount",
            "podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be passed on mount. Default is false.",
        ),
        cells::boolean(
            "StorageCapacity",
            "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity information, if set to true.",
        ),
        cells::text(
            "TokenRequests",
            "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication.",
        ),
        cells::boolean(
            "RequiresRepublish",
            "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume. This field defaults to false.",
        ),
        cells::text("Modes", "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports."),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new("storage.k8s.io", "v1", "CSIDriver", "csidrivers").cluster().needs_resource_version()
    }

    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".into());
        if spec.volume_lifecycle_modes.as_ref().is_none_or(Vec::is_empty) {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".into()]);
        }
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let spec = &self.spec;
        if self.metadata.name.as_ref().is_some_and(|n| n.len() > 63) {
            errors.push(Error::too_long(&Path::new("metadata").child("name"), 63));
        }
        for mode in spec.volume_lifecycle_modes.iter().flatten() {
            if !matches!(mode.as_str(), "Persistent" | "Ephemeral") {
                let at = path.child("volumeLifecycleModes");
                errors.push(Error::not_supported(&at, mode, &["Ephemeral", "Persistent"]));
            }
        }
        if let Some(policy) = spec.fs_group_policy.as_deref() {
            let known = ["File", "None", "ReadWriteOnceWithFSType"];
            if !known.contains(&policy) {
                errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, &known));
            }
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let fixed = [
            (self.spec.attach_required != old.spec.attach_required, "attachRequired"),
            (self.spec.fs_group_policy != old.spec.fs_group_policy, "fsGroupPolicy"),
            (self.spec.volume_lifecycle_modes != old.spec.volume_lifecycle_modes, "volumeLifecycleModes"),
        ];
        for (changed, field) in fixed {
            if changed {
                errors.push(Error::invalid(&path.child(field), &self.spec, "field is immutable"));
            }
        }
    }

    fn row(&self, now: i64) -> Row {
        let spec = &self.spec;
        let audiences: Vec<&str> = spec.token_requests.iter().flatten().map(|t| t.audience.as_str()).collect();
        let tokens = if audiences.is_empty() { cells::UNSET.to_owned() } else { audiences.join(",") };
        let modes = spec.volume_lifecycle_modes.as_deref().unwrap_or_default().join(",");
        vec![
            cells::name(&self.metadata),
            spec.attach_required.unwrap_or(true).into(),
            spec.pod_info_on_mount.unwrap_or_default().into(),
            spec.storage_capacity.unwrap_or_default().into(),
            tokens.into(),
            spec.requires_republish.unwrap_or_default().into(),
            if modes.is_empty() { cells::NONE.into() } else { modes.into() },
            cells::age(&self.metadata, now),
        ]
    }
}
