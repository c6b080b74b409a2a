//! ConfigMaps: plain configuration data.
use crate::{
    cells,
    data::{self, Data},
    kind::Kind,
    resource::{Info, Target},
};
use apimachinery::{
    field::ErrorList,
    table::{Column, Row},
};
use k8s_openapi::api::core::v1::ConfigMap;

fn keys(map: &ConfigMap) -> Data<'_> {
    Data {
        text: map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.len())).collect(),
        binary: map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.len())).collect(),
    }
}

impl Kind for ConfigMap {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Data",
            "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.",
        ),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("", "v1", "ConfigMap", "configmaps").short(&["cm"])
    }

    fn validate(&self, errors: &mut ErrorList) {
        data::validate(&keys(self), errors);
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        if old.immutable == Some(true) {
            data::must_stay_immutable(self.immutable, errors);
            data::must_be_same("data", self.data == old.data, errors);
            data::must_be_same("binaryData", self.binary_data == old.binary_data, errors);
        }
    }

    fn row(&self, now: i64) -> Row {
        let count = self.data.as_ref().map_or(0, |d| d.len()) + self.binary_data.as_ref().map_or(0, |d| d.len());
        vec![cells::name(&self.metadata), count.to_string().into(), cells::age(&self.metadata, now)]
    }
}
