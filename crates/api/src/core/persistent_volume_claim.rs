//! PersistentVolumeClaims.
use crate::{
    amounts, cells,
    core::{
        persistent_volume::{LEGACY_STORAGE_CLASS, access_modes, validate_access_modes},
        pod::defaults,
        volume_defaults,
    },
    kind::{Kind, spec_and_status},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    quantity::Quantity,
    table::{Column, Row},
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedObjectReference};

/// `dataSource` and `dataSourceRef` say the same; either fills in the other, unless a namespace crosses over.
fn normalize_data_sources(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(reference)) if reference.namespace.as_ref().is_none_or(String::is_empty) => {
            spec.data_source = Some(k8s_openapi::api::core::v1::TypedLocalObjectReference {
                api_group: reference.api_group.clone(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
            });
        }
        _ => {}
    }
}

/// What holds for claims and for the claims of templates and ephemeral volumes.
pub fn validate_spec(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut ErrorList) {
    let missing = "at least 1 access mode is required";
    validate_access_modes(spec.access_modes.as_ref(), missing, &path.child("accessModes"), errors);
    if let Some(selector) = &spec.selector {
        meta::validate_label_selector(selector, &path.child("selector"), errors);
    }
    let requests = path.child("resources").child("requests");
    let storage = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage"));
    match storage {
        None => errors.push(Error::required(&path.child("resources").key("storage"), "")),
        Some(amount) => {
            let at = path.child("resources").key("storage");
            match Quantity::parse(&amount.0) {
                Ok(parsed) if parsed.is_zero() || parsed.is_negative() => {
                    errors.push(Error::invalid(&at, &amount.0, "must be greater than zero"));
                }
                Ok(_) => {}
                Err(e) => errors.push(Error::invalid(&requests.key("storage"), &amount.0, e.to_string())),
            }
        }
    }
    if let Some(class) = spec.storage_class_name.as_deref().filter(|c| !c.is_empty()) {
        for violation in meta::SUBDOMAIN(class, false) {
            errors.push(Error::invalid(&path.child("storageClassName"), class, violation));
        }
    }
    if let Some(mode) = spec.volume_mode.as_deref().filter(|m| !matches!(*m, "Block" | "Filesystem")) {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    if let Some(source) = &spec.data_source {
        let at = path.child("dataSource");
        if source.name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        }
        if source.kind.is_empty() {
            errors.push(Error::required(&at.child("kind"), ""));
        }
        if source.api_group.as_ref().is_none_or(String::is_empty) && source.kind != "PersistentVolumeClaim" {
            errors.push(Error::invalid(&at, &source.kind, ""));
        }
    }
}

fn request(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref();
    amounts::get(requests, "storage")
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

impl Kind for PersistentVolumeClaim {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Status", "phase represents the current phase of PersistentVolumeClaim."),
        cells::text("Volume", "volumeName is the binding reference to the PersistentVolume backing this claim."),
        cells::text("Capacity", "capacity represents the actual resources of the underlying volume."),
        cells::text(
            "Access Modes",
            "accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1",
        ),
        cells::text("StorageClass", "StorageClass of the pvc"),
        cells::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
        cells::AGE,
        cells::wide(
            "VolumeMode",
            "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec.",
        ),
    ];

    spec_and_status!();

    fn info() -> Info {
        Info::new("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).status()
    }

    fn set_defaults(&mut self) {
        volume_defaults::claim_spec(self.spec.get_or_insert_default());
        let status = self.status.get_or_insert_default();
        defaults::text(&mut status.phase, "Pending");
        amounts::canonicalize(&mut status.capacity);
    }

    fn prepare_create(&mut self) {
        self.status.get_or_insert_default().phase = Some("Pending".into());
        normalize_data_sources(self.spec.get_or_insert_default());
    }

    fn prepare_update(&mut self, target: Target, _old: &Self) {
        if target == Target::Main {
            normalize_data_sources(self.spec.get_or_insert_default());
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let empty = PersistentVolumeClaimSpec::default();
        validate_spec(self.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        let (Some(new), Some(before)) = (&self.spec, &old.spec) else { return };
        if target != Target::Main {
            return;
        }
        let path = Path::new("spec");
        let (size, size_before) = (request(self), request(old));
        // Everything but the size and, once, the volume's name stands.
        let mut allowed = new.clone();
        allowed.resources.clone_from(&before.resources);
        allowed.volume_attributes_class_name.clone_from(&before.volume_attributes_class_name);
        if before.volume_name.as_ref().is_none_or(String::is_empty) {
            allowed.volume_name.clone_from(&before.volume_name);
        }
        if before.storage_class_name.is_none() && phase(old) == "Pending" {
            allowed.storage_class_name.clone_from(&before.storage_class_name);
        }
        if allowed != *before {
            let detail = format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                crate::difference::text(&allowed, before)
            );
            errors.push(Error::forbidden(&path, detail));
        } else if size != size_before && phase(old) != "Bound" {
            let detail = format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                crate::difference::text(new, before)
            );
            errors.push(Error::forbidden(&path, detail));
        } else if size < size_before {
            let at = path.child("resources").child("requests").child("storage");
            errors.push(Error::forbidden(&at, "field can not be less than status.capacity"));
        }
    }

    fn row(&self, now: i64) -> Row {
        let empty = PersistentVolumeClaimSpec::default();
        let spec = self.spec.as_ref().unwrap_or(&empty);
        let status = self.status.as_ref();
        let volume = spec.volume_name.as_deref().unwrap_or_default();
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !volume.is_empty() {
            modes = access_modes(status.and_then(|s| s.access_modes.as_ref()));
            let amount = status.and_then(|s| s.capacity.as_ref()).and_then(|c| c.get("storage"));
            capacity = amount.map_or_else(|| "0".to_owned(), |q| q.0.clone());
        }
        let legacy = self.metadata.annotations.as_ref().and_then(|a| a.get(LEGACY_STORAGE_CLASS));
        let class = legacy.or(spec.storage_class_name.as_ref()).map(String::as_str).unwrap_or_default();
        let phase = if self.metadata.deletion_timestamp.is_some() { "Terminating" } else { phase(self) };
        vec![
            cells::name(&self.metadata),
            phase.into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            class.into(),
            spec.volume_attributes_class_name.as_deref().unwrap_or(cells::UNSET).into(),
            cells::age(&self.metadata, now),
            spec.volume_mode.as_deref().unwrap_or(cells::UNSET).into(),
        ]
    }
}
