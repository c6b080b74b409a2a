//! Autoscalers, targets and measurements in; plans and sizes out.
use super::{
    history::History,
    limits::{self, Wish},
    metrics::Measured,
    plan::{self, Settings, Unselected, View},
    replicas::{self, Input, Sample, Samples, Startup, Tolerances},
    scale::Scale,
};
use crate::{
    fixtures::{now, object},
    runtime::Target,
};
use client::Key;
use jiff::SignedDuration;
use k8s_openapi::api::{
    autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior},
    core::v1::Pod,
};
use std::sync::Arc;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const STARTUP: Startup =
    Startup { initialization: SignedDuration::from_mins(5), initial_readiness: SignedDuration::from_secs(30) };
const TOLERANCES: Tolerances = Tolerances { down: 0.1, up: 0.1 };

/// A pod that requests one CPU and has been ready for an hour, or as its name says: pending, unready, deleted.
fn pod(name: &str) -> Arc<Pod> {
    let (phase, ready) = match name {
        "pending" => ("Pending", "False"),
        "unready" => ("Running", "False"),
        _ => ("Running", "True"),
    };
    let deleted = if name == "deleted" { ", deletionTimestamp: '2026-01-01T00:00:00Z'" } else { "" };
    // What never became ready has been unready since its start.
    let since = if ready == "True" { "2025-12-31T23:00:30Z" } else { "2025-12-31T23:00:10Z" };
    object(&format!(
        "metadata: {{name: {name}, namespace: a, labels: {{app: w}}{deleted}}}\n\
         spec: {{containers: [{{name: c, resources: {{requests: {{cpu: 1}}}}}}]}}\n\
         status: {{phase: {phase}, startTime: '2025-12-31T23:00:00Z', \
         conditions: [{{type: Ready, status: '{ready}', lastTransitionTime: '{since}'}}]}}"
    ))
}

fn samples(usage: &[(&str, i64)]) -> Samples {
    let sample = |milli| Sample { milli, at: now(), window: MINUTE };
    usage.iter().map(|(pod, milli)| ((*pod).to_owned(), sample(*milli))).collect()
}

fn input<'a>(pods: &'a [Arc<Pod>], current: i32) -> Input<'a> {
    Input { pods, resource: "cpu", tolerances: TOLERANCES, startup: STARTUP, now: now(), current }
}

/// What half a CPU for each pod asks for.
fn wanted(pods: &[&str], usage: &[(&str, i64)]) -> Result<(i32, Option<i32>), String> {
    let pods: Vec<_> = pods.iter().map(|name| pod(name)).collect();
    let current = i32::try_from(pods.len()).expect("few");
    let proposal = replicas::by_utilization(&input(&pods, current), samples(usage), None, 50);
    proposal.map(|proposal| (proposal.replicas, proposal.percent))
}

#[test]
fn utilization_decides_the_size() {
    for (pods, usage, want) in [
        (&["a", "b"][..], &[("a", 1000), ("b", 1000)][..], (4, 100)),
        (&["a", "b"], &[("a", 100), ("b", 100)], (1, 10)),
        // Within a tenth of the target nothing changes.
        (&["a", "b"], &[("a", 540), ("b", 540)], (2, 54)),
        (&["a", "b"], &[("a", 560), ("b", 560)], (3, 56)),
        // A missing one counts as idle when more are wanted, as busy when fewer are.
        (&["a", "b", "c"], &[("a", 1000), ("b", 1000)], (4, 100)),
        (&["a", "b", "c"], &[("a", 100), ("b", 100)], (3, 10)),
        (&["a", "b", "c"], &[("a", 100), ("b", 200)], (3, 15)),
        // What is not ready yet counts as idle when more are wanted, not at all when fewer are.
        (&["a", "pending"], &[("a", 1000)], (2, 100)),
        (&["a", "unready"], &[("a", 100), ("unready", 1000)], (1, 10)),
        (&["a", "deleted"], &[("a", 1000), ("deleted", 5000)], (2, 100)),
        // Metrics of pods nobody knows are left out.
        (&["a"], &[("a", 1000), ("stranger", 9000)], (2, 100)),
    ] {
        assert_eq!(wanted(pods, usage), Ok((want.0, Some(want.1))), "{pods:?} {usage:?}");
    }
}

