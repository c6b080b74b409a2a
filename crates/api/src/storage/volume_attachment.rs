//! VolumeAttachments.
use crate::{
    cells,
    kind::Kind,
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::storage::v1::VolumeAttachment;

impl Kind for VolumeAttachment {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        Column {
            format: "name",
            ..cells::text(
                "Attacher",
                "attacher indicates the name of the volume driver that MUST handle this request. This is the name returned by GetPluginName().",
            )
        },
        cells::text("PV", "persistentVolumeName represents the name of the persistent volume to attach."),
        cells::text("Node", "nodeName represents the node that the volume should be attached to."),
        cells::boolean(
            "Attached",
            "attached indicates the volume is successfully attached. This field must only be set by the entity completing the attach operation, i.e. the external-attacher.",
        ),
        cells::AGE,
    ];

    fn keep_spec(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn keep_status(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn clear_status(&mut self) {
        self.status = Some(Default::default());
    }

    fn info() -> Info {
        Info::new("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments")
            .cluster()
            .status()
            .needs_resource_version()
    }

    fn set_defaults(&mut self) {
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        if self.spec.attacher.is_empty() {
            errors.push(Error::required(&path.child("attacher"), ""));
        }
        if self.spec.node_name.is_empty() {
            errors.push(Error::required(&path.child("nodeName"), ""));
        }
        let source = &self.spec.source;
        let named = source.persistent_volume_name.as_ref();
        match (named, &source.inline_volume_spec) {
            (None, None) => {
                let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.push(Error::required(&path.child("source"), detail));
            }
            (Some(_), Some(_)) => {
                let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.push(Error::forbidden(&path.child("source"), detail));
            }
            (Some(name), None) if name.is_empty() => {
                let at = path.child("source").child("persistentVolumeName");
                errors.push(Error::required(&at, "must specify non empty persistentVolumeName"));
            }
            _ => {}
        }
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        if target == Target::Main && self.spec != old.spec {
            errors.push(Error::invalid(&Path::new("spec"), &self.spec, "field is immutable"));
        }
    }

    fn row(&self, now: i64) -> Row {
        let volume = self.spec.source.persistent_volume_name.as_deref().unwrap_or_default();
        vec![
            cells::name(&self.metadata),
            self.spec.attacher.as_str().into(),
            volume.into(),
            self.spec.node_name.as_str().into(),
            self.status.as_ref().is_some_and(|s| s.attached).into(),
            cells::age(&self.metadata, now),
        ]
    }
}
