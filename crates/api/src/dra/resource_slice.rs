//! ResourceSlices.
use super::GROUP;
use crate::{
    cells,
    kind::{Kind, spec_only},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
    validation,
};
use k8s_openapi::api::resource::v1::ResourceSlice;

const DEVICES_MAX: usize = 128;

impl Kind for ResourceSlice {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Node",
            "NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only ResourceSlice objects belonging to a certain node.",
        ),
        cells::text(
            "Driver",
            "Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only ResourceSlice objects with a certain driver name.",
        ),
        cells::text(
            "Pool",
            "Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required.",
        ),
        cells::AGE,
    ];
    const GENERATION: bool = true;

    spec_only!();

    fn info() -> Info {
        Info::new(GROUP, "v1", "ResourceSlice", "resourceslices")
            .cluster()
            .selectable(&["spec.nodeName", "spec.driver"])
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let spec = &self.spec;
        for (value, field) in [(&spec.driver, "driver"), (&spec.pool.name, "pool.name")] {
            if value.is_empty() {
                errors.push(Error::required(&path.child(field), ""));
            } else if field == "driver" {
                for violation in validation::is_dns1123_subdomain(value) {
                    errors.push(Error::invalid(&path.child(field), value, violation));
                }
            }
        }
        let ways = [
            spec.node_name.as_ref().is_some_and(|n| !n.is_empty()),
            spec.node_selector.is_some(),
            spec.all_nodes == Some(true),
            spec.per_device_node_selection == Some(true),
        ];
        let count = ways.iter().filter(|w| **w).count();
        let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        match count {
            0 => errors.push(Error::required(&path, detail)),
            1 => {}
            _ => errors.push(Error::invalid(&path, "", detail)),
        }
        let devices = spec.devices.as_deref().unwrap_or_default();
        if devices.len() > DEVICES_MAX {
            errors.push(Error::too_many(&path.child("devices"), devices.len(), DEVICES_MAX));
        }
        for (i, device) in devices.iter().enumerate() {
            let at = path.child("devices").index(i).child("name");
            for violation in validation::is_dns1123_label(&device.name) {
                errors.push(Error::invalid(&at, &device.name, violation));
            }
            if devices.iter().take(i).any(|d| d.name == device.name) {
                errors.push(Error::duplicate(&at, &device.name));
            }
        }
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        meta::immutable(&path.child("nodeName"), &self.spec.node_name, &old.spec.node_name, errors);
        meta::immutable(&path.child("driver"), &self.spec.driver, &old.spec.driver, errors);
        let pool = path.child("pool").child("name");
        meta::immutable(&pool, &self.spec.pool.name, &old.spec.pool.name, errors);
    }

    fn field_values(&self) -> Vec<String> {
        vec![self.spec.node_name.clone().unwrap_or_default(), self.spec.driver.clone()]
    }

    fn row(&self, now: i64) -> Row {
        let node = self.spec.node_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(cells::UNSET);
        vec![
            cells::name(&self.metadata),
            node.into(),
            self.spec.driver.as_str().into(),
            self.spec.pool.name.as_str().into(),
            cells::age(&self.metadata, now),
        ]
    }
}
