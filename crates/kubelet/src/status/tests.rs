//! Statuses and phases for what runs, and the patches between two statuses.
use super::*;
use crate::observed::{Container as Seen, Sandbox, State};
use crate::probes::results::ProbeKind;
use k8s_openapi::api::core::v1::{ContainerState, PodCondition};

fn pod(spec: &str) -> Pod {
    let value = apimachinery::codec::yaml::parse(&format!(
        "metadata: {{name: p, namespace: ns, uid: u, generation: 2}}\nspec: {spec}"
    ));
    serde_json::from_value(value.expect("yaml")).expect("a pod")
}

fn container(name: &str, state: State, exit_code: i32) -> Seen {
    Seen {
        id: format!("{name}-id"),
        name: name.into(),
        sandbox_id: "s".into(),
        state,
        exit_code,
        image: "img".into(),
        started_at_ns: 1_000_000_000,
        finished_at_ns: 2_000_000_000,
        ..Default::default()
    }
}

fn seen(containers: Vec<Seen>) -> Observed {
    Observed {
        sandboxes: vec![Sandbox { id: "s".into(), ready: true, ips: vec!["10.0.0.2".into()], ..Default::default() }],
        containers,
    }
}

fn status(pod: &Pod, seen: &Observed, waiting: &Waiting, terminal: bool, old: Option<&PodStatus>) -> PodStatus {
    let probes = Results::default();
    let now = Timestamp::from_second(100).expect("in range");
    let host_ips = ["192.168.0.1".to_owned()];
    let allocation = Allocation::default();
    generate(&View {
        pod,
        seen,
        probes: &probes,
        waiting,
        old,
        verdict: None,
        terminal,
        host_ips: &host_ips,
        allocation: &allocation,
        now,
    })
}

/// `phase reason/…` of the conditions and states, in one line.
fn line(status: &PodStatus) -> String {
    let condition = |type_: &str| {
        let c = status.conditions.iter().flatten().find(|c| c.type_ == type_).expect("owned");
        format!(
            "{}({}|{})",
            c.status,
            c.reason.as_deref().unwrap_or_default(),
            c.message.as_deref().unwrap_or_default()
        )
    };
    let states: Vec<String> = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten())
        .map(|c| {
            let s = c.state.clone().unwrap_or_default();
            let text = if s.running.is_some() {
                "running".into()
            } else if let Some(t) = s.terminated {
                format!("exit{}", t.exit_code)
            } else {
                s.waiting.and_then(|w| w.reason).unwrap_or_default()
            };
            format!("{}:{text}", c.name)
        })
        .collect();
    format!(
        "{} Ready={} Init={} {}",
        status.phase.as_deref().unwrap_or_default(),
        condition("Ready"),
        condition("Initialized"),
        states.join(",")
    )
}

#[test]
fn lines() {
    use State::{Exited, Running};
    let one = "{containers: [{name: web}]}";
    let never = "{restartPolicy: Never, containers: [{name: web}]}";
    let init = "{initContainers: [{name: i}], containers: [{name: web}]}";
    let none = Waiting::new();
    let crash = Waiting::from([("web".to_owned(), ("CrashLoopBackOff".to_owned(), "m".to_owned()))]);
    let table = [
        (
            one,
            vec![],
            &none,
            false,
            "Pending Ready=False(ContainersNotReady|containers with unready status: [web]) Init=True(|) web:ContainerCreating",
        ),
        (one, vec![container("web", Running, 0)], &none, false, "Running Ready=True(|) Init=True(|) web:running"),
        (
            one,
            vec![container("web", Exited, 1)],
            &crash,
            false,
            "Running Ready=False(ContainersNotReady|containers with unready status: [web]) Init=True(|) web:CrashLoopBackOff",
        ),
        (
            never,
            vec![container("web", Exited, 0)],
            &none,
            false,
            "Succeeded Ready=False(PodCompleted|) Init=True(PodCompleted|) web:exit0",
        ),
        (
            never,
            vec![container("web", Exited, 3)],
            &none,
            false,
            "Failed Ready=False(PodFailed|) Init=True(|) web:exit3",
        ),
        (
            one,
            vec![container("web", Exited, 0)],
            &none,
            true,
            "Succeeded Ready=False(PodCompleted|) Init=True(PodCompleted|) web:exit0",
        ),
        (
            one,
            vec![container("web", Exited, 137)],
            &none,
            true,
            "Failed Ready=False(PodFailed|) Init=True(|) web:exit137",
        ),
        (
            init,
            vec![container("i", Running, 0)],
            &none,
            false,
            "Pending Ready=False(ContainersNotReady|containers with unready status: [web]) Init=False(ContainersNotInitialized|containers with incomplete status: [i]) i:running,web:PodInitializing",
        ),
        (
            init,
            vec![container("web", Running, 0), container("i", Exited, 0)],
            &none,
            false,
            "Running Ready=True(|) Init=True(|) i:exit0,web:running",
        ),
    ];
    for (spec, containers, waiting, terminal, want) in table {
        let got = line(&status(&pod(spec), &seen(containers), waiting, terminal, None));
        assert_eq!(got, want, "{spec}");
    }
}

