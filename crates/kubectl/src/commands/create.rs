//! `kubectl create -f`, and the objects that `kubectl create <kind>` makes up.
use super::Command;
use crate::{
    Context, Error, Result, generators, manifests,
    select::{self, flag, text, words},
    write::{self, Writer, remember_applied},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};

pub struct Create;

#[async_trait]
impl Command for Create {
    fn words(&self) -> Words {
        let save = || {
            crate::global::boolean(Arg::new("save-config").long("save-config"))
                .default_value("false")
                .help("If true, the configuration of current object will be saved in its annotation.")
        };
        let root = write::flags(Words::new("create").about("Create a resource from a file or from stdin"))
            .arg(manifests::file_flag())
            .arg(manifests::recursive_flag())
            .arg(select::selector())
            .arg(Arg::new("raw").long("raw").help("Raw URI to POST to the server."))
            .arg(save())
            .arg(write::validate_flag())
            .args_conflicts_with_subcommands(true);
        let root = root.subcommand(super::token::token_words());
        generators::ALL.iter().fold(root, |root, generator| {
            let words = write::flags((generator.words)()).arg(save()).arg(write::validate_flag());
            root.subcommand(words)
        })
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        if let Some(("token", inner)) = matches.subcommand() {
            return super::token::create(context, inner).await;
        }
        if let Some((name, inner)) = matches.subcommand() {
            let Some(generator) = generators::find(name) else {
                return Err(Error::message(format!("unknown command \"{name}\" for \"kubectl create\"")));
            };
            // `create secret generic`: the flags of the innermost command count.
            let own = inner.subcommand().map_or(inner, |(_, own)| own);
            let writer = Writer::new(context, own, "kubectl-create")?;
            let mut object = (generator.make)(inner)?;
            if flag(own, "save-config") {
                remember_applied(&mut object)?;
            }
            writer.create_generated(object).await?;
            return Ok(());
        }
        let files = words(matches, "filename");
        if files.is_empty() {
            return Err(Error::message("must specify one of -f and -k"));
        }
        let writer = Writer::new(context, matches, "kubectl-create")?;
        let raw = text(matches, "raw");
        let mut errors = Vec::new();
        for mut object in manifests::read(&files, flag(matches, "recursive"))? {
            if !raw.is_empty() {
                let answer = context.api().await?.post(&raw, &object).await?;
                context.print(crate::printers::json_string(&answer))?;
                continue;
            }
            if flag(matches, "save-config") {
                remember_applied(&mut object)?;
            }
            let create = async {
                let target = select::of_object(context, &object).await?;
                let created = writer.create(&target, &object).await.map_err(|e| while_creating(e, &files))?;
                writer.report(&target.resource, created, "created")
            };
            errors.extend(create.await.err());
        }
        Error::collect(errors)
    }
}

/// Refusals name the file when there is only one.
fn while_creating(error: Error, files: &[String]) -> Error {
    match (error, files) {
        (Error::Server(mut status), [file]) if status.reason != "Invalid" => {
            let source = if file == "-" { "STDIN" } else { file };
            status.message = format!("error when creating \"{source}\": {}", status.message);
            Error::Server(status)
        }
        (error, _) => error,
    }
}