#[test]
fn what_cannot_be_decided_says_why() {
    for (pods, usage, want) in [
        (&[][..], &[("a", 1)][..], "no pods returned by selector while calculating replica count"),
        (&["a"], &[], "did not receive metrics for targeted pods (pods might be unready)"),
        (&["unready"], &[("unready", 1)], "did not receive metrics for targeted pods (pods might be unready)"),
        (&["a"], &[("b", 1)], "no metrics returned matched known pods"),
    ] {
        assert_eq!(wanted(pods, usage), Err(want.to_owned()), "{pods:?} {usage:?}");
    }
    let pods = [pod("a")];
    let memory = Input { resource: "memory", ..input(&pods, 1) };
    let asked = replicas::by_utilization(&memory, samples(&[("a", 1)]), None, 50);
    assert_eq!(asked, Err("missing request for memory in container c of Pod a".to_owned()));
    let asked = replicas::by_utilization(&input(&pods, 1), samples(&[("a", 1)]), Some("x"), 50);
    assert_eq!(asked, Err("container x not found in Pod a".to_owned()));
}

#[test]
fn a_new_pod_counts_once_a_window_of_it_is_known() {
    let mut young = (*pod("a")).clone();
    let status = young.status.as_mut().expect("a status");
    let at = |text: &str| Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(text.parse().expect("a time")));
    status.start_time = at("2025-12-31T23:58:00Z");
    for (ready_since, counts) in [("2025-12-31T23:58:30Z", true), ("2025-12-31T23:59:30Z", false)] {
        status_of(&mut young, at(ready_since));
        let pods = [Arc::new(young.clone())];
        let proposal = replicas::by_average(&input(&pods, 1), samples(&[("a", 3000)]), 1000);
        assert_eq!(proposal.map(|proposal| proposal.replicas).ok(), counts.then_some(3), "{ready_since}");
    }
}

fn status_of(pod: &mut Pod, since: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>) {
    let conditions = pod.status.as_mut().and_then(|status| status.conditions.as_mut()).expect("conditions");
    conditions[0].last_transition_time = since;
}

#[test]
fn totals_and_shares() {
    let pods = [pod("a"), pod("b"), pod("unready")];
    for (current, usage, want) in [(3, 20_000, 4), (3, 10_500, 3), (3, 0, 0), (0, 25_000, 3)] {
        assert_eq!(replicas::by_total(&input(&pods, current), usage, 10_000), Ok(want), "{current} {usage}");
    }
    assert_eq!(replicas::by_share(2, 50_000, 10_000, TOLERANCES), (5, 25_000));
    assert_eq!(replicas::by_share(2, 21_000, 10_000, TOLERANCES), (2, 10_500));
}

/// Sizes at times in seconds: (at, desired) -> chosen and the reason of `ScalingLimited`.
fn chosen(behavior: Option<&str>, current: i32, steps: &[(i64, i32)]) -> Vec<(i32, &'static str)> {
    let behavior: Option<HorizontalPodAutoscalerBehavior> = behavior.map(object);
    let (mut history, mut current) = (History::default(), current);
    history.begin(current, now() - SignedDuration::from_hours(1));
    let mut sizes = Vec::new();
    for (at, desired) in steps {
        let at = now() + SignedDuration::from_secs(*at);
        let wish =
            Wish { current, desired: *desired, min: 1, max: 50, behavior: behavior.as_ref(), down_window: MINUTE * 5 };
        let choice = limits::choose(&wish, &mut history, at);
        let rules = behavior.as_ref().and_then(|rules| {
            if choice.replicas > current { rules.scale_up.as_ref() } else { rules.scale_down.as_ref() }
        });
        if choice.replicas != current && behavior.is_some() {
            history.scaled(current, choice.replicas, rules, at);
        }
        current = choice.replicas;
        sizes.push((current, choice.limits.0));
    }
    sizes
}

