//! CronJobs and Jobs in, plans out.
use super::plan::{View, plan};
use crate::fixtures::{object, objects};

fn planned(spec: &str, status: &str, jobs: &str, at: &str) -> String {
    let cron_job = format!(
        "metadata: {{name: c, namespace: default, uid: cron, creationTimestamp: '2026-01-01T00:00:00Z'}}\n\
         spec: {{schedule: '*/10 * * * *', jobTemplate: {{spec: {{template: {{}}}}}}, {spec}}}\nstatus: {{{status}}}"
    );
    plan(&View { cron_job: object(&cron_job), jobs: objects(jobs) }, at.parse().expect("a time")).to_string()
}

const RUNNING: &str = "metadata: {name: c-1, namespace: default, uid: j1}\nstatus: {}";

#[test]
fn a_job_starts_when_it_is_due() {
    assert_eq!(planned("", "", "", "2026-01-01T00:05:00Z"), "again in 5m0.1s\n");
    insta::assert_snapshot!(planned("", "", "", "2026-01-01T00:10:00Z"), @r#"
    create Job default/c-29453770 -> Normal SuccessfulCreate "Created job {name}"
    replace CronJob default/c/status {"lastScheduleTime":"2026-01-01T00:10:00Z"}
    again in 10m0.1s
    "#);
    let started = "lastScheduleTime: '2026-01-01T00:10:00Z'";
    assert_eq!(planned("", started, "", "2026-01-01T00:10:01Z"), "again in 9m59.1s\n", "once");
}

#[test]
fn concurrency_is_as_wished() {
    let at = "2026-01-01T00:10:00Z";
    assert!(planned("concurrencyPolicy: Forbid", "", RUNNING, at).contains("JobAlreadyActive"));
    let replaced = planned("concurrencyPolicy: Replace", "", RUNNING, at);
    assert!(replaced.contains("delete Job default/c-1") && replaced.contains("create Job default/c-"), "{replaced}");
    assert!(planned("", "", RUNNING, at).contains("create Job"));
}

#[test]
fn suspended_and_late_jobs_do_not_start() {
    assert!(!planned("suspend: true", "", "", "2026-01-01T00:10:00Z").contains("create Job"));
    assert!(!planned("startingDeadlineSeconds: 30", "", "", "2026-01-01T00:11:00Z").contains("create Job"));
}

#[test]
fn finished_jobs_are_forgotten_past_the_limit() {
    let done = |name: &str, minute: u8| {
        format!(
            "metadata: {{name: {name}, namespace: default, uid: {name}}}\n\
             status: {{startTime: '2026-01-01T00:0{minute}:00Z', conditions: [{{type: Complete, status: 'True'}}]}}\n---\n"
        )
    };
    let jobs = [done("x", 2), done("y", 1)].concat();
    let text = planned("successfulJobsHistoryLimit: 1", "", &jobs, "2026-01-01T00:05:00Z");
    assert!(text.contains("delete Job default/y") && !text.contains("default/x"), "{text}");
}

#[test]
fn jobs_of_others_are_seen_but_do_not_hold_up() {
    let theirs = RUNNING.replace("c-1,", "c-manual,");
    let text = planned("concurrencyPolicy: Forbid", "", &theirs, "2026-01-01T00:10:00Z");
    assert!(text.contains("Saw a job that the controller did not create or forgot: c-manual"), "{text}");
    assert!(text.contains("create Job"), "{text}");
}

#[test]
fn scheduled_times_are_written_in_the_zone_of_the_schedule() {
    let zoned = crate::cronjob::schedule::Schedule::parse("* * * * *", Some("Asia/Tokyo")).expect("a schedule");
    assert_eq!(zoned.local("2026-01-01T00:10:00Z".parse().expect("a time")), "2026-01-01T09:10:00+09:00");
}
