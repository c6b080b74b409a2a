//! Deployments.
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
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

fn quarter() -> IntOrString {
    IntOrString::String("25%".into())
}

fn validate_strategy(spec: &DeploymentSpec, path: &Path, errors: &mut ErrorList) {
    let Some(strategy) = &spec.strategy else { return };
    let rolling = strategy.rolling_update.as_ref();
    match strategy.type_.as_deref().unwrap_or_default() {
        "Recreate" => {
            if rolling.is_some() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(Error::forbidden(&path.child("rollingUpdate"), detail));
            }
        }
        "RollingUpdate" => {
            let Some(rolling) = rolling else {
                errors.push(Error::required(&path.child("rollingUpdate"), "this should be defaulted and never be nil"));
                return;
            };
            let path = path.child("rollingUpdate");
            let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
            workload::validate_int_or_percent(unavailable, &path.child("maxUnavailable"), errors);
            workload::validate_int_or_percent(surge, &path.child("maxSurge"), errors);
            if workload::int_or_percent(unavailable) == 0 && workload::int_or_percent(surge) == 0 {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(Error::invalid(&path.child("maxUnavailable"), unavailable, detail));
            }
            workload::not_more_than_hundred_percent(unavailable, &path.child("maxUnavailable"), errors);
        }
        other => errors.push(Error::not_supported(&path.child("type"), other, &["Recreate", "RollingUpdate"])),
    }
}

impl Kind for Deployment {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Ready", "Number of the pod with ready state"),
        cells::text(
            "Up-to-date",
            "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
        ),
        cells::text(
            "Available",
            "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
        ),
        cells::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        cells::wide(
            "Selector",
            "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.",
        ),
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("apps", "v1", "Deployment", "deployments").short(&["deploy"]).category("all").scale().status()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::template(&mut spec.template);
        spec.replicas.get_or_insert(1);
        let strategy = spec.strategy.get_or_insert_default();
        defaults::text(&mut strategy.type_, "RollingUpdate");
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert_with(quarter);
            rolling.max_surge.get_or_insert_with(quarter);
        }
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        self.status.get_or_insert_default();
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        if target == Target::Status {
            self.metadata.labels.clone_from(&old.metadata.labels);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        workload::optional_non_negative(spec.replicas, &path.child("replicas"), errors);
        let checked = Checked {
            selector: &spec.selector,
            template: &spec.template,
            restart_policies: &["Always"],
            noun: "deployment",
        };
        workload::validate(&checked, &path, errors);
        validate_strategy(spec, &path.child("strategy"), errors);
        workload::optional_non_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
        workload::optional_non_negative(spec.revision_history_limit, &path.child("revisionHistoryLimit"), errors);
        if let Some(deadline) = spec.progress_deadline_seconds {
            let path = path.child("progressDeadlineSeconds");
            workload::non_negative(deadline, &path, errors);
            if deadline <= spec.min_ready_seconds.unwrap_or_default() {
                errors.push(Error::invalid(&path, deadline, "must be greater than minReadySeconds"));
            }
        }
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        match target {
            Target::Main => {
                if let (Some(new), Some(old)) = (&self.spec, &old.spec) {
                    workload::validate_same_selector(&new.selector, &old.selector, errors);
                }
            }
            Target::Status => validate_status(self, old, errors),
            Target::Other(_) => {}
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        warnings::workload(&self.metadata, self.spec.as_ref().map(|s| &s.template))
    }

    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|spec| &spec.template)
    }

    fn pod_template_mut(&mut self) -> Option<&mut PodTemplateSpec> {
        self.spec.as_mut().map(|spec| &mut spec.template)
    }

    fn row(&self, now: i64) -> Row {
        let spec = self.spec.as_ref();
        let status = self.status.as_ref();
        let ready = status.and_then(|s| s.ready_replicas).unwrap_or_default();
        let mut row: Row = vec![
            cells::name(&self.metadata),
            format!("{ready}/{}", spec.and_then(|s| s.replicas).unwrap_or_default()).into(),
            i64::from(status.and_then(|s| s.updated_replicas).unwrap_or_default()).into(),
            i64::from(status.and_then(|s| s.available_replicas).unwrap_or_default()).into(),
            cells::age(&self.metadata, now),
        ];
        row.extend(workload::wide_cells(spec.map(|s| &s.template), Some(cells::selector(spec.map(|s| &s.selector)))));
        row
    }

    fn scale(&self) -> Option<ScaleView> {
        let spec = self.spec.as_ref()?;
        let current = self.status.as_ref().and_then(|s| s.replicas);
        Some(workload::scale_view(spec.replicas, current, &spec.selector))
    }

    fn set_scale(&mut self, replicas: i32) {
        self.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn validate_status(new: &Deployment, old: &Deployment, errors: &mut ErrorList) {
    let path = Path::new("status");
    let Some(status) = &new.status else { return };
    let counts = [
        (status.replicas, "replicas"),
        (status.updated_replicas, "updatedReplicas"),
        (status.ready_replicas, "readyReplicas"),
        (status.available_replicas, "availableReplicas"),
        (status.unavailable_replicas, "unavailableReplicas"),
    ];
    for (count, name) in counts {
        workload::optional_non_negative(count, &path.child(name), errors);
    }
    workload::optional_non_negative(status.observed_generation, &path.child("observedGeneration"), errors);
    let total = status.replicas.unwrap_or_default();
    for (count, name) in counts.into_iter().skip(1).take(3) {
        if count.unwrap_or_default() > total {
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
    let collisions = |d: &Deployment| d.status.as_ref().and_then(|s| s.collision_count);
    if let Some(before) = collisions(old)
        && collisions(new).is_none_or(|now| now < before)
    {
        let value = collisions(new);
        errors.push(Error::invalid(&path.child("collisionCount"), value, "cannot be decremented"));
    }
}