#[test]
fn without_rules_growth_doubles_and_shrinking_waits() {
    assert_eq!(chosen(None, 1, &[(0, 40), (15, 40)]), [(4, "ScaleUpLimit"), (8, "ScaleUpLimit")]);
    assert_eq!(chosen(None, 30, &[(0, 90)]), [(50, "TooManyReplicas")]);
    // A low recommendation counts when no higher one is younger than five minutes.
    let within = "DesiredWithinRange";
    assert_eq!(chosen(None, 10, &[(0, 10), (15, 2), (301, 2)]), [(10, within), (10, within), (2, within)]);
    assert_eq!(chosen(None, 10, &[(0, 0)]), [(1, "TooFewReplicas")]);
}

#[test]
fn rules_bound_the_rate() {
    let up = "{scaleUp: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 4, periodSeconds: 60}]}, \
              scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Percent, value: 10, periodSeconds: 60}]}}";
    let (fast, slow) = ("ScaleUpLimit", "ScaleDownLimit");
    assert_eq!(chosen(Some(up), 2, &[(0, 20), (15, 20), (61, 20)]), [(6, fast), (6, fast), (10, fast)]);
    assert_eq!(chosen(Some(up), 30, &[(0, 5), (15, 5), (61, 5)]), [(27, slow), (27, slow), (24, slow)]);
    let disabled = "{scaleDown: {stabilizationWindowSeconds: 0, selectPolicy: Disabled}}";
    assert_eq!(chosen(Some(disabled), 5, &[(0, 1)]), [(5, slow)]);
    let calm = "{scaleUp: {stabilizationWindowSeconds: 60, policies: [{type: Percent, value: 900, periodSeconds: 15}]}, \
                scaleDown: {stabilizationWindowSeconds: 0}}";
    let within = "DesiredWithinRange";
    assert_eq!(chosen(Some(calm), 2, &[(0, 2), (15, 9), (30, 9), (61, 9)]).last(), Some(&(9, within)));
    assert_eq!(chosen(Some(calm), 2, &[(0, 2), (15, 9)]).last(), Some(&(2, within)));
}

fn autoscaler(metrics: &str) -> Arc<HorizontalPodAutoscaler> {
    object(&format!(
        "metadata: {{name: h, namespace: a}}\n\
         spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: w}}, minReplicas: 2, maxReplicas: 10, \
         metrics: [{metrics}]}}"
    ))
}

const CPU: &str = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}";
const QUEUE: &str =
    "{type: External, external: {metric: {name: queue}, target: {type: AverageValue, averageValue: 10}}}";

fn planned(autoscaler: &HorizontalPodAutoscaler, replicas: i32, measured: Vec<Result<Measured, String>>) -> String {
    let scale = Scale {
        target: Target {
            collection: "/apis/apps/v1/deployments".into(),
            kind: "Deployment".into(),
            key: Key::new("a", "w"),
        },
        object: object(&format!(
            "{{metadata: {{name: w, namespace: a}}, spec: {{replicas: {replicas}}}, \
             status: {{replicas: {replicas}, selector: app=w}}}}"
        )),
    };
    let pods = (0..replicas).map(|number| pod(&format!("p{number}"))).collect();
    let view = View { scale: Ok(&scale), pods: Ok(pods), measured };
    shown(autoscaler, &view)
}

fn shown(autoscaler: &HorizontalPodAutoscaler, view: &View<'_>) -> String {
    let settings = Settings { tolerance: 0.1, down_window: MINUTE * 5, startup: STARTUP };
    plan::plan(autoscaler, view, &settings, &mut History::default(), now()).0.to_string()
}

