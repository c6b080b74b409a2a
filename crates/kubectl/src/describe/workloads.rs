//! Deployments, replica sets, daemon sets, stateful sets and jobs.
use super::{
    Related,
    doc::{Doc, access_modes, controller, date, equalities, is_empty, items, number, or_none, selector, text},
    events::conditions,
    pod::template,
};
use serde_json::Value;

const HASH: &str = "pod-template-hash";

fn name(doc: &mut Doc, object: &Value) {
    doc.field(0, "Name", text(&object["metadata"]["name"]));
    doc.field(0, "Namespace", text(&object["metadata"]["namespace"]));
}

fn labels(doc: &mut Doc, object: &Value) {
    doc.labels("", "Labels", &object["metadata"]["labels"]);
    doc.annotations("Annotations", &object["metadata"]["annotations"]);
}

/// `Pods Status:`, counted from the pods that the object controls.
fn pods(doc: &mut Doc, object: &Value, related: &Related) {
    let controlled = |pod: &&Value| {
        items(&pod["metadata"]["ownerReferences"])
            .any(|o| o["controller"] == true && o["uid"] == object["metadata"]["uid"])
    };
    let count = |phase: &str| related.pods.iter().filter(controlled).filter(|p| p["status"]["phase"] == phase).count();
    doc.field(
        0,
        "Pods Status",
        format!(
            "{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed")
        ),
    );
}

pub fn deployment(doc: &mut Doc, object: &Value, related: &Related) {
    let (spec, status) = (&object["spec"], &object["status"]);
    name(doc, object);
    doc.field(0, "CreationTimestamp", date(&object["metadata"]["creationTimestamp"]));
    labels(doc, object);
    doc.field(0, "Selector", selector(&spec["selector"]));
    doc.field(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            spec["replicas"].as_i64().unwrap_or(1),
            number(&status["updatedReplicas"]),
            number(&status["replicas"]),
            number(&status["availableReplicas"]),
            number(&status["unavailableReplicas"])
        ),
    );
    doc.field(0, "StrategyType", text(&spec["strategy"]["type"]));
    doc.field(0, "MinReadySeconds", number(&spec["minReadySeconds"]));
    let rolling = &spec["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let (unavailable, surge) = (text(&rolling["maxUnavailable"]), text(&rolling["maxSurge"]));
        doc.field(0, "RollingUpdateStrategy", format!("{unavailable} max unavailable, {surge} max surge"));
    }
    template(doc, &spec["template"]);
    conditions(doc, object);
    let mut sets: Vec<&Value> = related
        .sets
        .iter()
        .filter(|set| items(&set["metadata"]["ownerReferences"]).any(|o| o["uid"] == object["metadata"]["uid"]))
        .collect();
    sets.sort_by_key(|set| text(&set["metadata"]["creationTimestamp"]));
    if sets.is_empty() {
        return;
    }
    let current = sets.iter().position(|set| same_template(&set["spec"]["template"], &spec["template"]));
    let new = current.map(|at| sets.remove(at));
    let shown = |sets: &[&Value]| {
        let shown = sets.iter().map(|set| {
            let (is, wanted) = (number(&set["status"]["replicas"]), number(&set["spec"]["replicas"]));
            format!("{} ({is}/{wanted} replicas created)", text(&set["metadata"]["name"]))
        });
        or_none(shown.collect::<Vec<_>>().join(", "))
    };
    doc.field(0, "OldReplicaSets", shown(&sets));
    doc.field(0, "NewReplicaSet", shown(new.as_slice()));
}

fn same_template(one: &Value, other: &Value) -> bool {
    let plain = |template: &Value| {
        let mut template = template.clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove(HASH);
        }
        template
    };
    plain(one) == plain(other)
}

