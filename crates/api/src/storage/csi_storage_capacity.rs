//! CSIStorageCapacities.
use crate::{
    amounts, cells,
    kind::Kind,
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;

impl Kind for CSIStorageCapacity {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "StorageClassName",
            "storageClassName represents the name of the StorageClass that the reported capacity applies to. It must meet the same requirements as the name of a StorageClass object (non-empty, DNS subdomain). If that object no longer exists, the CSIStorageCapacity object is obsolete and should be removed by its creator. This field is immutable.",
        ),
        cells::text(
            "Capacity",
            "capacity is the value reported by the CSI driver in its GetCapacityResponse for a GetCapacityRequest with topology and parameters that match the previous fields.",
        ),
    ];

    fn info() -> Info {
        Info::new("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities").needs_resource_version()
    }

    fn set_defaults(&mut self) {
        for quantity in [&mut self.capacity, &mut self.maximum_volume_size].into_iter().flatten() {
            amounts::canonicalize_one(quantity);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        for violation in meta::SUBDOMAIN(&self.storage_class_name, false) {
            let path = Path::new("storageClassName");
            errors.push(apimachinery::field::Error::invalid(&path, &self.storage_class_name, violation));
        }
        for (quantity, field) in [(&self.capacity, "capacity"), (&self.maximum_volume_size, "maximumVolumeSize")] {
            if let Some(quantity) = quantity {
                amounts::validate_non_negative(quantity, &Path::new(field), errors);
            }
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        meta::immutable(&Path::new("nodeTopology"), &self.node_topology, &old.node_topology, errors);
        meta::immutable(&Path::new("storageClassName"), &self.storage_class_name, &old.storage_class_name, errors);
    }

    fn row(&self, _now: i64) -> Row {
        let capacity = self.capacity.as_ref().map_or(cells::UNSET, |q| &q.0);
        vec![cells::name(&self.metadata), self.storage_class_name.as_str().into(), capacity.into()]
    }
}
