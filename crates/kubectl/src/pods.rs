//! Finding the pods behind a name: `pod/x`, `deployment/x`, `service/x`.
use crate::{
    Context, Error, Result,
    http::with_query,
    select::{self, Target},
};
use serde_json::Value;
use std::time::Duration;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The label selector of a workload or service.
fn selector(object: &Value) -> Option<String> {
    let pairs = |map: &Value| {
        let pairs = map.as_object()?.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()));
        Some(pairs.collect::<Vec<_>>().join(","))
    };
    let selector = &object["spec"]["selector"];
    match object["kind"].as_str()? {
        "Service" | "ReplicationController" => pairs(selector),
        _ => {
            let typed = serde_json::from_value(selector.clone()).ok()?;
            Some(apimachinery::labels::from_label_selector(&typed).ok()?.to_string())
        }
    }
}

/// As long as a workload has no pods yet, they are looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// One pod for a target, the one most likely to serve: running and ready first, then the oldest.
///
/// # Errors
/// As [`some`].
pub async fn one(context: &Context, word: &str, patience: Duration) -> Result<Value> {
    let mut found = some(context, word, "attach to", patience).await?;
    sort(&mut found);
    found.into_iter().next().ok_or_else(|| Error::message(format!("no pods found for {word}")))
}

/// The pods for a word, as soon as there is one.
///
/// # Errors
/// As [`all`], or there is none in time.
pub async fn some(context: &Context, word: &str, purpose: &str, patience: Duration) -> Result<Vec<Value>> {
    let found = async {
        loop {
            let found = all(context, word, purpose).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let found = tokio::time::timeout(patience, found).await;
    found.unwrap_or_else(|_| Err(Error::message("timed out waiting for the condition")))
}

/// The pods most likely to serve come first: placed, running, ready, ready for longer, restarted, older.
pub fn sort(found: &mut [Value]) {
    found.sort_by_key(|pod| {
        let status = &pod["status"];
        let ready = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "Ready" && c["status"] == "True");
        let since = ready.and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or_default().to_owned();
        let phase = match status["phase"].as_str() {
            Some("Running") => 0,
            Some("Unknown") => 1,
            _ => 2,
        };
        let containers = status["containerStatuses"].as_array().into_iter().flatten();
        let restarts = containers.filter_map(|c| c["restartCount"].as_i64()).max().unwrap_or(0);
        let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
        (!pod["spec"]["nodeName"].is_string(), phase, ready.is_none(), since, -restarts, created)
    });
}

/// All pods for a word. `purpose` is what they are wanted for: `attach to`, `get the logs from`.
///
/// # Errors
/// It is unknown, or no workload.
async fn all(context: &Context, word: &str, purpose: &str) -> Result<Vec<Value>> {
    let word = if word.contains('/') { word.to_owned() } else { format!("pods/{word}") };
    let targets = select::from_words(context, &[word], false).await?;
    let Some(target) = targets.first() else { return Err(Error::message("expected a pod")) };
    let api = context.api().await?;
    let object = api.get(&target.path()).await?;
    if target.resource.kind == "Pod" {
        return Ok(vec![object]);
    }
    let Some(selector) = selector(&object).filter(|s| !s.is_empty()) else {
        let kind = format!("*{}.{}", target.resource.version, target.resource.kind);
        return Err(Error::message(format!("cannot {purpose} {kind}: selector for {kind} not implemented")));
    };
    by_labels(context, target.namespace.as_deref(), &selector).await
}

/// Pods of a namespace by labels.
///
/// # Errors
/// The server refuses.
pub async fn by_labels(context: &Context, namespace: Option<&str>, selector: &str) -> Result<Vec<Value>> {
    let resource = context.mapper().await?.resource("pods")?.clone();
    let target = Target { resource, name: None, namespace: namespace.map(str::to_owned) };
    let mut list = context.api().await?.get(&with_query(&target.path(), &[("labelSelector", selector)])).await?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

/// The container asked for, the annotated default, or the first.
pub fn container(pod: &Value, asked: &str) -> String {
    if !asked.is_empty() {
        return asked.to_owned();
    }
    let default = &pod["metadata"]["annotations"][DEFAULT_CONTAINER];
    let first = &pod["spec"]["containers"][0]["name"];
    default.as_str().or(first.as_str()).unwrap_or_default().to_owned()
}

/// The pod has the container asked for.
///
/// # Errors
/// It has not; the message lists what it has.
pub fn check_container(pod: &Value, asked: &str) -> Result<()> {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let mut containers = lists.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten());
    if asked.is_empty() || containers.any(|c| c["name"] == asked) {
        return Ok(());
    }
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let all = container_names(pod).join(", ");
    Err(Error::message(format!("container {asked} is not valid for pod {name} out of: {all}")))
}

/// All containers, with what kind they are when they are not plain ones.
fn container_names(pod: &Value) -> Vec<String> {
    [("containers", ""), ("ephemeralContainers", " (ephem)"), ("initContainers", " (init)")]
        .iter()
        .flat_map(|(list, kind)| pod["spec"][*list].as_array().into_iter().flatten().map(move |c| (c, kind)))
        .filter_map(|(c, kind)| Some(format!("{}{kind}", c["name"].as_str()?)))
        .collect()
}

/// Say which container was chosen when there was a choice.
pub fn tell_default(pod: &Value, asked: &str) {
    let names = container_names(pod);
    // Whoever made the pod has chosen.
    let chosen = pod["metadata"]["annotations"][DEFAULT_CONTAINER].is_string();
    if asked.is_empty() && names.len() > 1 && !chosen {
        eprintln!("Defaulted container \"{}\" out of: {}", container(pod, ""), names.join(", "));
    }
}

/// The grammar of image references: `[host[:port]/]path[:tag][@digest]`.
pub fn is_image(text: &str) -> bool {
    static IMAGE: std::sync::LazyLock<Option<regex::Regex>> = std::sync::LazyLock::new(|| {
        let part = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
        let host = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
        let domain = format!("(?:{host}(?:\\.{host})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?");
        let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
        regex::Regex::new(&format!("^(?:{domain}/)?{part}(?:/{part})*(?::[\\w][\\w.-]{{0,127}})?(?:@{digest})?$")).ok()
    });
    IMAGE.as_ref().is_some_and(|image| image.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ready_pod_comes_first() {
        let pod = |name: &str, ready: &str, created: &str| {
            serde_json::json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]}})
        };
        let mut pods = vec![pod("a", "2", "1"), pod("b", "1", "2"), pod("c", "1", "1")];
        sort(&mut pods);
        let names: Vec<&str> = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }

    #[test]
    fn images_by_their_grammar() {
        for good in ["busybox", "a/b:c", "host:5000/a.b/c-d:1.0", "a@sha256:0123456789abcdef0123456789abcdef"] {
            assert!(is_image(good), "{good}");
        }
        for bad in ["", "Busybox", "a b", "a:", "/a", "a//b", "Y:!"] {
            assert!(!is_image(bad), "{bad}");
        }
    }
}
