//! Jobs. Unless a client brings its own, the server makes the selector from the job's UID.
use crate::{
    apps::workload,
    cells,
    core::pod::{defaults, warnings},
    kind::{Kind, spec_and_status},
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    duration,
    field::{Error, ErrorList, Path},
    labels,
    table::{Column, Row},
};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{Affinity, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::collections::BTreeMap;

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const LEGACY_CONTROLLER_UID: &str = "controller-uid";
const LEGACY_JOB_NAME: &str = "job-name";
const RESTART_POLICIES: &[&str] = &["OnFailure", "Never"];
const INDEXED_PARALLELISM_MAX: i32 = 100_000;

pub fn default_spec(spec: &mut JobSpec) {
    defaults::template(&mut spec.template);
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    spec.backoff_limit.get_or_insert(if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 });
    defaults::text(&mut spec.completion_mode, "NonIndexed");
    spec.suspend.get_or_insert(false);
    let has_failure_policy = spec.pod_failure_policy.is_some();
    let replacement = if has_failure_policy { "Failed" } else { "TerminatingOrFailed" };
    defaults::text(&mut spec.pod_replacement_policy, replacement);
    for rule in spec.pod_failure_policy.iter_mut().flat_map(|p| &mut p.rules) {
        for pattern in rule.on_pod_conditions.iter_mut().flatten() {
            defaults::text(&mut pattern.status, "True");
        }
    }
}

/// The selector and the template labels that the server makes.
fn generate_selector(job: &mut Job) {
    let Some(uid) = job.metadata.uid.clone() else { return };
    let name = job.metadata.name.clone().unwrap_or_default();
    let spec = job.spec.get_or_insert_default();
    if spec.manual_selector == Some(true) {
        return;
    }
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.entry(LEGACY_JOB_NAME.into()).or_insert_with(|| name.clone());
    labels.entry(JOB_NAME.into()).or_insert(name);
    labels.entry(LEGACY_CONTROLLER_UID.into()).or_insert_with(|| uid.clone());
    labels.entry(CONTROLLER_UID.into()).or_insert_with(|| uid.clone());
    let match_labels = spec.selector.get_or_insert_default().match_labels.get_or_insert_default();
    match_labels.entry(CONTROLLER_UID.into()).or_insert(uid);
}

fn condition(job: &Job, type_: &str) -> bool {
    job.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|c| c.type_ == type_ && c.status == "True")
}

impl Kind for Job {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Status", "Status of the job."),
        cells::text(
            "Completions",
            "Specifies the desired number of successfully finished pods the job should be run with.  Setting to null means that the success of any pod signals the success of all pods, and allows parallelism to have any positive value.  Setting to 1 means that parallelism is limited to 1 and the success of that pod signals the success of the job. More info: https://kubernetes.io/docs/concepts/workloads/controllers/jobs-run-to-completion/",
        ),
        cells::text("Duration", "Time required to complete the job."),
        cells::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        cells::wide(
            "Selector",
            "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ),
    ];
    const GENERATION: bool = true;

    spec_and_status!();

