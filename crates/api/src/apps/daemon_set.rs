//! DaemonSets.
use crate::{
    apps::workload::{self, Checked},
    cells,
    core::pod::{defaults, warnings},
    kind::{Kind, spec_and_status},
    resource::{Info, Target},
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

/// Counts template changes; old clients still look at it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(set: &DaemonSet) -> i64 {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(TEMPLATE_GENERATION)).and_then(|v| v.parse().ok()).unwrap_or_default()
}

fn count_template(set: &mut DaemonSet, generation: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string());
}

impl Kind for DaemonSet {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::integer(
            "Desired",
            "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        ),
        cells::integer(
            "Current",
            "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        ),
        cells::integer(
            "Ready",
            "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.",
        ),
        cells::integer("Up-to-date", "The total number of nodes that are running updated daemon pod"),
        cells::integer(
            "Available",
            "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)",
        ),
        cells::text(
            "Node Selector",
            "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/",
        ),
        cells::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        cells::wide(
            "Selector",
            "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ),
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("apps", "v1", "DaemonSet", "daemonsets").short(&["ds"]).category("all").status()
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        defaults::template(&mut spec.template);
        let strategy = spec.update_strategy.get_or_insert_default();
        defaults::text(&mut strategy.type_, "RollingUpdate");
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        spec.revision_history_limit.get_or_insert(10);
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        count_template(self, 1);
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        let template = |set: &Self| set.spec.as_ref().map(|s| s.template.clone());
        let before = template_generation(old);
        let changed = target == Target::Main && template(self) != template(old);
        count_template(self, if changed { before.saturating_add(1) } else { before });
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        let checked = Checked {
            selector: &spec.selector,
            template: &spec.template,
            restart_policies: &["Always"],
            noun: "daemonset",
        };
        workload::validate(&checked, &path, errors);
        workload::optional_non_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
        validate_strategy(spec, &path.child("updateStrategy"), errors);
        workload::optional_non_negative(spec.revision_history_limit, &path.child("revisionHistoryLimit"), errors);
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        if target == Target::Main
            && let (Some(new), Some(old)) = (&self.spec, &old.spec)
        {
            workload::validate_same_selector(&new.selector, &old.selector, errors);
        }
        if target == Target::Status
            && let Some(status) = &self.status
        {
            let path = Path::new("status");
            workload::non_negative(status.current_number_scheduled, &path.child("currentNumberScheduled"), errors);
            workload::non_negative(status.number_misscheduled, &path.child("numberMisscheduled"), errors);
            workload::non_negative(status.desired_number_scheduled, &path.child("desiredNumberScheduled"), errors);
            workload::non_negative(status.number_ready, &path.child("numberReady"), errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        warnings::template(self.spec.as_ref().map(|s| &s.template), "spec.template")
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
        let count = |n: Option<i32>| i64::from(n.unwrap_or_default()).into();
        let node_selector = spec.and_then(|s| s.template.spec.as_ref()).and_then(|s| s.node_selector.as_ref());
        let mut row: Row = vec![
            cells::name(&self.metadata),
            count(status.map(|s| s.desired_number_scheduled)),
            count(status.map(|s| s.current_number_scheduled)),
            count(status.map(|s| s.number_ready)),
            count(status.and_then(|s| s.updated_number_scheduled)),
            count(status.and_then(|s| s.number_available)),
            cells::labels(node_selector).into(),
            cells::age(&self.metadata, now),
        ];
        row.extend(workload::wide_cells(spec.map(|s| &s.template), Some(cells::selector(spec.map(|s| &s.selector)))));
        row
    }
}

fn validate_strategy(spec: &DaemonSetSpec, path: &Path, errors: &mut ErrorList) {
    let Some(strategy) = &spec.update_strategy else { return };
    match strategy.type_.as_deref().unwrap_or_default() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let Some(rolling) = &strategy.rolling_update else {
                errors.push(Error::required(&path.child("rollingUpdate"), ""));
                return;
            };
            let path = path.child("rollingUpdate");
            let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
            workload::validate_int_or_percent(unavailable, &path.child("maxUnavailable"), errors);
            workload::validate_int_or_percent(surge, &path.child("maxSurge"), errors);
            let both = (workload::int_or_percent(unavailable), workload::int_or_percent(surge));
            match both {
                (0, 0) => {
                    let detail = "cannot be 0 when maxSurge is 0";
                    errors.push(Error::invalid(&path.child("maxUnavailable"), unavailable, detail));
                }
                (a, b) if a != 0 && b != 0 => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.push(Error::invalid(&path.child("maxSurge"), surge, detail));
                }
                _ => {}
            }
            workload::not_more_than_hundred_percent(unavailable, &path.child("maxUnavailable"), errors);
            workload::not_more_than_hundred_percent(surge, &path.child("maxSurge"), errors);
        }
        other => {
            errors.push(Error::not_supported(&path.child("type"), other, &["RollingUpdate", "OnDelete"]));
        }
    }
}
