//! Jobs and pods in, plans out.
use super::plan::{View, plan};
use crate::fixtures::{now, object, objects};

fn planned(spec: &str, status: &str, pods: &str) -> String {
    let job = format!(
        "metadata: {{name: j, namespace: default, uid: job}}\n\
         spec: {{selector: {{matchLabels: {{job: j}}}}, template: {{metadata: {{labels: {{job: j}}}}, spec: {{containers: [{{name: c}}]}}}}, {spec}}}\n\
         status: {{startTime: '2025-12-31T23:00:00Z', {status}}}"
    );
    plan(&View { job: object(&job), pods: objects(pods) }, now()).to_string()
}

fn pod(name: &str, phase: &str, index: Option<i32>) -> String {
    let annotation = index
        .map(|i| format!("annotations: {{batch.kubernetes.io/job-completion-index: '{i}'}}, "))
        .unwrap_or_default();
    format!(
        "metadata: {{name: {name}, namespace: default, uid: {name}, {annotation}labels: {{job: j}}, finalizers: [batch.kubernetes.io/job-tracking], \
         creationTimestamp: '2025-12-31T23:30:00Z', ownerReferences: [{{apiVersion: batch/v1, kind: Job, name: j, uid: job, controller: true}}]}}\n\
         status: {{phase: {phase}}}\n---\n"
    )
}

#[test]
fn what_has_ended_is_accounted_for_before_anything_is_started() {
    let text = planned("parallelism: 1, completions: 2", "", &pod("a", "Succeeded", None));
    let before_the_start = text.split("create Pod").next().unwrap_or_default();
    assert!(before_the_start.contains("uncountedTerminatedPods") && text.contains("create Pod"), "{text}");
}

#[test]
fn pods_are_started_up_to_parallelism_and_what_is_missing() {
    assert_eq!(planned("parallelism: 3, completions: 5", "", "").matches("create Pod default/j-").count(), 3);
    assert_eq!(planned("parallelism: 3, completions: 5", "succeeded: 4", "").matches("create Pod").count(), 1);
    assert_eq!(planned("parallelism: 2", "succeeded: 1", "").matches("create Pod").count(), 0, "one success is enough");
}