pub fn replica_set(doc: &mut Doc, object: &Value, related: &Related) {
    name(doc, object);
    doc.field(0, "Selector", selector(&object["spec"]["selector"]));
    labels(doc, object);
    if let Some(controller) = controller(object) {
        doc.field(0, "Controlled By", controller);
    }
    let (is, wanted) = (number(&object["status"]["replicas"]), object["spec"]["replicas"].as_i64().unwrap_or(1));
    doc.field(0, "Replicas", format!("{is} current / {wanted} desired"));
    pods(doc, object, related);
    template(doc, &object["spec"]["template"]);
    conditions(doc, object);
}

pub fn replication_controller(doc: &mut Doc, object: &Value, related: &Related) {
    name(doc, object);
    doc.field(0, "Selector", equalities(&object["spec"]["selector"]));
    labels(doc, object);
    let (is, wanted) = (number(&object["status"]["replicas"]), object["spec"]["replicas"].as_i64().unwrap_or(1));
    doc.field(0, "Replicas", format!("{is} current / {wanted} desired"));
    pods(doc, object, related);
    template(doc, &object["spec"]["template"]);
    conditions(doc, object);
}

pub fn daemon_set(doc: &mut Doc, object: &Value, related: &Related) {
    let status = &object["status"];
    name(doc, object);
    doc.field(0, "Selector", selector(&object["spec"]["selector"]));
    doc.field(0, "Node-Selector", equalities(&object["spec"]["template"]["spec"]["nodeSelector"]));
    labels(doc, object);
    for (title, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        doc.line(0, format!("{title}: {}", number(&status[field])));
    }
    pods(doc, object, related);
    template(doc, &object["spec"]["template"]);
}

pub fn stateful_set(doc: &mut Doc, object: &Value, related: &Related) {
    let spec = &object["spec"];
    name(doc, object);
    doc.field(0, "CreationTimestamp", date(&object["metadata"]["creationTimestamp"]));
    doc.field(0, "Selector", selector(&spec["selector"]));
    labels(doc, object);
    doc.given(0, "Service Name", &spec["serviceName"]);
    doc.given(0, "Pod Management Policy", &spec["podManagementPolicy"]);
    let (wanted, is) = (spec["replicas"].as_i64().unwrap_or(1), number(&object["status"]["replicas"]));
    doc.field(0, "Replicas", format!("{wanted} desired | {is} total"));
    doc.field(0, "Update Strategy", text(&spec["updateStrategy"]["type"]));
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    if rolling.is_object() && rolling["partition"].is_number() {
        doc.field(1, "Partition", number(&rolling["partition"]));
        doc.given(1, "MaxUnavailable", &rolling["maxUnavailable"]);
    }
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    if retention.is_object() {
        doc.line(0, "Persistent Volume Claim Retention Policy:");
        doc.field(1, "WhenDeleted", text(&retention["whenDeleted"]));
        doc.field(1, "WhenScaled", text(&retention["whenScaled"]));
    }
    pods(doc, object, related);
    template(doc, &spec["template"]);
    if is_empty(&spec["volumeClaimTemplates"]) {
        return doc.field(0, "Volume Claims", "<none>");
    }
    doc.line(0, "Volume Claims:");
    for claim in items(&spec["volumeClaimTemplates"]) {
        doc.field(1, "Name", text(&claim["metadata"]["name"]));
        doc.field(1, "StorageClass", text(&claim["spec"]["storageClassName"]));
        doc.labels("  ", "Labels", &claim["metadata"]["labels"]);
        doc.labels("  ", "Annotations", &claim["metadata"]["annotations"]);
        let capacity = text(&claim["spec"]["resources"]["requests"]["storage"]);
        doc.field(1, "Capacity", if capacity.is_empty() { "<default>".to_owned() } else { capacity });
        // The official one prints the Go list here, and short forms elsewhere.
        let modes = if is_empty(&claim["spec"]["accessModes"]) {
            access_modes(&Value::Null)
        } else {
            text(&claim["spec"]["accessModes"])
        };
        doc.field(1, "Access Modes", modes);
    }
}

