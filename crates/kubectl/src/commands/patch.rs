//! `kubectl patch`.
use super::Command;
use crate::{
    Context, Error, Result,
    select::{self, text},
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
            (true, false) => {
                std::fs::read_to_string(&file).map_err(|e| Error::message(format!("unable to read patch file: {e}")))?
            }
            (true, true) => {
                return Err(Error::message(
                    "must specify --patch or --patch-file containing the contents of the patch",
                ));
            }
            (false, false) => return Err(Error::message("cannot specify --patch and --patch-file together")),
        };
        let patch: Value = apimachinery::codec::yaml::parse(&source)
            .map_err(|e| Error::message(format!("unable to parse \"{source}\": {e}")))?;
        if writer.dry_run == DryRun::Client {
            return Err(Error::message("patch --dry-run=client is not implemented; use --dry-run=server"));
        }
        let subresource = text(matches, "subresource");
        for target in select::targets(context, matches).await? {
            let api = context.api().await?;
            let before = api.get(&target.path()).await?;
            let path = if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
            let after = api.patch(&writer.path(&path), kind, &patch).await?;
            let same = before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
            writer.report(&target.resource, after, if same { "patched (no change)" } else { "patched" })?;
        }
        Ok(())
    }
}
