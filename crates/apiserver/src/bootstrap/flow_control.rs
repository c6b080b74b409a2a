//! The initial flow schemas and priority levels, and the condition that tells of schemas without a level.
//!
//! Source: `pkg/registry/flowcontrol/ensurer` and the config controller of priority and fairness (behaviour).
use super::{failed, send};
use crate::{
    App, Error,
    flow_control::{LEVELS, SCHEMAS},
};
use api::flowcontrol::bootstrap::{AUTO_UPDATE, Initial, flow_schemas, priority_levels};
use serde::Serialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use storage::Lookup;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the objects are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the initial ones are made again and set right.
const ENSURE: Duration = Duration::from_secs(60);

/// An initial object as JSON.
struct Wanted {
    resource: &'static str,
    mandatory: bool,
    name: String,
    object: Value,
}

/// One thing to do about a stored object.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    Update(Value),
    Delete { name: String, uid: String },
}

fn collection(resource: &str) -> String {
    format!("/apis/flowcontrol.apiserver.k8s.io/v1/{resource}")
}

fn wanted() -> Vec<Wanted> {
    fn one<T: Serialize>(resource: &'static str, initial: &Initial<T>) -> Option<Wanted> {
        let mut object = serde_json::to_value(&initial.object).ok()?;
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        let name = object["metadata"]["name"].as_str()?.to_owned();
        Some(Wanted { resource, mandatory: initial.mandatory, name, object })
    }
    let levels = priority_levels();
    let schemas = flow_schemas();
    let levels = levels.iter().filter_map(|initial| one(LEVELS, initial));
    levels.chain(schemas.iter().filter_map(|initial| one(SCHEMAS, initial))).collect()
}

fn stored(app: &App, resource: &str) -> Vec<Value> {
    let parse = |json: &bytes::Bytes| serde_json::from_slice(json).ok();
    app.registry.list(resource, None).iter().filter_map(parse).collect()
}

/// Whether a suggested object's spec is ours to write: its annotation says so, or nobody ever touched it.
fn is_ours(object: &Value) -> bool {
    match object["metadata"]["annotations"][AUTO_UPDATE].as_str() {
        Some(text) => matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => object["metadata"]["generation"] == 1,
    }
}

/// What to do about one resource.
fn steps(resource: &str, wanted: &[Wanted], stored: &[Value]) -> Vec<Step> {
    let own = || wanted.iter().filter(|w| w.resource == resource);
    let mut steps = Vec::new();
    for want in own() {
        let Some(found) = stored.iter().find(|s| s["metadata"]["name"] == *want.name) else {
            steps.push(Step::Create(want.object.clone()));
            continue;
        };
        if !(want.mandatory || is_ours(found)) {
            continue;
        }
        let mut updated = found.clone();
        updated["spec"] = want.object["spec"].clone();
        if want.mandatory && found["spec"]["exempt"].is_object() {
            // The shares of the exempt level are its owner's.
            updated["spec"]["exempt"] = found["spec"]["exempt"].clone();
        }
        updated["metadata"]["annotations"][AUTO_UPDATE] = "true".into();
        if updated != *found {
            steps.push(Step::Update(updated));
        }
    }
    for left in stored {
        let metadata = &left["metadata"];
        let kept = metadata["annotations"][AUTO_UPDATE] == "true";
        if kept && !own().any(|w| metadata["name"] == *w.name) {
            let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
            steps.push(Step::Delete { name: text("name"), uid: text("uid") });
        }
    }
    steps
}

/// Makes what is missing, sets right what is ours, takes away what an older version left.
///
/// # Errors
/// The server's, but for what another server did first.
pub(super) async fn ensure(app: &App, client: &kube::Client) -> Result<(), Error> {
    let wanted = wanted();
    let mut all = Vec::new();
    for resource in [LEVELS, SCHEMAS] {
        if app.registry.store(resource).is_some() {
            let steps = steps(resource, &wanted, &stored(app, resource));
            all.extend(steps.into_iter().map(|step| apply(client, resource, step)));
        }
    }
    // At once: they share their way to the disk.
    futures::future::try_join_all(all).await.map(drop)
}

async fn apply(client: &kube::Client, resource: &str, step: Step) -> Result<(), Error> {
    let collection = collection(resource);
    let own = |name: &str| format!("{collection}/{name}");
    let (method, path, body) = match step {
        Step::Create(object) => ("POST", collection.clone(), object),
        Step::Update(object) => ("PUT", own(object["metadata"]["name"].as_str().unwrap_or_default()), object),
        Step::Delete { name, uid } => ("DELETE", own(&name), json!({"preconditions": {"uid": uid}})),
    };
    match send(client, method, &path, body.to_string().into_bytes()).await {
        Ok(_) => Ok(()),
        // Another server was faster.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(failed(&path, &error)),
    }
}

