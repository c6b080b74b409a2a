//! `kubectl create -f`, and the objects that `kubectl create <kind>` makes up.
use super::Command;
use crate::{
    Context, Error, Result, generators, manifests,
    mapper::Mapper,
    select::{self, flag, text},
    write::{self, DryRun, Writer, remember_applied, remember_made},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;

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
            let from = text(own, "from");
            if !from.is_empty() && !text(own, "image").is_empty() {
                return Err(Error::message("either --image or --from must be specified"));
            }
            let mut object = match name {
                "role" => role(context, own, "Role").await?,
                "clusterrole" => role(context, own, "ClusterRole").await?,
                _ if from.is_empty() => (generator.make)(inner)?,
                _ => generators::job_of(own, &existing(context, &from).await?)?,
            };
            // Of a service that is only printed, upstream remembers nothing.
            if flag(own, "save-config") && (name != "service" || writer.dry_run != DryRun::Client) {
                remember_made(&mut object);
            }
            writer.create_generated(object).await?;
            return Ok(());
        }
        if !manifests::given(matches) {
            return Err(Error::message("must specify one of -f and -k"));
        }
        let writer = Writer::new(context, matches, "kubectl-create")?;
        let raw = text(matches, "raw");
        let (manifests, unread) = manifests::read_sourced(context, matches).await?;
        let mut errors = Vec::new();
        if manifests.is_empty() && unread.is_empty() {
            return Err(Error::message("no objects passed to create"));
        }
        if flag(matches, "edit") {
            Error::collect(unread)?;
            let objects = manifests.into_iter().map(|manifest| manifest.object).collect();
            return super::edit::before_create(&writer, matches, objects).await;
        }
        for mut manifest in manifests {
            if !raw.is_empty() {
                let body = serde_json::to_vec(&manifest.object)?;
                context.print(context.api().await?.post_raw(&raw, body).await?)?;
                continue;
            }
            let create = async {
                let target = manifests::target(context, &manifest, writer.validates()).await?;
                if let Some(namespace) = &target.namespace {
                    manifest.object["metadata"]["namespace"] = namespace.clone().into();
                }
                if flag(matches, "save-config") {
                    remember_applied(&mut manifest.object)?;
                }
                let created = writer.create(&target, &manifest.object).await;
                let created = created.map_err(|e| e.during("creating", Some(&manifest.source)))?;
                writer.report(&target.resource, created, "created")
            };
            errors.extend(create.await.err());
        }
        errors.extend(unread);
        Error::collect(errors)
    }
}

/// The one object that `TYPE/NAME` stands for.
async fn existing(context: &Context, word: &str) -> Result<Value> {
    let targets = select::from_words(context, &[word.to_owned()], false).await?;
    match targets.as_slice() {
        [target] if target.name.is_some() => context.api().await?.get(&target.path()).await,
        _ => Err(Error::message("from must be an existing cronjob")),
    }
}

/// A role. Resources are told by names of the server's, so that it is asked even for a client-side dry run.
async fn role(context: &Context, matches: &ArgMatches, kind: &str) -> Result<Value> {
    for verb in generators::unusual_verbs(matches) {
        eprintln!("Warning: '{verb}' is not a standard resource verb");
    }
    let none = Mapper::default();
    let mapper = if generators::needs_mapper(matches) { context.mapper().await? } else { &none };
    generators::role(matches, kind, mapper)
}
