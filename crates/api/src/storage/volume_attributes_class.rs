//! VolumeAttributesClasses.
use crate::{
    cells,
    kind::Kind,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    const COLUMNS: &'static [Column] = &[cells::NAME, cells::text("DriverName", "Name of the CSI driver"), cells::AGE];

    fn info() -> Info {
        Info::new("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses").cluster().short(&["vac"])
    }

    fn validate(&self, errors: &mut ErrorList) {
        if self.driver_name.is_empty() {
            errors.push(Error::required(&Path::new("driverName"), ""));
        }
        if self.parameters.as_ref().is_none_or(|p| p.is_empty()) {
            errors.push(Error::required(&Path::new("parameters"), "must contain at least one key/value pair"));
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        if self.driver_name != old.driver_name {
            errors.push(Error::forbidden(&Path::new("driverName"), "updates to driverName are forbidden."));
        }
        if self.parameters != old.parameters {
            errors.push(Error::forbidden(&Path::new("parameters"), "updates to parameters are forbidden."));
        }
    }

    fn row(&self, now: i64) -> Row {
        vec![cells::name(&self.metadata), self.driver_name.as_str().into(), cells::age(&self.metadata, now)]
    }
}