    fn info() -> Info {
        Info::new("batch", "v1", "Job", "jobs").category("all").status().selectable(&["status.successful"])
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        default_spec(spec);
        if self.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty)
            && let Some(labels) = spec.template.metadata.as_ref().and_then(|m| m.labels.as_ref())
        {
            self.metadata.labels = Some(labels.clone());
        }
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        generate_selector(self);
    }

    fn prepare_update(&mut self, target: Target, old: &Self) {
        if target == Target::Main
            && let (Some(new), Some(old)) = (&mut self.spec, &old.spec)
            && new.selector.is_none()
        {
            // Clients that apply what they created do not know the selector that was made for them.
            new.selector.clone_from(&old.selector);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let Some(spec) = &self.spec else { return };
        validate_spec(spec, &path, errors);
        match &spec.selector {
            None => errors.push(Error::required(&path.child("selector"), "")),
            Some(selector) => {
                meta::validate_label_selector(selector, &path.child("selector"), errors);
                validate_selector_matches(spec, selector, &path, errors);
            }
        }
    }

    fn validate_update(&self, target: Target, old: &Self, errors: &mut ErrorList) {
        let (Some(new), Some(before)) = (&self.spec, &old.spec) else { return };
        if target != Target::Main {
            return;
        }
        let path = Path::new("spec");
        let indexed = before.completion_mode.as_deref() == Some("Indexed");
        if !(indexed && new.completions == new.parallelism) {
            meta::immutable(&path.child("completions"), new.completions, before.completions, errors);
        }
        meta::immutable(&path.child("selector"), &new.selector, &before.selector, errors);
        let changed =
            if is_idle(old) { keep_mutable(&before.template, &new.template) } else { before.template.clone() };
        meta::immutable(&path.child("template"), &new.template, &changed, errors);
        meta::immutable(&path.child("completionMode"), &new.completion_mode, &before.completion_mode, errors);
        let policy = path.child("podFailurePolicy");
        meta::immutable(&policy, &new.pod_failure_policy, &before.pod_failure_policy, errors);
        let per_index = path.child("backoffLimitPerIndex");
        meta::immutable(&per_index, new.backoff_limit_per_index, before.backoff_limit_per_index, errors);
        meta::immutable(&path.child("managedBy"), &new.managed_by, &before.managed_by, errors);
        meta::immutable(&path.child("successPolicy"), &new.success_policy, &before.success_policy, errors);
    }

    fn field_values(&self) -> Vec<String> {
        vec![self.status.as_ref().and_then(|s| s.succeeded).unwrap_or_default().to_string()]
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
        let succeeded = status.and_then(|s| s.succeeded).unwrap_or_default();
        let parallelism = spec.and_then(|s| s.parallelism).unwrap_or_default();
        let completions = match spec.and_then(|s| s.completions) {
            Some(wanted) => format!("{succeeded}/{wanted}"),
            None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            None => format!("{succeeded}/1"),
        };
        let start = status.and_then(|s| s.start_time.as_ref());
        let end = status.and_then(|s| s.completion_time.as_ref());
        let took = start.map(|start| {
            let end = end.map_or(now, |t| t.0.as_second());
            duration::human(end.saturating_sub(start.0.as_second()))
        });
        let mut row: Row = vec![
            cells::name(&self.metadata),
            status_text(self).into(),
            completions.into(),
            took.unwrap_or_default().into(),
            cells::age(&self.metadata, now),
        ];
        let selector = cells::selector(spec.and_then(|s| s.selector.as_ref()));
        row.extend(workload::wide_cells(spec.map(|s| &s.template), Some(selector)));
        row
    }
}

/// Suspended, with no pods left: where its next pods run, and what they may use, can be decided anew.
fn is_idle(job: &Job) -> bool {
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    let status = job.status.as_ref();
    let active = status.and_then(|s| s.active).unwrap_or_default();
    let started = status.is_some_and(|s| s.start_time.is_some());
    suspended && active == 0 && (!started || condition(job, "Suspended"))
}

/// `old` with what may change in an idle job taken from `new`: labels, annotations, scheduling directives and the
/// resources of containers (KEP-2926, KEP-5440). Of the affinity only that to nodes may change.
fn keep_mutable(old: &PodTemplateSpec, new: &PodTemplateSpec) -> PodTemplateSpec {
    let mut kept = old.clone();
    match (&mut kept.metadata, &new.metadata) {
        (Some(kept), Some(new)) => {
            kept.labels.clone_from(&new.labels);
            kept.annotations.clone_from(&new.annotations);
        }
        (kept, new) => kept.clone_from(new),
    }
    let (Some(kept_spec), Some(new)) = (&mut kept.spec, &new.spec) else { return kept };
    kept_spec.node_selector.clone_from(&new.node_selector);
    kept_spec.tolerations.clone_from(&new.tolerations);
    kept_spec.scheduling_gates.clone_from(&new.scheduling_gates);
    let node_affinity = new.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    match (&mut kept_spec.affinity, &new.affinity) {
        (Some(kept), Some(_)) => kept.node_affinity = node_affinity,
        (kept @ None, Some(_)) => *kept = Some(Affinity { node_affinity, ..Affinity::default() }),
        (kept @ Some(_), None) => {
            *kept = kept.take().map(|a| Affinity { node_affinity: None, ..a }).filter(|a| *a != Affinity::default());
        }
        (None, None) => {}
    }
    let news = new.containers.iter().chain(new.init_containers.iter().flatten());
    for new in news {
        let olds = kept_spec.containers.iter_mut().chain(kept_spec.init_containers.iter_mut().flatten());
        for old in olds.filter(|old| old.name == new.name) {
            old.resources.clone_from(&new.resources);
        }
    }
    kept
}

