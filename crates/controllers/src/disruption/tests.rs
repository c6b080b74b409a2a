//! Budgets and pods in, statuses out.
use super::plan::{Scale, View, plan};
use crate::{
    fixtures::{now, object},
    runtime::plan::Step,
};
use serde_json::Value;

fn status(spec: &str, ready: usize, unready: usize, wanted: i32) -> Value {
    let pod = |number: usize, ready: bool| {
        let state = if ready { "True" } else { "False" };
        let yaml = format!(
            "metadata: {{name: p{number}, namespace: a}}\nstatus: {{phase: Running, conditions: [{{type: Ready, status: '{state}'}}]}}"
        );
        (Scale::Wanted("d".to_owned(), wanted), object(&yaml))
    };
    let pods = (0..ready + unready).map(|number| pod(number, number < ready)).collect();
    let budget = object(&format!("metadata: {{name: b, namespace: a}}\nspec: {{{spec}}}"));
    let plan = plan(&View { budget, pods }, now());
    let written = plan.steps.into_iter().find_map(|step| match step {
        Step::Write(write) => Some(write.body["status"].clone()),
        _ => None,
    });
    written.unwrap_or_default()
}

fn numbers(status: &Value) -> [i64; 4] {
    ["expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed"].map(|f| status[f].as_i64().unwrap_or(0))
}

#[test]
fn budgets_allow_what_is_left_over() {
    assert_eq!(numbers(&status("minAvailable: 2", 3, 0, 3)), [3, 3, 2, 1]);
    assert_eq!(numbers(&status("minAvailable: 50%", 3, 1, 5)), [5, 3, 3, 0]);
    assert_eq!(numbers(&status("maxUnavailable: 1", 4, 1, 5)), [5, 4, 4, 0]);
    assert_eq!(numbers(&status("maxUnavailable: 30%", 5, 0, 5)), [5, 5, 3, 2]);
    assert_eq!(numbers(&status("minAvailable: 0", 0, 0, 0)), [0, 0, 0, 0]);
}

#[test]
fn pods_without_a_controller_cannot_be_counted() {
    let budget = object("metadata: {name: b, namespace: a}\nspec: {maxUnavailable: 1}");
    let pods = vec![(Scale::NoController, object("metadata: {name: p, namespace: a}"))];
    let text = plan(&View { budget, pods }, now()).to_string();
    assert!(text.contains("found no controllers for pod \\\"p\\\"") && text.contains("SyncFailed"), "{text}");
}
