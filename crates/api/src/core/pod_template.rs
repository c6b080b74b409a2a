//! PodTemplates.
use crate::{
    cells,
    core::pod::{defaults, validate},
    kind::Kind,
    resource::Info,
};
use apimachinery::{
    field::{ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};

impl Kind for PodTemplate {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Containers", cells::CONTAINERS_DESCRIPTION),
        cells::text("Images", cells::IMAGES_DESCRIPTION),
        cells::text("Pod Labels", "The labels for the pod template."),
    ];
    const GENERATION: bool = true;

    fn same_spec(&self, old: &Self) -> bool {
        self.template == old.template
    }

    fn info() -> Info {
        Info::new("", "v1", "PodTemplate", "podtemplates").created_on_update()
    }

    fn set_defaults(&mut self) {
        defaults::template(self.template.get_or_insert_default());
    }

    fn validate(&self, errors: &mut ErrorList) {
        if let Some(template) = &self.template {
            validate::template(template, &Path::new("template"), errors);
        }
    }

    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        self.template.as_ref()
    }

    fn pod_template_mut(&mut self) -> Option<&mut PodTemplateSpec> {
        self.template.as_mut()
    }

    fn row(&self, _now: i64) -> Row {
        let template = self.template.as_ref();
        let containers = template.and_then(|t| t.spec.as_ref()).map(|s| s.containers.as_slice()).unwrap_or_default();
        let (names, images) = cells::containers(containers);
        let labels = cells::labels(template.and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref()));
        vec![cells::name(&self.metadata), names.into(), images.into(), labels.into()]
    }
}
