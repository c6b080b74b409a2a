//! PersistentVolumes.
use crate::{
    amounts, cells,
    core::{
        pod::{defaults, validate::node_affinity},
        volume_defaults,
    },
    kind::{Kind, spec_and_status},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec};

pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
pub const LEGACY_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// `RWO,ROX,RWX,RWOP`, in that order.
pub fn access_modes(modes: Option<&Vec<String>>) -> String {
    let has = |mode: &str| modes.is_some_and(|m| m.iter().any(|x| x == mode));
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let shown: Vec<&str> = short.iter().filter(|(long, _)| has(long)).map(|(_, short)| *short).collect();
    shown.join(",")
}

/// Modes that are none, none at all, and one that allows no other.
pub fn validate_access_modes(modes: Option<&Vec<String>>, missing: &str, path: &Path, errors: &mut ErrorList) {
    let modes = modes.map(Vec::as_slice).unwrap_or_default();
    if modes.is_empty() {
        errors.push(Error::required(path, missing));
    }
    for mode in modes.iter().filter(|m| !ACCESS_MODES.contains(&m.as_str())) {
        errors.push(Error::not_supported(path, mode, ACCESS_MODES));
    }
    if modes.len() > 1 && modes.iter().any(|m| m == "ReadWriteOncePod") {
        errors.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

/// Calls the macro with every source a PersistentVolume can have.
macro_rules! persistent_sources {
    ($spec:expr, $each:ident) => {{
        let s = $spec;
        $each!(s; host_path "hostPath", gce_persistent_disk "gcePersistentDisk",
            aws_elastic_block_store "awsElasticBlockStore", glusterfs "glusterfs", flocker "flocker", nfs "nfs",
            rbd "rbd", quobyte "quobyte", cephfs "cephfs", iscsi "iscsi", cinder "cinder", fc "fc",
            flex_volume "flexVolume", azure_file "azureFile", vsphere_volume "vsphereVolume",
            photon_persistent_disk "photonPersistentDisk", portworx_volume "portworxVolume",
            azure_disk "azureDisk", scale_io "scaleIO", local "local", storageos "storageos", csi "csi")
    }};
}

fn sources(spec: &PersistentVolumeSpec) -> Vec<&'static str> {
    macro_rules! present {
        ($s:ident; $($field:ident $name:literal),*) => {
            [$($s.$field.is_some().then_some($name)),*].into_iter().flatten().collect()
        };
    }
    persistent_sources!(spec, present)
}

fn same_source(a: &PersistentVolumeSpec, b: &PersistentVolumeSpec) -> bool {
    macro_rules! equal {
        ($s:ident; $($field:ident $name:literal),*) => { $($s.$field == b.$field)&&* };
    }
    persistent_sources!(a, equal)
}

fn validate_sources(spec: &PersistentVolumeSpec, path: &Path, errors: &mut ErrorList) {
    let found = sources(spec);
    if found.is_empty() {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    for name in found.iter().skip(1) {
        errors.push(Error::forbidden(&path.child(name), "may not specify more than 1 volume type"));
    }
    if let Some(host) = &spec.host_path {
        let at = path.child("hostPath").child("path");
        if host.path.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if host.path.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&at, &host.path, "must not contain '..'"));
        }
        if host.path == "/" && spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
            let detail = "may not be 'recycle' for a hostPath mount of '/'";
            errors.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
        }
    }
    if let Some(nfs) = &spec.nfs {
        let at = path.child("nfs");
        if nfs.server.is_empty() {
            errors.push(Error::required(&at.child("server"), ""));
        }
        if nfs.path.is_empty() {
            errors.push(Error::required(&at.child("path"), ""));
        } else if !nfs.path.starts_with('/') {
            errors.push(Error::invalid(&at.child("path"), &nfs.path, "must be an absolute path"));
        }
    }
    if let Some(local) = &spec.local {
        let at = path.child("local").child("path");
        if local.path.is_empty() {
            errors.push(Error::required(&at, ""));
        }
        if spec.node_affinity.is_none() {
            errors.push(Error::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
        }
    }
    if let Some(csi) = &spec.csi {
        let at = path.child("csi");
        if csi.driver.is_empty() {
            errors.push(Error::required(&at.child("driver"), ""));
        }
        if csi.volume_handle.is_empty() {
            errors.push(Error::required(&at.child("volumeHandle"), ""));
        }
    }
}

