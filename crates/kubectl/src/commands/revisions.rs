//! `kubectl rollout history` and `undo`: the revisions of deployments, daemon sets and stateful sets.
//!
//! A deployment's revisions are its replica sets, those of the others are `ControllerRevision` objects, which hold
//! the template as a strategic merge patch.
use super::rollout::REVISION;
use crate::{
    Context, Error, Result, describe, printers,
    select::Target,
    write::{DryRun, LAST_APPLIED, Writer},
};
use clap::ArgMatches;
use serde_json::{Value, json};

const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const HASH: &str = "pod-template-hash";

/// One revision of a workload.
struct Revision {
    number: i64,
    template: Value,
    /// The replica set, or the `ControllerRevision`.
    object: Value,
}

impl Revision {
    fn change_cause(&self) -> Option<&str> {
        self.object["metadata"]["annotations"][CHANGE_CAUSE].as_str().filter(|cause| !cause.is_empty())
    }

    /// The template, described, with what caused it.
    fn text(&self) -> String {
        let mut template = self.template.clone();
        if let Some(cause) = self.change_cause() {
            template["metadata"]["annotations"][CHANGE_CAUSE] = json!(cause);
        }
        describe::template_text(&template)
    }
}

/// The template that a `ControllerRevision`'s patch replaces a workload's own with.
fn patched_template(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    if let Some(map) = template.as_object_mut() {
        map.remove("$patch");
    }
    template
}

/// What an object's controller keeps of its past, the oldest first. `purpose`: `history`, or `rollbacker`.
async fn of(context: &Context, target: &Target, object: &Value, purpose: &str) -> Result<Vec<Revision>> {
    let plural = match target.resource.kind.as_str() {
        "Deployment" => "replicasets.apps",
        "DaemonSet" | "StatefulSet" => "controllerrevisions.apps",
        kind => {
            let group = &target.resource.group;
            let named = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
            let known = ["Pod", "ReplicationController", "ReplicaSet", "Job", "CronJob"].contains(&kind);
            return Err(Error::message(match known {
                true if purpose == "history" => format!("no history viewer has been implemented for \"{named}\""),
                true => format!("no {purpose} has been implemented for \"{named}\""),
                false => {
                    format!(
                        "error retrieving {purpose} for \"{named}\", no visitor method exists for {{{group} {kind}}}"
                    )
                }
            }));
        }
    };
    let resource = context.mapper().await?.resource(plural)?.clone();
    let mut list = context.api().await?.get(&resource.collection(target.namespace.as_deref())).await?;
    let Value::Array(items) = list["items"].take() else { return Ok(Vec::new()) };
    Ok(owned(items, object))
}

/// Those of the candidates that the workload controls.
fn owned(candidates: Vec<Value>, workload: &Value) -> Vec<Revision> {
    let uid = &workload["metadata"]["uid"];
    let is_owned = |candidate: &Value| {
        let owners = candidate["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.into_iter().any(|owner| owner["uid"] == *uid && owner["controller"] == true)
    };
    let revision = |object: Value| match object["revision"].as_i64() {
        Some(number) => Some(Revision { number, template: patched_template(&object), object }),
        None => {
            let number = object["metadata"]["annotations"][REVISION].as_str()?.parse().ok()?;
            Some(Revision { number, template: object["spec"]["template"].clone(), object })
        }
    };
    let mut found: Vec<Revision> = candidates.into_iter().filter(is_owned).filter_map(revision).collect();
    found.sort_by_key(|revision| revision.number);
    found
}

/// # Errors
/// The object, or the revision asked for, is not there; or its kind keeps no history.
pub async fn history(writer: &Writer<'_>, matches: &ArgMatches, target: &Target) -> Result<()> {
    let context = writer.context;
    let object = context.api().await?.get(&target.path()).await?;
    let found = of(context, target, &object, "history").await?;
    let wanted = matches.get_one::<i64>("revision").copied().unwrap_or(0);
    let name = target.resource.object_name(target.name.as_deref().unwrap_or_default());
    if wanted > 0 {
        let revision = found.iter().find(|revision| revision.number == wanted);
        let revision = revision.ok_or_else(|| Error::message("unable to find the specified revision"))?;
        if writer.format.is_table() {
            return context.print(format!("{name} with revision #{wanted}\n{}\n", revision.text()));
        }
        return print(writer, target, revision);
    }
    if !writer.format.is_table() {
        return found.iter().try_for_each(|revision| print(writer, target, revision));
    }
    if found.is_empty() {
        return context.print(format!("{name} \nNo rollout history found.\n"));
    }
    let mut table = printers::tabwriter::TabWriter::describing();
    table.line("REVISION\tCHANGE-CAUSE");
    for revision in &found {
        table.line(&format!("{}\t{}", revision.number, revision.change_cause().unwrap_or("<none>")));
    }
    context.print(format!("{name} \n{}\n", table.take()))
}

/// The object that holds a revision, in the format asked for.
fn print(writer: &Writer<'_>, target: &Target, revision: &Revision) -> Result<()> {
    let mut object = revision.object.clone();
    object["apiVersion"] = json!("apps/v1");
    let kind = if target.resource.kind == "Deployment" { "ReplicaSet" } else { "ControllerRevision" };
    object["kind"] = json!(kind);
    printers::strip_managed_fields(&mut object);
    writer.context.print(writer.format.typed_object(&object, None)?)
}

/// The revision to go back to: the one asked for (not 0), or the last but one.
fn chosen<'a>(found: &'a [Revision], wanted: i64, kind: &str, name: &str) -> Result<&'a Revision> {
    if wanted != 0 {
        let known = found.iter().find(|revision| revision.number == wanted);
        return known.ok_or_else(|| Error::message(format!("unable to find specified revision {wanted} in history")));
    }
    found.iter().rev().nth(1).ok_or_else(|| match kind {
        "Deployment" => Error::message(format!("no rollout history found for deployment \"{name}\"")),
        _ => Error::message("no last revision to roll back to"),
    })
}