pub fn job(doc: &mut Doc, object: &Value, _: &Related) {
    let (spec, status) = (&object["spec"], &object["status"]);
    name(doc, object);
    if spec["selector"].is_object() {
        doc.field(0, "Selector", selector(&spec["selector"]));
    }
    labels(doc, object);
    if let Some(controller) = controller(object) {
        doc.field(0, "Controlled By", controller);
    }
    doc.given(0, "Parallelism", &spec["parallelism"]);
    match spec["completions"].as_i64() {
        Some(completions) => doc.field(0, "Completions", completions),
        None => doc.field(0, "Completions", "<unset>"),
    }
    doc.given(0, "Completion Mode", &spec["completionMode"]);
    doc.given(0, "Suspend", &spec["suspend"]);
    doc.given(0, "Backoff Limit", &spec["backoffLimit"]);
    doc.given(0, "TTL Seconds After Finished", &spec["ttlSecondsAfterFinished"]);
    if !is_empty(&status["startTime"]) {
        doc.field(0, "Start Time", date(&status["startTime"]));
    }
    if !is_empty(&status["completionTime"]) {
        doc.field(0, "Completed At", date(&status["completionTime"]));
    }
    let time = |field: &str| status[field].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    if let (Some(start), Some(end)) = (time("startTime"), time("completionTime")) {
        doc.field(0, "Duration", apimachinery::duration::human(end.as_second() - start.as_second()));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64() {
        doc.field(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    let count = |field: &str| number(&status[field]);
    let ready = status["ready"].as_i64().map(|ready| format!(" ({ready} Ready)")).unwrap_or_default();
    let counts =
        format!("{} Active{ready} / {} Succeeded / {} Failed", count("active"), count("succeeded"), count("failed"));
    doc.field(0, "Pods Statuses", counts);
    if spec["completionMode"] == "Indexed" {
        doc.field(0, "Completed Indexes", or_none(text(&status["completedIndexes"])));
    }
    template(doc, &spec["template"]);
}

pub fn cron_job(doc: &mut Doc, object: &Value, _: &Related) {
    let (spec, status) = (&object["spec"], &object["status"]);
    let job = &spec["jobTemplate"]["spec"];
    name(doc, object);
    labels(doc, object);
    let or_unset = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { text(value) };
    let seconds = |value: &Value| value.as_i64().map_or("<unset>".to_owned(), |seconds| format!("{seconds}s"));
    doc.field(0, "Schedule", text(&spec["schedule"]));
    doc.field(0, "Concurrency Policy", text(&spec["concurrencyPolicy"]));
    doc.field(0, "Suspend", super::policy::boolean(&spec["suspend"]));
    doc.field(0, "Time Zone", or_unset(&spec["timeZone"]));
    doc.field(0, "Successful Job History Limit", or_unset(&spec["successfulJobsHistoryLimit"]));
    doc.field(0, "Failed Job History Limit", or_unset(&spec["failedJobsHistoryLimit"]));
    doc.field(0, "Starting Deadline Seconds", seconds(&spec["startingDeadlineSeconds"]));
    match job["selector"].is_object() {
        true => doc.field(0, "Selector", selector(&job["selector"])),
        false => doc.field(0, "Selector", "<unset>"),
    }
    doc.field(0, "Parallelism", or_unset(&job["parallelism"]));
    doc.field(0, "Completions", or_unset(&job["completions"]));
    if !job["activeDeadlineSeconds"].is_null() {
        doc.field(0, "Active Deadline Seconds", seconds(&job["activeDeadlineSeconds"]));
    }
    template(doc, &job["template"]);
    match is_empty(&status["lastScheduleTime"]) {
        true => doc.field(0, "Last Schedule Time", "<unset>"),
        false => doc.field(0, "Last Schedule Time", date(&status["lastScheduleTime"])),
    }
    let active: Vec<String> = super::doc::items(&status["active"]).map(|job| text(&job["name"])).collect();
    doc.field(0, "Active Jobs", or_none(active.join(", ")));
}
