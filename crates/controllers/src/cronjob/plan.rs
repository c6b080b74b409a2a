//! What is to be done about a CronJob: start what is due, forget what ended, come back in time.
use super::schedule::Schedule;
use crate::runtime::{Plan, Write, owners};
use client::{Key, events::reference};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::core::ObjectMeta;
use std::{sync::Arc, time::Duration};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed starts past which the clock is suspected.
const TOO_MANY: u32 = 100;

/// What there is: the CronJob and the Jobs it controls.
pub struct View {
    pub cron_job: Arc<CronJob>,
    pub jobs: Vec<Arc<Job>>,
}

fn is(job: &Job, kind: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn is_finished(job: &Job) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

/// What to do now.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let cron_job = &*view.cron_job;
    if cron_job.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let spec = &cron_job.spec;
    let about = reference(cron_job);
    let mut status = cron_job.status.clone().unwrap_or_default();
    note_jobs(&mut plan, view, &about, &mut status);
    clean_up(&mut plan, view, spec, &about);
    if spec.suspend != Some(true) {
        match Schedule::parse(&spec.schedule, spec.time_zone.as_deref()) {
            Ok(schedule) => start_due(&mut plan, view, spec, &schedule, &mut status, now),
            Err(error) => {
                let (reason, message) = match (Schedule::parse(&spec.schedule, None), &spec.time_zone) {
                    (Ok(_), Some(zone)) => ("UnknownTimeZone", format!("invalid timeZone: {zone:?}: {error}")),
                    _ => ("UnparseableSchedule", format!("unparseable schedule: {:?} : {error}", spec.schedule)),
                };
                plan.warning(&about, reason, message);
            }
        }
    }
    if Some(&status) != cron_job.status.as_ref() {
        let (metadata, spec) = (cron_job.metadata.clone(), cron_job.spec.clone());
        plan.write(Write::replace_status(&CronJob { metadata, spec, status: Some(status) }).or_gone());
    }
    plan
}

/// Keep `status.active` and the last success true.
fn note_jobs(plan: &mut Plan, view: &View, about: &ObjectReference, status: &mut CronJobStatus) {
    let known = status.active.take().unwrap_or_default();
    let mut active = Vec::new();
    for job in &view.jobs {
        let was_active = known.iter().any(|active| active.uid == job.metadata.uid);
        if !is_finished(job) {
            if was_active || is_made_here(&view.cron_job, job) {
                active.push(ObjectReference { resource_version: None, ..reference(&**job) });
            } else {
                let name = Key::of(&**job).name;
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                plan.warning(about, "UnexpectedJob", message);
            }
            continue;
        }
        if was_active {
            let result = if is(job, "Complete") { "Complete" } else { "Failed" };
            let message = format!("Saw completed job: {}, condition: {result}", Key::of(&**job).name);
            plan.normal(about, "SawCompletedJob", message);
        }
        let done =
            job.status.as_ref().and_then(|status| status.completion_time.clone()).filter(|_| is(job, "Complete"));
        let last = status.last_successful_time.as_ref().map(|time| time.0);
        if let Some(done) = done.filter(|done| last.is_none_or(|last| done.0 > last)) {
            status.last_successful_time = Some(done);
        }
    }
    for gone in known.iter().filter(|known| !view.jobs.iter().any(|job| job.metadata.uid == known.uid)) {
        let name = gone.name.as_deref().unwrap_or_default();
        plan.normal(about, "MissingJob", format!("Active job went missing: {name}"));
    }
    active.sort_by(|a, b| a.name.cmp(&b.name));
    status.active = Some(active).filter(|active| !active.is_empty());
}