/// # Errors
/// There is no such revision, or the server refuses the patch.
pub async fn undo(writer: &Writer<'_>, matches: &ArgMatches, target: &Target) -> Result<()> {
    let context = writer.context;
    let object = context.api().await?.get(&target.path()).await?;
    let name = target.name.as_deref().unwrap_or_default();
    if object["metadata"]["annotations"][LAST_APPLIED].is_string() {
        eprintln!(
            "Warning: resource {}/{name} was previously managed with 'kubectl apply'. Rolling back will not update the \
             {LAST_APPLIED} annotation, which may cause unexpected behavior on future 'kubectl apply' operations. Consider \
             using 'kubectl apply' with your previous configuration file instead.",
            target.resource.plural
        );
    }
    if object["spec"]["paused"] == true {
        return Err(Error::message(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
        ));
    }
    let found = of(context, target, &object, "rollbacker").await?;
    let wanted = matches.get_one::<i64>("to-revision").copied().unwrap_or(0);
    let revision = chosen(&found, wanted, &target.resource.kind, name)?;
    if writer.dry_run == DryRun::Client {
        return writer.context.print(format!("{} {} (dry run)\n", target.resource.object_name(name), revision.text()));
    }
    let mut template = revision.template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    if template == object["spec"]["template"] {
        let number = revision.number;
        let what = format!("skipped rollback (current template already matches revision {number})");
        return writer.report(&target.resource, object, &what);
    }
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    let done = writer.patch(target, "application/json-patch+json", &patch).await?;
    writer.report_typed(&target.resource, done, "rolled back")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned_by(uid: &str, mut object: Value) -> Value {
        object["metadata"]["ownerReferences"] = json!([{"uid": uid, "controller": true}]);
        object
    }

    #[test]
    fn revisions_are_those_of_the_workload_in_order() {
        let workload = json!({"metadata": {"uid": "u"}});
        let data = json!({"spec": {"template": {"$patch": "replace", "spec": {"a": 1}}}});
        let set = |revision: &str| json!({"metadata": {"annotations": {REVISION: revision}}, "spec": {"template": {}}});
        let candidates = vec![
            owned_by("u", json!({"revision": 10, "data": data})),
            owned_by("u", set("9")),
            owned_by("other", set("3")),
            owned_by("u", json!({"metadata": {}})),
        ];
        let found = owned(candidates, &workload);
        assert_eq!(found.iter().map(|r| r.number).collect::<Vec<_>>(), [9, 10]);
        assert_eq!(found[1].template, json!({"spec": {"a": 1}}));
        assert_eq!(chosen(&found, 0, "DaemonSet", "x").map(|r| r.number).ok(), Some(9));
        let error = |wanted, kind| chosen(&found[..1], wanted, kind, "x").err().map(|e| e.text());
        assert_eq!(error(7, "DaemonSet").as_deref(), Some("error: unable to find specified revision 7 in history"));
        assert_eq!(error(0, "StatefulSet").as_deref(), Some("error: no last revision to roll back to"));
        assert_eq!(error(0, "Deployment").as_deref(), Some("error: no rollout history found for deployment \"x\""));
    }
}
