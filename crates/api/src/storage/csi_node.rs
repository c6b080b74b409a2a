//! CSINodes.
use crate::{cells, kind::Kind, resource::Info};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::storage::v1::CSINode;

impl Kind for CSINode {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("storage.k8s.io", "v1", "CSINode", "csinodes").cluster().needs_resource_version()
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec").child("drivers");
        for (i, driver) in self.spec.drivers.iter().enumerate() {
            let at = path.index(i);
            if driver.name.is_empty() {
                errors.push(Error::required(&at.child("name"), ""));
            }
            if driver.node_id.is_empty() {
                errors.push(Error::required(&at.child("nodeID"), &driver.node_id));
            }
            if self.spec.drivers.iter().take(i).any(|d| d.name == driver.name) {
                errors.push(Error::duplicate(&at.child("name"), &driver.name));
            }
        }
    }

    fn row(&self, now: i64) -> Row {
        let drivers = i64::try_from(self.spec.drivers.len()).unwrap_or_default();
        vec![cells::name(&self.metadata), drivers.into(), cells::age(&self.metadata, now)]
    }
}
