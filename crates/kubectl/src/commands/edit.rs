//! `kubectl edit`: an object in an editor, and the difference sent as a patch.
use super::Command;
use crate::{
    Context, Error, Result, manifests, printers,
    select::{self, Target, flag, text},
    write::{self, Writer},
};
use apimachinery::{codec::yaml, patch, schema};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;
use std::{fs, io::Write as _, path::Path};

pub struct Edit;

const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

#[async_trait]
impl Command for Edit {
    fn words(&self) -> Words {
        write::flags(select::add(Words::new("edit").about("Edit a resource on the server")))
            .arg(write::validate_flag())
            .arg(
                crate::global::boolean(Arg::new("output-patch").long("output-patch"))
                    .default_value("false")
                    .help("Output the patch if the resource is edited."),
            )
            .arg(
                Arg::new("subresource")
                    .long("subresource")
                    .help("If specified, edit will operate on the subresource of the requested object."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let writer = Writer::new(context, matches, "kubectl-edit")?;
        if text(matches, "output") == "json" {
            return Err(Error::message("edit -o json is not implemented"));
        }
        if select::is_empty(matches) {
            return Err(Error::message(select::NOTHING_SELECTED));
        }
        let subresource = text(matches, "subresource");
        for target in select::each(context, matches).await? {
            let path = if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
            edit(&writer, &target, &path, flag(matches, "output-patch")).await?;
        }
        Ok(())
    }
}

/// The editor's answer to one attempt.
enum Answer {
    Same,
    Empty,
    Changed(Value),
    /// Not YAML: why.
    Broken(String),
}

async fn edit(writer: &Writer<'_>, target: &Target, path: &str, show_patch: bool) -> Result<()> {
    let api = writer.context.api().await?;
    let mut object = api.get(path).await?;
    printers::strip_managed_fields(&mut object);
    let original = yaml::to_string(&object);
    let mut file = tempfile::Builder::new().prefix("kubectl-edit-").suffix(".yaml").tempfile()?;
    let (mut shown, mut trouble) = (original.clone(), String::new());
    loop {
        fs::write(file.path(), format!("{HEADER}{trouble}{shown}"))?;
        file.flush()?;
        run_editor(file.path()).await?;
        let edited = plain(&fs::read_to_string(file.path())?);
        if !trouble.is_empty() && edited == shown {
            let (_, kept) = file.keep().map_err(|e| Error::message(e.to_string()))?;
            eprintln!("Edit cancelled, no valid changes were saved.");
            eprintln!("A copy of your changes has been stored to \"{}\"", kept.display());
            return Err(Error::Exit(1));
        }
        let why = match answer(&edited, &original) {
            Answer::Same => {
                eprintln!("Edit cancelled, no changes made.");
                return Ok(());
            }
            Answer::Empty => {
                eprintln!("Edit cancelled, saved file was empty.");
                return Ok(());
            }
            Answer::Broken(why) => format!("# The edited file had a syntax error: {why}\n#\n"),
            Answer::Changed(changed) => match send(writer, target, path, &object, &changed, show_patch).await {
                Ok(()) => return Ok(()),
                Err(Error::Server(status)) => {
                    let name = target.name.as_deref().unwrap_or_default();
                    let lines = status.message.lines().map(|line| format!("# * {line}\n")).collect::<String>();
                    eprintln!(
                        "error: {} \"{name}\" could not be patched: {}",
                        target.resource.qualified(),
                        status.message
                    );
                    format!("# {} \"{name}\" was not valid:\n{lines}#\n", target.resource.qualified())
                }
                Err(other) => return Err(other),
            },
        };
        (shown, trouble) = (edited, why);
    }
}

/// Without comments.
fn plain(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

fn answer(edited: &str, original: &str) -> Answer {
    if edited.trim().is_empty() {
        return Answer::Empty;
    }
    if edited == original {
        return Answer::Same;
    }
    match yaml::parse(edited) {
        Ok(value) if value.is_object() => match yaml::parse(original) {
            Ok(before) if before == value => Answer::Same,
            _ => Answer::Changed(value),
        },
        Ok(_) => Answer::Broken("not an object".into()),
        Err(error) => Answer::Broken(error.to_string().replace('\n', " ")),
    }
}

async fn send(
    writer: &Writer<'_>,
    target: &Target,
    path: &str,
    before: &Value,
    after: &Value,
    show_patch: bool,
) -> Result<()> {
    if manifests::type_of(before)? != manifests::type_of(after)?
        || before["metadata"]["name"] != after["metadata"]["name"]
    {
        return Err(Error::message("At least one of apiVersion, kind and name was changed"));
    }
    let known = schema::of(&target.resource.group, &target.resource.version, &target.resource.kind);
    let (kind, patch) = match known {
        Some(schema) => {
            let patch = patch::two_way_strategic(before, after, schema).map_err(|e| Error::message(e.to_string()))?;
            ("application/strategic-merge-patch+json", patch)
        }
        None => ("application/merge-patch+json", patch::merge_diff(before, after)),
    };
    if show_patch {
        writer.context.line(format!("Patch: {patch}"))?;
    }
    let edited = writer.context.api().await?.patch(&writer.path(path), kind, &patch).await?;
    writer.report(&target.resource, edited, "edited")
}

async fn run_editor(path: &Path) -> Result<()> {
    let editor = ["KUBE_EDITOR", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|e| !e.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    // As with the official one, the editor may carry arguments and quotes: the shell splits them.
    let status = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("kubectl-edit")
        .arg(path)
        .status()
        .await
        .map_err(|e| Error::message(format!("unable to launch the editor \"{editor}\": {e}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::message(format!("there was a problem with the editor \"{editor}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_edit_means() {
        let original = "a: 1\nb: 2\n";
        assert!(matches!(answer(&plain(&format!("{HEADER}{original}")), original), Answer::Same));
        assert!(matches!(answer("b: 2\na: 1\n", original), Answer::Same));
        assert!(matches!(answer(&plain(HEADER), original), Answer::Empty));
        assert!(matches!(answer("a: 2\nb: 2\n", original), Answer::Changed(_)));
        assert!(matches!(answer("a: [\n", original), Answer::Broken(_)));
    }
}