/// Whether the job's name is one that we give; others may make jobs from the same template.
fn is_made_here(cron_job: &CronJob, job: &Job) -> bool {
    let (parent, job) = (Key::of(cron_job).name, Key::of(job).name);
    let minute = job.strip_prefix(&*parent).and_then(|rest| rest.strip_prefix('-'));
    minute.is_some_and(|minute| !minute.is_empty() && minute.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Delete finished Jobs past the history limits, the oldest first.
fn clean_up(plan: &mut Plan, view: &View, spec: &CronJobSpec, about: &ObjectReference) {
    let limits = [
        ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
        ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
    ];
    for (kind, limit) in limits {
        let mut finished: Vec<_> = view.jobs.iter().filter(|job| is(job, kind)).collect();
        finished
            .sort_by_key(|job| job.status.as_ref().and_then(|status| status.start_time.as_ref().map(|time| time.0)));
        let surplus = finished.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for job in finished.into_iter().take(surplus) {
            let message = format!("Deleted job {}", Key::of(&**job).name);
            plan.write(Write::delete(&**job, Some("Background")).told(about, "SuccessfulDelete", message));
        }
    }
}

/// The latest time that is due, and whether suspiciously many were missed.
fn due(schedule: &Schedule, from: Timestamp, now: Timestamp) -> (Option<Timestamp>, u32) {
    let (mut latest, mut count, mut at) = (None, 0_u32, from);
    while let Some(next) = schedule.next(at).filter(|next| *next <= now) {
        latest = Some(next);
        count += 1;
        at = next;
        // A long gap is skipped rather than walked through.
        if count > TOO_MANY {
            at = at.max(now - SignedDuration::from_hours(24 * 32));
        }
        if count > 100 * TOO_MANY {
            break;
        }
    }
    (latest, count)
}

fn start_due(
    plan: &mut Plan,
    view: &View,
    spec: &CronJobSpec,
    schedule: &Schedule,
    status: &mut CronJobStatus,
    now: Timestamp,
) {
    let cron_job = &*view.cron_job;
    let about = reference(cron_job);
    if let Some(next) = schedule.next(now)
        && let Ok(wait) = Duration::try_from(next.duration_since(now))
    {
        plan.again_in(wait + Duration::from_millis(100));
    }
    let created = cron_job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let mut from = status.last_schedule_time.as_ref().map_or(created, |time| time.0);
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    if let Some(deadline) = deadline {
        from = from.max(now - deadline);
    }
    let (latest, missed) = due(schedule, from, now);
    let Some(at) = latest else { return };
    if missed > TOO_MANY {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.warning(&about, "TooManyMissedTimes", message);
    }
    if deadline.is_some_and(|deadline| now.duration_since(at) > deadline) {
        plan.warning(
            &about,
            "MissSchedule",
            format!("Missed scheduled time to start a job: {}", at.strftime("%a, %d %b %Y %H:%M:%S +0000")),
        );
        return;
    }
    let job = job(cron_job, spec, schedule, at);
    if view.jobs.iter().any(|known| known.metadata.name == job.metadata.name) {
        status.last_schedule_time = Some(Time(at));
        return;
    }
    let is_active = |job: &Job| status.active.iter().flatten().any(|active| active.uid == job.metadata.uid);
    let running: Vec<_> = view.jobs.iter().filter(|job| !is_finished(job) && is_active(job)).collect();
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !running.is_empty() => {
            plan.normal(
                &about,
                "JobAlreadyActive",
                "Not starting job because prior execution is running and concurrency policy is Forbid",
            );
            return;
        }
        Some("Replace") => {
            for job in running {
                let message = format!("Deleted job {}", Key::of(&**job).name);
                plan.write(Write::delete(&**job, Some("Background")).told(&about, "SuccessfulDelete", message));
            }
            status.active = None;
        }
        _ => {}
    }
    let create = Write::create(&job).or_exists().told(&about, "SuccessfulCreate", "Created job {name}");
    plan.write(create.told_failed(&about, "FailedCreate", "Error creating job: {error}"));
    status.last_schedule_time = Some(Time(at));
}

/// The Job for the scheduled time; its name says which, so that none is started twice.
fn job(cron_job: &CronJob, spec: &CronJobSpec, schedule: &Schedule, at: Timestamp) -> Job {
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), schedule.local(at));
    let metadata = ObjectMeta {
        namespace: cron_job.metadata.namespace.clone(),
        name: Some(format!("{}-{}", Key::of(cron_job).name, at.as_second() / 60)),
        labels: template.labels,
        annotations: Some(annotations),
        owner_references: Some(vec![owners::controller_reference(cron_job)]),
        ..Default::default()
    };
    Job { metadata, spec: spec.job_template.spec.clone(), status: None }
}
