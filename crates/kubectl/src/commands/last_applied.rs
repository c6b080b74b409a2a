//! `kubectl apply view-last-applied` and `set-last-applied`: what client-side apply remembers.
use crate::{
    Context, Error, Result, manifests,
    select::{self, flag, text},
    write::{self, DryRun, LAST_APPLIED, Writer},
};
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

/// The sub-commands of `apply`.
pub fn words() -> [Words; 3] {
    let switch = |name: &'static str, help: &'static str| {
        crate::global::boolean(Arg::new(name).long(name)).default_value("false").help(help)
    };
    [
        write::flags(select::add(
            Words::new("edit-last-applied")
                .about("Edit latest last-applied-configuration annotations of a resource/object"),
        ))
        .arg(write::validate_flag()),
        write::flags(
            Words::new("set-last-applied").about(
                "Set the last-applied-configuration annotation on a live object to match the contents of a file",
            ),
        )
        .arg(manifests::file_flag())
        .arg(switch("create-annotation", "Will create 'last-applied-configuration' annotations if there is none")),
        select::add(
            Words::new("view-last-applied")
                .about("View the latest last-applied-configuration annotations of a resource/object"),
        )
        .arg(Arg::new("output").short('o').long("output").help("Output format. Must be one of (yaml, json)"))
        .arg(switch("all", "Select all resources in the namespace of the specified resource types")),
    ]
}

/// # Errors
/// An object is not there.
pub async fn view(context: &Context, matches: &ArgMatches) -> Result<()> {
    if select::is_empty(matches) {
        return Err(Error::message(select::NOTHING_SELECTED));
    }
    let format = text(matches, "output");
    if !["", "yaml", "json"].contains(&format.as_str()) {
        return Err(Error::message(format!(
            "Unexpected -o output mode: {format}, the flag 'output' must be one of yaml|json"
        )));
    }
    for target in select::each(context, matches).await? {
        let object = context.api().await?.get(&target.path()).await?;
        let applied = object["metadata"]["annotations"][LAST_APPLIED].as_str();
        // As with the official one, what was never applied is passed over.
        let Some(applied) = applied else { continue };
        let value: Value = serde_json::from_str(applied)?;
        match format.as_str() {
            "json" => context.print(format!("{}\n", serde_json::to_string_pretty(&value)?))?,
            _ => context.print(apimachinery::codec::yaml::to_string(&value))?,
        }
    }
    Ok(())
}

/// # Errors
/// An object is not there, or has no annotation yet and none is to be made.
pub async fn set(context: &Context, matches: &ArgMatches) -> Result<()> {
    if !manifests::given(matches) {
        return Err(Error::message(select::NOTHING_SELECTED));
    }
    let writer = Writer::new(context, matches, "kubectl-last-applied")?;
    let (manifests, errors) = manifests::read_sourced(context, matches).await?;
    Error::collect(errors)?;
    for manifest in manifests {
        let target = manifests::target(context, &manifest, false).await?;
        let mut object = manifest.object;
        if let Some(namespace) = &target.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let current = context.api().await?.get(&target.path()).await?;
        if !current["metadata"]["annotations"][LAST_APPLIED].is_string() && !flag(matches, "create-annotation") {
            let name = target.name.as_deref().unwrap_or_default();
            return Err(Error::message(format!(
                "no last-applied-configuration annotation found on resource: {name}, to create the annotation, run the command \
                 with --create-annotation"
            )));
        }
        let mut plain = object.clone();
        if let Some(annotations) = plain["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        let applied = json!(format!("{}\n", serde_json::to_string(&plain)?));
        if current["metadata"]["annotations"][LAST_APPLIED] == applied {
            let name = target.name.as_deref().unwrap_or_default();
            context.line(format!("set-last-applied {name}: no changes required."))?;
            continue;
        }
        let patch = json!({"metadata": {"annotations": {LAST_APPLIED: applied}}});
        let done = match writer.dry_run {
            DryRun::Client => current,
            _ => writer.patch(&target, "application/merge-patch+json", &patch).await?,
        };
        writer.report(&target.resource, done, "configured")?;
    }
    Ok(())
}
