//! Tables for [`super::plan`]: a pod, what runs of it, and the plan that follows.
use super::*;
use crate::observed::{Container as Seen, Sandbox};

fn pod(spec: &str) -> Pod {
    let value =
        apimachinery::codec::yaml::parse(&format!("metadata: {{name: p, namespace: ns, uid: u}}\nspec: {spec}"));
    serde_json::from_value(value.expect("yaml")).expect("a pod")
}

/// `web:run`, `web:exit0`, `web:exit1`, `web:created`, `web:unknown`; newest first.
fn seen(sandbox: &str, containers: &[&str]) -> Observed {
    let sandboxes = match sandbox {
        "" => vec![],
        state => vec![Sandbox {
            id: "s".into(),
            ready: state == "ready",
            ips: vec!["10.0.0.1".into()],
            ..Default::default()
        }],
    };
    let containers = containers.iter().map(|text| {
        let (name, state) = text.split_once(':').expect("name:state");
        let (state, exit_code) = match state {
            "run" => (State::Running, 0),
            "created" => (State::Created, 0),
            "unknown" => (State::Unknown, 0),
            exit => (State::Exited, exit.trim_start_matches("exit").parse().expect("a code")),
        };
        Seen { id: name.into(), name: name.into(), sandbox_id: "s".into(), state, exit_code, ..Default::default() }
    });
    Observed { sandboxes, containers: containers.collect() }
}

fn render(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if plan.kill_pod {
        parts.push("kill-pod".to_owned());
    }
    parts.extend(plan.kill.iter().map(|k| format!("kill {} ({})", k.name, k.message)));
    parts.extend(plan.create_sandbox.map(|attempt| format!("sandbox {attempt}")));
    parts.extend(plan.start.iter().map(|(kind, index)| format!("start {kind:?} {index}")));
    parts.join("; ")
}

#[test]
fn plans() {
    let one = "{containers: [{name: a}]}";
    let never = "{restartPolicy: Never, containers: [{name: a}]}";
    let on_failure = "{restartPolicy: OnFailure, containers: [{name: a}, {name: b}]}";
    let init = "{initContainers: [{name: i}, {name: j}], containers: [{name: a}]}";
    let sidecar = "{initContainers: [{name: s, restartPolicy: Always}, {name: j}], containers: [{name: a}]}";
    let init_never = "{restartPolicy: Never, initContainers: [{name: i}], containers: [{name: a}]}";
    let ephemeral = "{containers: [{name: a}], ephemeralContainers: [{name: e}]}";
    let table: &[(&str, &str, &[&str], &str)] = &[
        (one, "", &[], "sandbox 0; start Main 0"),
        (one, "ready", &[], "start Main 0"),
        (one, "ready", &["a:run"], ""),
        (one, "ready", &["a:exit0"], "start Main 0"),
        (one, "ready", &["a:created"], "start Main 0"),
        (
            one,
            "ready",
            &["a:unknown"],
            "kill a (Container is in \"unknown\" state, try killing it before restart); start Main 0",
        ),
        (one, "dead", &["a:exit137"], "kill-pod; sandbox 1; start Main 0"),
        (never, "ready", &["a:exit1"], "kill-pod"),
        (never, "dead", &["a:exit1"], "kill-pod"),
        (never, "dead", &[], "kill-pod; sandbox 1; start Main 0"),
        (on_failure, "ready", &["a:exit0", "b:run"], ""),
        (on_failure, "ready", &["a:exit1", "b:run"], "start Main 0"),
        (on_failure, "ready", &["a:exit0", "b:exit0"], "kill-pod"),
        (on_failure, "dead", &["a:exit0", "b:exit1"], "kill-pod; sandbox 1; start Main 1"),
        (on_failure, "dead", &["a:exit0", "b:exit0"], "kill-pod"),
        (init, "", &[], "sandbox 0; start Init 0"),
        (init, "ready", &[], "start Init 0"),
        (init, "ready", &["i:run"], ""),
        (init, "ready", &["i:exit0"], "start Init 1"),
        (init, "ready", &["i:exit1"], "start Init 0"),
        (init, "ready", &["j:exit0", "i:exit0"], "start Main 0"),
        (init, "ready", &["a:run", "j:exit0", "i:exit0"], ""),
        (init, "ready", &["a:run"], ""),
        (init_never, "ready", &["i:exit1"], "kill-pod"),
        (sidecar, "ready", &["s:run"], "start Init 1"),
        (sidecar, "ready", &["j:run", "s:run"], ""),
        (sidecar, "ready", &["j:run", "s:exit1"], "start Init 0"),
        (sidecar, "ready", &["j:exit0", "s:run"], "start Main 0"),
        (sidecar, "ready", &["a:run", "j:exit0", "s:exit0"], "start Init 0"),
        (ephemeral, "ready", &["a:run"], "start Ephemeral 0"),
        (ephemeral, "ready", &["a:run", "e:exit0"], ""),
    ];
    for (spec, sandbox, containers, want) in table {
        let got = render(&plan(&pod(spec), &seen(sandbox, containers), &Results::default()));
        assert_eq!(&got, want, "{spec} with sandbox {sandbox:?} and {containers:?}");
    }
}

#[test]
fn probes_kill() {
    let pod = pod("{containers: [{name: a}]}");
    let seen = seen("ready", &["a:run"]);
    let results = Results::default();
    results.set("a", ProbeKind::Liveness, false);
    let got = render(&plan(&pod, &seen, &results));
    assert_eq!(got, "kill a (Container a failed liveness probe, will be restarted); start Main 0");
}

#[test]
fn a_changed_image_restarts() {
    let pod = pod("{containers: [{name: a, image: new}]}");
    let mut seen = seen("ready", &["a:run"]);
    seen.containers[0].hash = "0".into();
    let got = render(&plan(&pod, &seen, &Results::default()));
    assert_eq!(got, "kill a (Container a definition changed, will be restarted); start Main 0");
}

#[test]
fn a_pod_without_an_address_gets_a_new_sandbox() {
    let pod = pod("{containers: [{name: a}]}");
    let mut seen = seen("ready", &["a:run"]);
    seen.sandboxes[0].ips.clear();
    assert_eq!(render(&plan(&pod, &seen, &Results::default())), "kill-pod; sandbox 1; start Main 0");
}
