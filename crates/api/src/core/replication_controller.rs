//! ReplicationControllers: what ReplicaSets came from, with a plain map as selector.
use crate::{
    apps::workload,
    cells,
    core::pod::defaults,
    kind::{Kind, spec_and_status},
    resource::{Info, ScaleView},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    labels,
    table::{Column, Row},
};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ReplicationController};
use std::collections::BTreeMap;

impl Kind for ReplicationController {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer(
            "Desired",
            "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        ),
        cells::integer(
            "Current",
            "Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        ),
        cells::integer("Ready", "The number of ready replicas for this replication controller."),
        cells::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        cells::wide(
            "Selector",
            "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ),
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("", "v1", "ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .category("all")
            .stored_at("controllers")
            .scale()
            .status()
            .selectable(&["status.replicas"])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            defaults::template(template);
            if let Some(labels) = template.metadata.as_ref().and_then(|m| m.labels.as_ref()) {
                if spec.selector.as_ref().is_none_or(BTreeMap::is_empty) {
                    spec.selector = Some(labels.clone());
                }
                if self.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) {
                    self.metadata.labels = Some(labels.clone());
                }
            }
        }
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        workload::optional_non_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
        let selector = spec.selector.as_ref().filter(|s| !s.is_empty());
        if selector.is_none() {
            errors.push(Error::required(&path.child("selector"), ""));
        }
        workload::optional_non_negative(spec.replicas, &path.child("replicas"), errors);
        let Some(template) = &spec.template else {
            errors.push(Error::required(&path.child("template"), ""));
            return;
        };
        let labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref());
        if let Some(selector) = selector
            && !labels::Selector::from_labels(selector).matches_option(labels)
        {
            let at = path.child("template").child("metadata").child("labels");
            errors.push(Error::invalid(&at, labels, "`selector` does not match template `labels`"));
        }
        workload::validate_template(template, &["Always"], &path.child("template"), errors);
    }

    fn field_values(&self) -> Vec<String> {
        vec![self.status.as_ref().map_or(0, |s| s.replicas).to_string()]
    }

    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().and_then(|spec| spec.template.as_ref())
    }

    fn pod_template_mut(&mut self) -> Option<&mut PodTemplateSpec> {
        self.spec.as_mut().and_then(|spec| spec.template.as_mut())
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let status = self.status.as_ref();
        let mut row: Row = vec![
            cells::name(&self.metadata),
            i64::from(spec.and_then(|s| s.replicas).unwrap_or_default()).into(),
            i64::from(status.map_or(0, |s| s.replicas)).into(),
            i64::from(status.and_then(|s| s.ready_replicas).unwrap_or_default()).into(),
            cells::age(&self.metadata, now),
        ];
        let selector = cells::labels(spec.and_then(|s| s.selector.as_ref()));
        row.extend(workload::wide_cells(spec.and_then(|s| s.template.as_ref()), Some(selector)));
        row
    }

    fn scale(&self) -> Option<ScaleView> {
        let spec = self.spec.as_ref()?;
        Some(ScaleView {
            spec_replicas: spec.replicas.unwrap_or_default(),
            status_replicas: self.status.as_ref().map_or(0, |s| s.replicas),
            selector: spec.selector.as_ref().map(|s| labels::Selector::from_labels(s).to_string()).unwrap_or_default(),
        })
    }

    fn set_scale(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}