#[test]
fn a_container_that_never_ran_has_started_when_unix_time_did() {
    let failed = Seen { started_at_ns: 0, reason: "StartError".into(), ..container("web", State::Exited, 128) };
    let none = Waiting::new();
    let crash = Waiting::from([("web".to_owned(), ("CrashLoopBackOff".to_owned(), String::new()))]);
    let started = |state: Option<ContainerState>| {
        state.and_then(|state| state.terminated).map(|t| (t.started_at.map(|t| t.0), t.finished_at.map(|t| t.0)))
    };
    let expected = Some((Timestamp::from_second(0).ok(), Timestamp::from_second(2).ok()));
    // Waiting or not, in which of the two states it shows.
    for (waiting, last) in [(&none, false), (&crash, true)] {
        let pod = pod("{containers: [{name: web}]}");
        let status = status(&pod, &seen(vec![failed.clone()]), waiting, false, None);
        let shown = status.container_statuses.into_iter().flatten().next().expect("one");
        assert_eq!(started(if last { shown.last_state } else { shown.state }), expected, "last state: {last}");
    }
}

#[test]
fn what_an_init_container_kept_from_running_goes_on_waiting() {
    let pod = pod("{restartPolicy: Never, initContainers: [{name: i}], containers: [{name: web}]}");
    let waiting = Waiting::new();
    let before = status(&pod, &seen(vec![container("i", State::Running, 0)]), &waiting, false, None);
    let after = status(&pod, &seen(vec![container("i", State::Exited, 1)]), &waiting, true, Some(&before));
    assert_eq!(
        line(&after),
        "Failed Ready=False(PodFailed|) Init=False(ContainersNotInitialized|containers with incomplete status: [i]) i:exit1,web:PodInitializing"
    );
}

#[test]
fn a_crash_loop_keeps_the_last_state() {
    let waiting = Waiting::from([("web".to_owned(), ("CrashLoopBackOff".to_owned(), "m".to_owned()))]);
    let mut dead = container("web", State::Exited, 1);
    dead.restarts = 3;
    let status = status(&pod("{containers: [{name: web}]}"), &seen(vec![dead]), &waiting, false, None);
    let web = status.container_statuses.and_then(|mut list| list.pop()).expect("one");
    assert_eq!(web.restart_count, 3);
    assert_eq!(
        web.last_state.and_then(|s| s.terminated).map(|t| (t.exit_code, t.reason)),
        Some((1, Some("Error".into())))
    );
}

#[test]
fn readiness_needs_the_probe() {
    let pod = pod("{containers: [{name: web, readinessProbe: {tcpSocket: {port: 1}}}]}");
    let seen = seen(vec![container("web", State::Running, 0)]);
    let (probes, waiting) = (Results::default(), Waiting::new());
    let host_ips = ["192.168.0.1".to_owned()];
    let view = |probes| {
        let now = Timestamp::from_second(100).expect("in range");
        let status = generate(&View {
            pod: &pod,
            seen: &seen,
            probes,
            waiting: &waiting,
            old: None,
            verdict: None,
            terminal: false,
            host_ips: &host_ips,
            allocation: &Allocation::default(),
            now,
        });
        status.container_statuses.expect("one")[0].ready
    };
    assert!(!view(&probes));
    probes.set("web-id", ProbeKind::Readiness, true);
    assert!(view(&probes));
}

#[test]
fn patches_hold_only_changes() {
    let pod = pod("{containers: [{name: web}]}");
    let waiting = Waiting::new();
    let old = status(&pod, &seen(vec![]), &waiting, false, None);
    assert_eq!(patch::patch("u", Some(&old), &old), None);
    let new = status(&pod, &seen(vec![container("web", State::Running, 0)]), &waiting, false, Some(&old));
    let patch = patch::patch("u", Some(&old), &new).expect("differs");
    let status = patch["status"].as_object().expect("an object");
    let types: Vec<&str> =
        status["conditions"].as_array().expect("list").iter().filter_map(|c| c["type"].as_str()).collect();
    assert_eq!(types, ["Ready", "ContainersReady"]);
    assert!(status["conditions"][0]["reason"].is_null(), "the old reason is taken away");
    assert!(!status.contains_key("hostIP"));
}

#[test]
fn a_condition_that_no_longer_holds_is_deleted() {
    let pod = pod("{containers: [{name: web}]}");
    let new = status(&pod, &seen(vec![]), &Waiting::new(), false, None);
    let mut old = new.clone();
    let pending =
        PodCondition { type_: conditions::RESIZE_PENDING.into(), status: "True".into(), ..Default::default() };
    old.conditions.get_or_insert_default().push(pending);
    let patch = patch::patch("u", Some(&old), &new).expect("differs");
    assert_eq!(
        patch["status"]["conditions"],
        serde_json::json!([{"$patch": "delete", "type": conditions::RESIZE_PENDING}])
    );
}
