//! StorageClasses.
use crate::{
    cells,
    kind::Kind,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::storage::v1::StorageClass;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_BETA: &str = "storageclass.beta.kubernetes.io/is-default-class";
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_MAX_BYTES: usize = 256 * 1024;

/// Claims that name no class get this one.
pub fn is_default(class: &StorageClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    [DEFAULT, DEFAULT_BETA].iter().any(|key| annotations.and_then(|a| a.get(*key)).is_some_and(|v| v == "true"))
}

impl Kind for StorageClass {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Provisioner", "provisioner indicates the type of the provisioner."),
        cells::text(
            "ReclaimPolicy",
            "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete.",
        ),
        cells::text(
            "VolumeBindingMode",
            "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling feature.",
        ),
        cells::text(
            "AllowVolumeExpansion",
            "allowVolumeExpansion shows whether the storage class allow volume expand.",
        ),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("storage.k8s.io", "v1", "StorageClass", "storageclasses").cluster().short(&["sc"])
    }

    fn set_defaults(&mut self) {
        self.reclaim_policy.get_or_insert_with(|| "Delete".into());
        self.volume_binding_mode.get_or_insert_with(|| "Immediate".into());
    }

    fn validate(&self, errors: &mut ErrorList) {
        let at = Path::new("provisioner");
        if self.provisioner.is_empty() {
            errors.push(Error::required(&at, ""));
        } else {
            for violation in validation::is_qualified_name(&self.provisioner.to_ascii_lowercase()) {
                errors.push(Error::invalid(&at, &self.provisioner, violation));
            }
        }
        let parameters = self.parameters.iter().flatten();
        let size: usize = parameters.clone().map(|(k, v)| k.len() + v.len()).sum();
        if self.parameters.as_ref().is_some_and(|p| p.len() > PARAMETERS_MAX) || size > PARAMETERS_MAX_BYTES {
            errors.push(Error::too_long(&Path::new("parameters"), PARAMETERS_MAX_BYTES));
        }
        if parameters.clone().any(|(key, _)| key.is_empty()) {
            errors.push(Error::invalid(&Path::new("parameters"), "", "field can not be empty."));
        }
        let policy = self.reclaim_policy.as_deref().unwrap_or_default();
        if !matches!(policy, "Delete" | "Retain") {
            errors.push(Error::not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]));
        }
        let mode = self.volume_binding_mode.as_deref().unwrap_or_default();
        if !matches!(mode, "Immediate" | "WaitForFirstConsumer") {
            let known = ["Immediate", "WaitForFirstConsumer"];
            errors.push(Error::not_supported(&Path::new("volumeBindingMode"), mode, &known));
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        let fixed = [
            (self.parameters != old.parameters, "parameters"),
            (self.provisioner != old.provisioner, "provisioner"),
            (self.reclaim_policy != old.reclaim_policy, "reclaimPolicy"),
        ];
        for (changed, field) in fixed {
            if changed {
                let detail = format!("updates to {field} are forbidden.");
                errors.push(Error::forbidden(&Path::new(field), detail));
            }
        }
        if self.volume_binding_mode != old.volume_binding_mode {
            let path = Path::new("volumeBindingMode");
            errors.push(Error::invalid(&path, &self.volume_binding_mode, "field is immutable"));
        }
    }

    fn row(&self, now: i64) -> Row {
        let mut name = self.metadata.name.clone().unwrap_or_default();
        if is_default(self) {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            self.provisioner.as_str().into(),
            self.reclaim_policy.as_deref().unwrap_or("Delete").into(),
            self.volume_binding_mode.as_deref().unwrap_or("Immediate").into(),
            self.allow_volume_expansion.unwrap_or_default().into(),
            cells::age(&self.metadata, now),
        ]
    }
}