/// The conditions a schema should have, when they are not what it has.
fn conditions(schema: &Value, levels: &[Value], now: &str) -> Option<Vec<Value>> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let found = levels.iter().any(|l| l["metadata"]["name"] == level);
    let (status, reason, end) = match found {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
    let mut all = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let position = all.iter().position(|c| c["type"] == "Dangling");
    let before = position.and_then(|i| all.get(i));
    if before.is_some_and(|b| b["status"] == status && b["reason"] == reason && b["message"] == message) {
        return None;
    }
    let since = before.filter(|b| b["status"] == status).map_or(json!(now), |b| b["lastTransitionTime"].clone());
    let condition = json!({
        "type": "Dangling", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    match position.and_then(|i| all.get_mut(i)) {
        Some(place) => *place = condition,
        None => all.push(condition),
    }
    Some(all)
}

/// Writes the conditions that are not as they should be.
pub(super) async fn tell(app: &App, client: &kube::Client) {
    let levels = stored(app, LEVELS);
    let now = apimachinery::time::rfc3339(jiff::Timestamp::now());
    let writes = stored(app, SCHEMAS).into_iter().filter_map(|schema| {
        let conditions = conditions(&schema, &levels, &now)?;
        Some(write_conditions(client, schema, conditions))
    });
    futures::future::join_all(writes).await;
}

async fn write_conditions(client: &kube::Client, schema: Value, conditions: Vec<Value>) {
    let (name, version) = (&schema["metadata"]["name"], &schema["metadata"]["resourceVersion"]);
    let path = format!("{}/{}/status", collection(SCHEMAS), name.as_str().unwrap_or_default());
    let patch = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
    match super::merge_patch(client, &path, &patch).await {
        // It changed or went meanwhile, and is looked at again for that.
        Ok(_) | Err(kube::Error::Api(_)) => {}
        Err(error) => tracing::warn!(%error, %name, "the status of a flow schema could not be written"),
    }
}

/// Keeps the initial objects and the conditions until `shutdown`.
pub(crate) async fn keep(app: Arc<App>, client: kube::Client, shutdown: CancellationToken) {
    let version = |app: &App| (app.registry.version(SCHEMAS), app.registry.version(LEVELS));
    let mut told = (0, 0);
    let mut ensured = Instant::now();
    loop {
        let seen = version(&app);
        if seen != told {
            tell(&app, &client).await;
            told = seen;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if ensured.elapsed() >= ENSURE {
            ensured = Instant::now();
            if let Err(error) = ensure(&app, &client).await {
                tracing::warn!(%error, "the initial objects of flow control could not be kept");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn as_stored() -> Vec<Value> {
        let own = wanted().into_iter().filter(|w| w.resource == LEVELS).map(|w| w.object);
        own.map(|mut object| {
            object["metadata"]["generation"] = 1.into();
            object
        })
        .collect()
    }

    #[test]
    fn makes_what_is_missing_and_leaves_the_rest() {
        assert_eq!(steps(LEVELS, &wanted(), &as_stored()), []);
        let steps = steps(LEVELS, &wanted(), &as_stored()[1..]);
        assert!(matches!(&steps[..], [Step::Create(object)] if object["metadata"]["name"] == "catch-all"), "{steps:?}");
    }

    #[test]
    fn whose_the_spec_is() {
        let changed = |name: &str, annotation: Option<&str>, generation: i64| {
            let mut stored = as_stored();
            let object = stored.iter_mut().find(|o| o["metadata"]["name"] == name).unwrap();
            object["metadata"]["generation"] = generation.into();
            object["metadata"]["annotations"] = annotation.map_or(json!({}), |a| json!({AUTO_UPDATE: a}));
            object["spec"]["limited"]["nominalConcurrencyShares"] = 7.into();
            steps(LEVELS, &wanted(), &stored).len()
        };
        let cases = [
            ("system", Some("true"), 2, 1),
            ("system", Some("false"), 2, 0),
            ("system", Some("yes"), 1, 0),
            ("system", None, 1, 1),
            ("system", None, 2, 0),
            ("catch-all", Some("false"), 2, 1),
        ];
        for (name, annotation, generation, want) in cases {
            assert_eq!(changed(name, annotation, generation), want, "{name} {annotation:?} {generation}");
        }
    }

    #[test]
    fn leaves_the_shares_of_the_exempt_level_and_takes_away_what_is_old() {
        let mut stored = as_stored();
        let exempt = stored.iter_mut().find(|o| o["metadata"]["name"] == "exempt").unwrap();
        exempt["spec"]["exempt"]["nominalConcurrencyShares"] = 5.into();
        stored.push(json!({"metadata": {"name": "old", "uid": "u", "annotations": {AUTO_UPDATE: "true"}}}));
        let want = [Step::Delete { name: "old".into(), uid: "u".into() }];
        assert_eq!(steps(LEVELS, &wanted(), &stored), want);
    }

    #[test]
    fn tells_of_a_level_that_is_missing_once() {
        let mut schema = json!({
            "spec": {"priorityLevelConfiguration": {"name": "x"}},
            "status": {"conditions": [{"type": "Other", "status": "True"}]},
        });
        let told = conditions(&schema, &[], "now").unwrap();
        assert_eq!((told.len(), &told[1]["status"], &told[1]["reason"]), (2, &json!("True"), &json!("NotFound")));
        schema["status"]["conditions"] = told.into();
        assert_eq!(conditions(&schema, &[], "later"), None);
        let told = conditions(&schema, &[json!({"metadata": {"name": "x"}})], "later").unwrap();
        assert_eq!((&told[1]["status"], &told[1]["lastTransitionTime"]), (&json!("False"), &json!("later")));
        assert_eq!(
            told[1]["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"x\" and it exists"
        );
    }
}