fn of_pods(milli: i64, count: i32) -> Result<Measured, String> {
    let sample = Sample { milli, at: now(), window: MINUTE };
    Ok(Measured::Pods((0..count).map(|number| (format!("p{number}"), sample)).collect()))
}

#[test]
fn a_busy_target_grows() {
    insta::assert_snapshot!(planned(&autoscaler(CPU), 3, vec![of_pods(1000, 3)]));
}

#[test]
fn without_metrics_nothing_is_done_and_it_is_said() {
    let none = "unable to fetch metrics from resource metrics API: the server could not find the requested resource \
                (get pods.metrics.k8s.io)";
    insta::assert_snapshot!(planned(&autoscaler(CPU), 3, vec![Err(none.into())]));
}

#[test]
fn one_metric_of_two_may_raise_the_size_and_not_lower_it() {
    let both = autoscaler(&format!("{CPU}, {QUEUE}"));
    let failed = || Err("unable to fetch metrics from external metrics API: x".to_owned());
    assert!(
        planned(&both, 3, vec![of_pods(1000, 3), failed()]).contains("New size: 6; reason: cpu resource utilization")
    );
    let down = planned(&both, 3, vec![of_pods(10, 3), failed()]);
    assert!(down.contains("invalid metrics (1 invalid out of 2)") && !down.contains("New size"), "{down}");
    let most = planned(&both, 3, vec![of_pods(1000, 3), Ok(Measured::Total(80_000))]);
    assert!(most.contains("New size: 6; reason: external metric queue(nil) above target"), "{most}");
}

#[test]
fn bounds_come_before_metrics() {
    let low = planned(&autoscaler(CPU), 1, Vec::new());
    assert!(low.contains("New size: 2; reason: Current number of replicas below Spec.MinReplicas"), "{low}");
    let high = planned(&autoscaler(CPU), 12, Vec::new());
    assert!(high.contains("New size: 10; reason: Current number of replicas above Spec.MaxReplicas"), "{high}");
    let off = planned(&autoscaler(CPU), 0, Vec::new());
    assert!(off.contains("ScalingDisabled") && !off.contains("New size"), "{off}");
}

#[test]
fn targets_that_cannot_be_scaled() {
    let view =
        View { scale: Err("deployments.apps \"w\" not found".into()), pods: Ok(Vec::new()), measured: Vec::new() };
    let text = shown(&autoscaler(CPU), &view);
    assert!(text.contains("event Warning FailedGetScale \"deployments.apps \\\"w\\\" not found\""), "{text}");
    let autoscalers = vec![Key::new("a", "h"), Key::new("a", "other")];
    let why = Unselected::Ambiguous { selector: "app=w".into(), autoscalers };
    let scale = Scale {
        target: Target::of::<k8s_openapi::api::apps::v1::Deployment>(Key::new("a", "w")),
        object: object("{metadata: {name: w}, spec: {replicas: 3}, status: {replicas: 3, selector: app=w}}"),
    };
    let view = View { scale: Ok(&scale), pods: Err(why), measured: Vec::new() };
    let text = shown(&autoscaler(CPU), &view);
    assert!(text.contains("pods by selector app=w are controlled by multiple HPAs: [{h a} {other a}]"), "{text}");
    let refused = plan::refused(&autoscaler(CPU), 3, "no", now()).to_string();
    assert!(refused.contains("the HPA controller was unable to update the target scale: no"), "{refused}");
}

#[test]
fn a_size_that_will_do_stays() {
    let text = planned(&autoscaler(CPU), 3, vec![of_pods(500, 3)]);
    assert!(
        text.contains("ReadyForNewScale") && text.contains("ValidMetricFound") && !text.contains("New size"),
        "{text}"
    );
    // What the status says already is not written again.
    let mut known = (*autoscaler(CPU)).clone();
    let written = text.split_once("/status ").expect("a write").1.trim();
    known.status = Some(serde_json::from_str(written).expect("a status"));
    assert_eq!(planned(&known, 3, vec![of_pods(500, 3)]), "");
}