#[test]
fn a_success_is_noted_released_counted_and_completes() {
    let noted = planned("completions: 1", "", &pod("a", "Succeeded", None));
    insta::assert_snapshot!(noted, @r#"
    replace Job default/j/status {"conditions":[{"lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"SuccessCriteriaMet"}],"ready":0,"startTime":"2025-12-31T23:00:00Z","terminating":0,"uncountedTerminatedPods":{"succeeded":["a"]}}
    | patch Pod default/a {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
    "#);
    let uncounted = "uncountedTerminatedPods: {succeeded: [a]}, conditions: [{type: SuccessCriteriaMet, status: 'True', reason: SuccessPolicy, message: m}]";
    let counted = planned("completions: 1", uncounted, "");
    insta::assert_snapshot!(counted, @r#"
    replace Job default/j/status {"completionTime":"2026-01-01T00:00:00Z","conditions":[{"message":"m","reason":"SuccessPolicy","status":"True","type":"SuccessCriteriaMet"},{"lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z","message":"m","reason":"SuccessPolicy","status":"True","type":"Complete"}],"ready":0,"startTime":"2025-12-31T23:00:00Z","succeeded":1,"terminating":0,"uncountedTerminatedPods":{}}
    event Normal Completed "Job completed"
    "#);
}

#[test]
fn failures_past_the_limit_fail_the_job() {
    let pods = [pod("a", "Failed", None), pod("b", "Running", None)].concat();
    let text = planned("completions: 2, parallelism: 2, backoffLimit: 0", "", &pods);
    assert!(text.contains("delete Pod default/b") && text.contains("BackoffLimitExceeded"), "{text}");
    assert!(!text.contains(r#""type":"Failed""#), "only when its pods are gone");
}

#[test]
fn the_next_pod_waits_after_failures() {
    let fresh = pod("a", "Failed", None).replace("23:30:00", "23:59:55");
    let text = planned("completions: 1", "", &fresh);
    assert!(!text.contains("create Pod") && text.ends_with("again in 5s\n"), "{text}");
}

#[test]
fn deadlines_and_suspension_stop_pods() {
    let text = planned("completions: 1, activeDeadlineSeconds: 60", "", &pod("a", "Running", None));
    assert!(text.contains("DeadlineExceeded") && text.contains("delete Pod default/a"), "{text}");
    let text = planned("completions: 1, suspend: true", "", &pod("a", "Running", None));
    assert!(text.contains("Job suspended") && text.contains("delete Pod default/a"), "{text}");
    assert!(!text.contains("startTime"), "the clock starts again when it is resumed: {text}");
}

#[test]
fn indexes_are_filled() {
    let pods = [pod("a", "Succeeded", Some(0)), pod("b", "Running", Some(2))].concat();
    let text = planned("completions: 4, parallelism: 3, completionMode: Indexed", "", &pods);
    assert!(text.contains("create Pod default/j-1-") && text.contains("create Pod default/j-3-"), "{text}");
    assert!(text.contains(r#""completedIndexes":"0""#), "{text}");
}

#[test]
fn policies_decide_about_failures() {
    let spec = "completions: 1, backoffLimit: 0, podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: 'True'}]}]}";
    let disrupted = pod("a", "Failed", None)
        .replace("phase: Failed", "phase: Failed, conditions: [{type: DisruptionTarget, status: 'True'}]");
    let text = planned(spec, "", &disrupted);
    assert!(text.contains("create Pod") && !text.contains("BackoffLimitExceeded"), "{text}");
}

const PER_INDEX: &str =
    "completions: 2, parallelism: 2, completionMode: Indexed, backoffLimit: 100, backoffLimitPerIndex: 1";

#[test]
fn indexes_fail_by_themselves() {
    let failed = pod("a", "Failed", Some(0));
    let text = planned(PER_INDEX, "", &failed);
    assert!(text.contains("create Pod default/j-0-") && text.contains("create Pod default/j-1-"), "{text}");
    assert!(!text.contains("patch Pod default/a"), "held until its successor has its count");
    let again = failed.replace("annotations: {", "annotations: {batch.kubernetes.io/job-index-failure-count: '1', ");
    let text = planned(PER_INDEX, "", &again);
    assert!(text.contains(r#""failedIndexes":"0""#) && !text.contains("create Pod default/j-0-"), "{text}");
    let both = [again, pod("b", "Succeeded", Some(1))].concat();
    assert!(
        planned(PER_INDEX, "", &both).contains(r#""reason":"FailedIndexes","status":"True","type":"FailureTarget""#)
    );
}

#[test]
fn the_failure_policy_says_why() {
    let policy = "podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, values: [42]}}, \
                  {action: FailJob, onExitCodes: {containerName: c, operator: In, values: [3]}}]}";
    let ended = |code: i32| {
        let state = format!(
            "phase: Failed, containerStatuses: [{{name: c, image: '', imageID: '', ready: false, restartCount: 0, state: {{terminated: {{exitCode: {code}}}}}}}]"
        );
        pod("a", "Failed", Some(0)).replace("phase: Failed", &state)
    };
    let text = planned(&format!("{PER_INDEX}, {policy}"), "", &ended(42));
    assert!(text.contains(r#""failedIndexes":"0""#), "{text}");
    let text = planned(&format!("{PER_INDEX}, {policy}"), "", &ended(3));
    let why = "Container c for pod default/a failed with exit code 3 matching FailJob rule at index 1";
    assert!(text.contains(why) && text.contains(r#""reason":"PodFailurePolicy""#), "{text}");
}

#[test]
fn success_policies_end_jobs_early() {
    let spec = "completions: 3, parallelism: 3, completionMode: Indexed, successPolicy: {rules: [{succeededIndexes: '1-2', succeededCount: 1}]}";
    let pods = [pod("a", "Running", Some(0)), pod("b", "Succeeded", Some(2))].concat();
    let text = planned(spec, "", &pods);
    assert!(text.contains("delete Pod default/a") && text.contains("Matched rules at index 0"), "{text}");
    let pods = [pod("a", "Succeeded", Some(0)), pod("b", "Running", Some(2))].concat();
    assert!(!planned(spec, "", &pods).contains("SuccessCriteriaMet"));
}

#[test]
fn jobs_of_other_managers_are_left_alone() {
    let spec = "completions: 1, managedBy: example.com/other";
    assert_eq!(planned(spec, "", &pod("a", "Succeeded", None)), "");
    assert!(planned("completions: 1, managedBy: kubernetes.io/job-controller", "", "").contains("create Pod"));
}
