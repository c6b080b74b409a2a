//! ControllerRevisions: past states of a controller's data, never changed.
use crate::{
    apps::workload,
    cells,
    kind::Kind,
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::apps::v1::ControllerRevision;

impl Kind for ControllerRevision {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Controller", "Controller of the object"),
        cells::text("Revision", "revision indicates the revision of the state represented by Data."),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("apps", "v1", "ControllerRevision", "controllerrevisions")
    }

    fn validate(&self, errors: &mut ErrorList) {
        if self.data.is_none() {
            errors.push(Error::required(&Path::new("data"), "data is mandatory"));
        }
        workload::non_negative(self.revision, &Path::new("revision"), errors);
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        if self.data != old.data {
            errors.push(Error::invalid(&Path::new("data"), &self.data, meta::FIELD_IMMUTABLE));
        }
    }

    fn row(&self, now: i64) -> Row {
        let owner = self.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        let controller = owner.map_or_else(
            || cells::NONE.to_owned(),
            |o| {
                let kind = o.kind.to_ascii_lowercase();
                match o.api_version.split_once('/') {
                    Some((group, _)) => format!("{kind}.{group}/{}", o.name),
                    None => format!("{kind}/{}", o.name),
                }
            },
        );
        vec![cells::name(&self.metadata), controller.into(), self.revision.into(), cells::age(&self.metadata, now)]
    }
}
