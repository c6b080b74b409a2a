//! `kubectl patch`.
use super::Command;
use crate::{
    Context, Error, Result,
    mapper::Resource,
    printers,
    select::{self, flag, text},
    write::{self, DryRun, Writer},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;

pub struct Patch;

#[async_trait]
impl Command for Patch {
    fn words(&self) -> Words {
        write::flags(select::add(Words::new("patch").about("Update fields of a resource")))
            .arg(Arg::new("patch").short('p').long("patch").help("The patch to be applied to the resource JSON file."))
            .arg(
                Arg::new("patch-file")
                    .long("patch-file")
                    .help("A file containing a patch to be applied to the resource."),
            )
            .arg(
                Arg::new("type")
                    .long("type")
                    .default_value("strategic")
                    .help("The type of patch being provided; one of [json merge strategic]"),
            )
            .arg(
                crate::global::boolean(Arg::new("local").long("local"))
                    .default_value("false")
                    .help("If true, patch will operate on the content of the file, not the server-side resource."),
            )
            .arg(
                Arg::new("subresource")
                    .long("subresource")
                    .help("If specified, patch will operate on the subresource of the requested object."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-patch")?;
        let kind = match text(matches, "type").as_str() {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            "strategic" => "application/strategic-merge-patch+json",
            other => {
                return Err(Error::message(format!("--type must be one of [json merge strategic], not \"{other}\"")));
            }
        };
        let (inline, file) = (text(matches, "patch"), text(matches, "patch-file"));
        let source = match (inline.is_empty(), file.is_empty()) {
            (false, true) => inline,
            (true, false) => std::fs::read_to_string(&file).map_err(|e| {
                let why = printers::go_text(&e);
                Error::message(format!("unable to read patch file: open {file}: {why}"))
            })?,
            (true, true) => {
                return Err(Error::message(
                    "must specify --patch or --patch-file containing the contents of the patch",
                ));
            }
            (false, false) => return Err(Error::message("cannot specify --patch and --patch-file together")),
        };
        if source.trim_start().starts_with('{')
            && let Some(why) = apimachinery::codec::json_syntax::error(source.as_bytes())
        {
            // JSON goes to the server as it is; this is what that says.
            return Err(Error::Server(Box::new(crate::error::Status {
                code: 400,
                reason: "BadRequest".into(),
                message: why,
                body: Value::Null,
            })));
        }
        let patch: Value = apimachinery::codec::yaml::parse(&source)
            .map_err(|e| Error::message(format!("unable to parse \"{source}\": {e}")))?;
        let subresource = text(matches, "subresource");
        if select::is_empty(matches) {
            return Err(Error::message(select::NOTHING_SELECTED));
        }
        if flag(matches, "local") {
            return local(context, matches, &writer, kind, &patch).await;
        }
        for target in select::targets(context, matches).await? {
            let api = context.api().await?;
            let path = if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
            let before = api.get(&path).await?;
            if writer.dry_run == DryRun::Client {
                let after = patched(before.clone(), kind, &patch, &target.resource)?;
                let done = if after == before { "patched (no change)" } else { "patched" };
                printers::changed(context, &writer.format, &target.resource, &after, done)?;
                continue;
            }
            let after = api.patch(&writer.path(&path), kind, &patch).await?;
            let same = unchanged(&before, &after);
            // A subresource may be of another kind: `scale.autoscaling/web`.
            let shown = if after["kind"] == *target.resource.kind { target.resource } else { resource_of(&after)? };
            // Upstream's `patch` says of no dry run that it was one.
            writer.tell(&shown, after, if same { "patched (no change)" } else { "patched" })?;
        }
        Ok(())
    }
}

/// Whether a patch changed nothing. A dry run leaves the resource version as it is: all of the object counts.
fn unchanged(before: &Value, after: &Value) -> bool {
    before == after
}

/// A resource as far as an object tells.
fn resource_of(object: &Value) -> Result<Resource> {
    let (api_version, kind) = crate::manifests::type_of(object)?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    Ok(Resource { group: group.into(), version: version.into(), kind, ..Resource::default() })
}

/// `--local`: what files say, patched and printed.
async fn local(context: &Context, matches: &ArgMatches, writer: &Writer<'_>, kind: &str, patch: &Value) -> Result<()> {
    for object in crate::manifests::read(context, matches).await? {
        let resource = resource_of(&object)?;
        let after = patched(object, kind, patch, &resource)?;
        printers::changed(context, &writer.format, &resource, &after, "patched")?;
    }
    Ok(())
}

/// What the server would make of it.
///
/// # Errors
/// The patch does not fit.
pub(super) fn patched(mut object: Value, kind: &str, patch: &Value, resource: &Resource) -> Result<Value> {
    let refused = |e: &dyn std::fmt::Display| Error::message(e.to_string());
    match kind {
        "application/json-patch+json" => {
            apimachinery::patch::json_patch(&mut object, patch.to_string().as_bytes()).map_err(|e| refused(&e))?;
        }
        "application/merge-patch+json" => apimachinery::patch::merge_patch(&mut object, patch.clone()),
        _ => match apimachinery::schema::of(&resource.group, &resource.version, &resource.kind) {
            Some(schema) => {
                let merged = apimachinery::patch::strategic_merge_patch(object, patch.clone(), schema);
                return merged.map_err(|e| refused(&e));
            }
            None => apimachinery::patch::merge_patch(&mut object, patch.clone()),
        },
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dry_run_that_would_change_something_says_so() {
        let object =
            |version: &str, value: &str| json!({"metadata": {"resourceVersion": version}, "data": {"a": value}});
        let cases = [(("1", "x"), ("1", "x"), true), (("1", "x"), ("1", "y"), false), (("1", "x"), ("2", "y"), false)];
        for (before, after, want) in cases {
            assert_eq!(unchanged(&object(before.0, before.1), &object(after.0, after.1)), want, "{before:?} {after:?}");
        }
    }
}