impl Kind for PersistentVolume {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Capacity",
            "capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity",
        ),
        cells::text(
            "Access Modes",
            "accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes",
        ),
        cells::text(
            "Reclaim Policy",
            "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming",
        ),
        cells::text(
            "Status",
            "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase",
        ),
        cells::text(
            "Claim",
            "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding",
        ),
        cells::text("StorageClass", "StorageClass of the pv"),
        cells::text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
        cells::text(
            "Reason",
            "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI.",
        ),
        cells::AGE,
        cells::wide(
            "VolumeMode",
            "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec.",
        ),
    ];

    spec_and_status!();

    fn info() -> Info {
        Info::new("", "v1", "PersistentVolume", "persistentvolumes").cluster().short(&["pv"]).status()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::text(&mut spec.persistent_volume_reclaim_policy, "Retain");
        defaults::text(&mut spec.volume_mode, "Filesystem");
        amounts::canonicalize(&mut spec.capacity);
        if let Some(path) = &mut spec.host_path {
            volume_defaults::host_path(path);
        }
        if let Some(disk) = &mut spec.azure_disk {
            volume_defaults::azure_disk(disk);
        }
        if let Some(iscsi) = &mut spec.iscsi {
            defaults::text(&mut iscsi.iscsi_interface, "default");
        }
        if let Some(rbd) = &mut spec.rbd {
            defaults::text(&mut rbd.pool, "rbd");
            defaults::text(&mut rbd.user, "admin");
            defaults::text(&mut rbd.keyring, "/etc/ceph/keyring");
        }
        if let Some(scale_io) = &mut spec.scale_io {
            defaults::text(&mut scale_io.storage_mode, "ThinProvisioned");
            defaults::text(&mut scale_io.fs_type, "xfs");
        }
        if let Some(claim) = &mut spec.claim_ref {
            defaults::text(&mut claim.kind, "PersistentVolumeClaim");
            defaults::text(&mut claim.api_version, "v1");
        }
        defaults::text(&mut self.status.get_or_insert_default().phase, "Pending");
    }

    fn prepare_create(&mut self) {
        self.status.get_or_insert_default().phase = Some("Pending".into());
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        validate_access_modes(spec.access_modes.as_ref(), "", &path.child("accessModes"), errors);
        let capacity = path.child("capacity");
        match spec.capacity.as_ref().filter(|c| !c.is_empty()) {
            None => errors.push(Error::required(&capacity, "")),
            Some(list) if !list.contains_key("storage") || list.len() > 1 => {
                let keys: Vec<&String> = list.keys().collect();
                errors.push(Error::not_supported(&capacity, keys, &["storage"]));
            }
            Some(list) => {
                for (name, amount) in list {
                    let at = capacity.key(name);
                    let parsed = amounts::parsed_or_reported(amount, &at, errors);
                    if parsed.is_some_and(|a| a.is_negative()) {
                        errors.push(Error::invalid(&at, &amount.0, "must be a valid resource quantity"));
                    }
                    if parsed.is_some_and(|a| a.is_zero() || a.is_negative()) {
                        errors.push(Error::invalid(&at, &amount.0, "must be greater than zero"));
                    }
                }
            }
        }
        let policy = spec.persistent_volume_reclaim_policy.as_deref().unwrap_or_default();
        if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
            errors.push(Error::not_supported(&path.child("persistentVolumeReclaimPolicy"), policy, RECLAIM_POLICIES));
        }
        if let Some(mode) = spec.volume_mode.as_deref().filter(|m| !VOLUME_MODES.contains(m)) {
            errors.push(Error::not_supported(&path.child("volumeMode"), mode, VOLUME_MODES));
        }
        if let Some(required) = spec.node_affinity.as_ref().and_then(|a| a.required.as_ref()) {
            node_affinity::validate_selector(required, &path.child("nodeAffinity").child("required"), errors);
        }
        if let Some(class) = spec.storage_class_name.as_deref().filter(|c| !c.is_empty()) {
            for violation in meta::SUBDOMAIN(class, false) {
                errors.push(Error::invalid(&path.child("storageClassName"), class, violation));
            }
        }
        validate_sources(spec, &path, errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        let (Some(new), Some(old)) = (&self.spec, &old.spec) else { return };
        if target != Target::Main {
            return;
        }
        let path = Path::new("spec");
        if !same_source(new, old) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(Error::forbidden(&path.child("persistentvolumesource"), detail));
        }
        meta::immutable(&path.child("volumeMode"), &new.volume_mode, &old.volume_mode, errors);
        if old.node_affinity.is_some() {
            meta::immutable(&path.child("nodeAffinity"), &new.node_affinity, &old.node_affinity, errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.spec.as_ref().is_some_and(|s| s.persistent_volume_reclaim_policy.as_deref() == Some("Recycle")) {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        warnings
    }

    fn row(&self, now: i64) -> Row {
        let empty = PersistentVolumeSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let status = self.status.as_ref();
        let claim = spec.claim_ref.as_ref().map(|c| {
            format!("{}/{}", c.namespace.as_deref().unwrap_or_default(), c.name.as_deref().unwrap_or_default())
        });
        let capacity = spec.capacity.as_ref().and_then(|c| c.get("storage")).map_or("0", |q| &q.0);
        let legacy = self.metadata.annotations.as_ref().and_then(|a| a.get(LEGACY_STORAGE_CLASS));
        let class = legacy.or(spec.storage_class_name.as_ref()).map(String::as_str).unwrap_or_default();
        let phase = match self.metadata.deletion_timestamp {
            Some(_) => "Terminating",
            None => status.and_then(|s| s.phase.as_deref()).unwrap_or_default(),
        };
        vec![
            cells::name(&self.metadata),
            capacity.into(),
            access_modes(spec.access_modes.as_ref()).into(),
            spec.persistent_volume_reclaim_policy.as_deref().unwrap_or_default().into(),
            phase.into(),
            claim.unwrap_or_default().into(),
            class.into(),
            spec.volume_attributes_class_name.as_deref().unwrap_or(cells::UNSET).into(),
            status.and_then(|s| s.reason.as_deref()).unwrap_or_default().into(),
            cells::age(&self.metadata, now),
            spec.volume_mode.as_deref().unwrap_or(cells::UNSET).into(),
        ]
    }
}
