//! ReplicaSets.
use crate::{
    apps::workload::{self, Checked},
    cells,
    core::pod::{defaults, warnings},
    kind::{Kind, spec_and_status},
    resource::{Info, ScaleView, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::PodTemplateSpec};

impl Kind for ReplicaSet {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer(
            "Desired",
            "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
        ),
        cells::integer(
            "Current",
            "Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
        ),
        cells::integer(
            "Ready",
            "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition.",
        ),
        cells::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        cells::wide(
            "Selector",
            "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order to be controlled by this replica set. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ),
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("apps", "v1", "ReplicaSet", "replicasets")
            .short(&["rs"])
            .category("all")
            .scale()
            .status()
            .selectable(&["status.replicas"])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        if let Some(template) = &mut spec.template {
            defaults::template(template);
        }
        spec.replicas.get_or_insert(1);
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        workload::optional_non_negative(spec.replicas, &path.child("replicas"), errors);
        workload::optional_non_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
        let none = PodTemplateSpec::default();
        let checked = Checked {
            selector: &spec.selector,
            template: spec.template.as_ref().unwrap_or(&none),
            restart_policies: &["Always"],
            noun: "deployment",
        };
        workload::validate(&checked, &path, errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        match target {
            Target::Main => {
                if let (Some(new), Some(old)) = (&self.spec, &old.spec) {
                    workload::validate_same_selector(&new.selector, &old.selector, errors);
                }
            }
            Target::Status => validate_status(self, errors),
            Target::Other(_) => {}
        }
    }

    fn field_values(&self) -> Vec<String> {
        vec![self.status.as_ref().map_or(0, |s| s.replicas).to_string()]
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        warnings::workload(&self.metadata, self.spec.as_ref().and_then(|s| s.template.as_ref()))
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
        let template = spec.and_then(|s| s.template.as_ref());
        row.extend(workload::wide_cells(template, Some(cells::selector(spec.map(|s| &s.selector)))));
        row
    }

    fn scale(&self) -> Option<ScaleView> {
        let spec = self.spec.as_ref()?;
        let current = self.status.as_ref().map(|s| s.replicas);
        Some(workload::scale_view(spec.replicas, current, &spec.selector))
    }

    fn set_scale(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn validate_status(new: &ReplicaSet, errors: &mut ErrorList) {
    let path = Path::new("status");
    let Some(status) = &new.status else { return };
    workload::non_negative(status.replicas, &path.child("replicas"), errors);
    workload::optional_non_negative(status.observed_generation, &path.child("observedGeneration"), errors);
    let parts = [
        (status.fully_labeled_replicas, "fullyLabeledReplicas"),
        (status.ready_replicas, "readyReplicas"),
        (status.available_replicas, "availableReplicas"),
    ];
    for (count, name) in parts {
        workload::optional_non_negative(count, &path.child(name), errors);
        if count.unwrap_or_default() > status.replicas {
            errors.push(Error::invalid(&path.child(name), count, "cannot be greater than status.replicas"));
        }
    }
    if status.available_replicas.unwrap_or_default() > status.ready_replicas.unwrap_or_default() {
        let available = status.available_replicas;
        errors.push(Error::invalid(
            &path.child("availableReplicas"),
            available,
            "cannot be greater than readyReplicas",
        ));
    }
}
