//! DeviceClasses.
use super::GROUP;
use crate::{
    cells,
    kind::{Kind, spec_only},
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::resource::v1::DeviceClass;

const SELECTORS_MAX: usize = 32;

impl Kind for DeviceClass {
    const COLUMNS: &'static [Column] = &[cells::NAME, cells::AGE];
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new(GROUP, "v1", "DeviceClass", "deviceclasses").cluster()
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec").child("selectors");
        let selectors = self.spec.selectors.as_deref().unwrap_or_default();
        if selectors.len() > SELECTORS_MAX {
            errors.push(Error::too_many(&path, selectors.len(), SELECTORS_MAX));
        }
        for (i, selector) in selectors.iter().enumerate() {
            if selector.cel.is_none() {
                errors.push(Error::required(&path.index(i).child("cel"), ""));
            }
        }
    }

    fn row(&self, now: i64) -> Row {
        vec![cells::name(&self.metadata), cells::age(&self.metadata, now)]
    }
}