fn status_text(job: &Job) -> &'static str {
    if condition(job, "Complete") {
        "Complete"
    } else if condition(job, "Failed") {
        "Failed"
    } else if job.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else if condition(job, "Suspended") {
        "Suspended"
    } else if condition(job, "FailureTarget") {
        "FailureTarget"
    } else if condition(job, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn validate_selector_matches(spec: &JobSpec, selector: &LabelSelector, path: &Path, errors: &mut ErrorList) {
    let labels = spec.template.metadata.as_ref().and_then(|m| m.labels.as_ref());
    let matches = labels::from_label_selector(selector).is_ok_and(|s| s.matches_option(labels));
    if !matches {
        let at = path.child("template").child("metadata").child("labels");
        errors.push(Error::invalid(&at, labels, "`selector` does not match template `labels`"));
    }
}

/// What holds for jobs and for the jobs of CronJobs.
pub fn validate_spec(spec: &JobSpec, path: &Path, errors: &mut ErrorList) {
    workload::optional_non_negative(spec.parallelism, &path.child("parallelism"), errors);
    workload::optional_non_negative(spec.completions, &path.child("completions"), errors);
    workload::optional_non_negative(spec.active_deadline_seconds, &path.child("activeDeadlineSeconds"), errors);
    workload::optional_non_negative(spec.backoff_limit, &path.child("backoffLimit"), errors);
    workload::optional_non_negative(spec.ttl_seconds_after_finished, &path.child("ttlSecondsAfterFinished"), errors);
    workload::optional_non_negative(spec.backoff_limit_per_index, &path.child("backoffLimitPerIndex"), errors);
    workload::optional_non_negative(spec.max_failed_indexes, &path.child("maxFailedIndexes"), errors);
    let mode = spec.completion_mode.as_deref().unwrap_or_default();
    match mode {
        "NonIndexed" | "" => {
            if spec.backoff_limit_per_index.is_some() {
                let detail = "requires indexed completion mode";
                errors.push(Error::invalid(&path.child("backoffLimitPerIndex"), spec.backoff_limit_per_index, detail));
            }
        }
        "Indexed" => {
            if spec.completions.is_none() {
                let detail = "when completion mode is Indexed";
                errors.push(Error::required(&path.child("completions"), detail));
            }
            if let Some(many) = spec.parallelism.filter(|p| *p > INDEXED_PARALLELISM_MAX) {
                let detail =
                    format!("must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed");
                errors.push(Error::invalid(&path.child("parallelism"), many, detail));
            }
        }
        other => {
            errors.push(Error::not_supported(&path.child("completionMode"), other, &["Indexed", "NonIndexed"]));
        }
    }
    let replacement = spec.pod_replacement_policy.as_deref().unwrap_or_default();
    let at = path.child("podReplacementPolicy");
    match (spec.pod_failure_policy.is_some(), replacement) {
        (_, "" | "Failed") | (false, "TerminatingOrFailed") => {}
        (true, other) => errors.push(Error::not_supported(&at, other, &["Failed"])),
        (false, other) => errors.push(Error::not_supported(&at, other, &["Failed", "TerminatingOrFailed"])),
    }
    let template = path.child("template");
    let policy = spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or_default();
    if policy.is_empty() || policy == "Always" {
        let at = template.child("spec").child("restartPolicy");
        errors.push(Error::required(&at, "valid values: \"OnFailure\", \"Never\""));
        crate::core::pod::validate::template(&spec.template, &template, errors);
    } else {
        workload::validate_template(&spec.template, RESTART_POLICIES, &template, errors);
    }
    if spec.pod_failure_policy.is_some() && policy != "Never" {
        let at = template.child("spec").child("restartPolicy");
        errors.push(Error::invalid(&at, policy, "only \"Never\" is supported when podFailurePolicy is specified"));
    }
}
