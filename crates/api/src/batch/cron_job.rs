//! CronJobs.
use crate::{
    apps::workload,
    batch::{job, schedule},
    cells,
    core::pod::defaults,
    kind::{Kind, spec_and_status},
    resource::Info,
};
use apimachinery::{
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::api::{
    batch::v1::{CronJob, CronJobSpec},
    core::v1::PodTemplateSpec,
};

/// Jobs get 11 characters behind the name.
const NAME_MAX: usize = 52;

fn validate_schedule(spec: &CronJobSpec, path: &Path, errors: &mut ErrorList) {
    let at = path.child("schedule");
    if spec.schedule.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if spec.schedule.contains("TZ") {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(Error::invalid(&at, &spec.schedule, detail));
    } else if let Err(why) = schedule::check(&spec.schedule) {
        errors.push(Error::invalid(&at, &spec.schedule, why));
    }
    if let Some(zone) = &spec.time_zone {
        let at = path.child("timeZone");
        if zone.is_empty() {
            errors.push(Error::invalid(&at, zone, "timeZone must be nil or non-empty string"));
        } else if zone.eq_ignore_ascii_case("local") {
            errors.push(Error::invalid(
                &at,
                zone,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            ));
        } else if jiff::tz::TimeZone::get(zone).is_err() {
            errors.push(Error::invalid(&at, zone, format!("unknown time zone {zone}")));
        }
    }
}

impl Kind for CronJob {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
        cells::text(
            "Timezone",
            "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones",
        ),
        cells::boolean(
            "Suspend",
            "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false.",
        ),
        cells::integer("Active", "A list of pointers to currently running jobs."),
        cells::text("Last Schedule", "Information when was the last time the job was successfully scheduled."),
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
        Info::new("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).category("all").status()
    }

    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        defaults::text(&mut spec.concurrency_policy, "Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        spec.job_template.metadata.get_or_insert_default();
        // The jobs' own defaults are set when they are made; their pods' already here.
        if let Some(job) = &mut spec.job_template.spec {
            defaults::template(&mut job.template);
        }
        self.status.get_or_insert_default();
    }

    fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let spec = &self.spec;
        validate_schedule(spec, &path, errors);
        workload::optional_non_negative(spec.starting_deadline_seconds, &path.child("startingDeadlineSeconds"), errors);
        match spec.concurrency_policy.as_deref().unwrap_or_default() {
            "Allow" | "Forbid" | "Replace" => {}
            "" => errors.push(Error::required(&path.child("concurrencyPolicy"), "")),
            other => {
                let at = path.child("concurrencyPolicy");
                errors.push(Error::not_supported(&at, other, &["Allow", "Forbid", "Replace"]));
            }
        }
        if let Some(job) = &spec.job_template.spec {
            let at = path.child("jobTemplate").child("spec");
            job::validate_spec(job, &at, errors);
            if job.manual_selector == Some(true) {
                errors.push(Error::not_supported(&at.child("manualSelector"), true, &["nil", "false"]));
            }
        }
        let kept = path.child("successfulJobsHistoryLimit");
        workload::optional_non_negative(spec.successful_jobs_history_limit, &kept, errors);
        let kept = path.child("failedJobsHistoryLimit");
        workload::optional_non_negative(spec.failed_jobs_history_limit, &kept, errors);
    }

    fn validate_create(&self, errors: &mut ErrorList) {
        if self.metadata.name.as_ref().is_some_and(|n| n.len() > NAME_MAX) {
            let detail = format!("must be no more than {NAME_MAX} characters");
            let at = Path::new("metadata").child("name");
            errors.push(Error::invalid(&at, &self.metadata.name, detail));
        }
    }

    fn pod_template(&self) -> Option<&PodTemplateSpec> {
        self.spec.job_template.spec.as_ref().map(|job| &job.template)
    }

    fn pod_template_mut(&mut self) -> Option<&mut PodTemplateSpec> {
        self.spec.job_template.spec.as_mut().map(|job| &mut job.template)
    }

    fn row(&self, now: i64) -> Row {
        let spec = Some(&self.spec);
        let status = self.status.as_ref();
        let last = status.and_then(|s| s.last_schedule_time.as_ref());
        let zone = spec.and_then(|s| s.time_zone.as_deref());
        let mut row: Row = vec![
            cells::name(&self.metadata),
            spec.map_or("", |s| &s.schedule).into(),
            zone.unwrap_or(cells::NONE).into(),
            match spec.and_then(|s| s.suspend) {
                Some(true) => "True".into(),
                Some(false) => "False".into(),
                None => cells::UNSET.into(),
            },
            i64::try_from(status.and_then(|s| s.active.as_ref()).map_or(0, Vec::len)).unwrap_or_default().into(),
            last.map_or_else(|| cells::NONE.to_owned(), |t| cells::since(Some(t), now)).into(),
            cells::age(&self.metadata, now),
        ];
        let job = spec.and_then(|s| s.job_template.spec.as_ref());
        let selector = cells::selector(job.and_then(|j| j.selector.as_ref()));
        row.extend(workload::wide_cells(job.map(|j| &j.template), Some(selector)));
        row
    }
}
