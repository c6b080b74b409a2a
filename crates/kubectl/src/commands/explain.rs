//! `kubectl explain`.
use super::Command;
use crate::{
    Context, Error, Result, openapi,
    select::{flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};

pub struct Explain;

#[async_trait]
impl Command for Explain {
    fn words(&self) -> Words {
        Words::new("explain")
            .about("Get documentation for a resource")
            .arg(Arg::new("words").num_args(0..).value_name("TYPE[.FIELD...]"))
            .arg(
                crate::global::boolean(Arg::new("recursive").long("recursive"))
                    .default_value("false")
                    .help("When true, print the name of all the fields recursively."),
            )
            .arg(
                Arg::new("api-version")
                    .long("api-version")
                    .help("Use given api-version (group/version) of the resource."),
            )
            .arg(
                Arg::new("output")
                    .short('o')
                    .long("output")
                    .default_value("plaintext")
                    .help("Format in which to render the schema. Valid values are: (plaintext)."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let given = words(matches, "words");
        let [word] = given.as_slice() else {
            return Err(Error::message(match given.len() {
                0 => {
                    "You must specify the type of resource to explain. Use \"kubectl api-resources\" for a complete list of supported resources."
                }
                _ => "We accept only this format: explain RESOURCE",
            }));
        };
        if text(matches, "output") != "plaintext" {
            return Err(match text(matches, "output").as_str() {
                known @ ("plaintext-openapiv2" | "md") => {
                    Error::message(format!("explain -o {known} is not implemented"))
                }
                other => Error::message(format!("unrecognized format: {other}")),
            });
        }
        let mapper = context.mapper().await?;
        let parts: Vec<&str> = word.trim_end_matches('.').split('.').collect();
        // `deployments.apps.spec`: the group may stand behind the name, up to its first dot.
        let found = (1..=parts.len().min(2)).rev().find_map(|n| {
            let name = parts.get(..n)?.join(".");
            Some((mapper.resource(&name).ok()?, parts.get(n..)?))
        });
        let Some((resource, path)) = found else {
            let name = parts.first().copied().unwrap_or_default();
            eprintln!("the server doesn't have a resource type \"{name}\"");
            return Err(Error::Exit(1));
        };
        let version = text(matches, "api-version");
        let resource = match version.as_str() {
            "" => resource,
            version => mapper.kind(version, &resource.kind).map_err(|_| {
                Error::message(format!("couldn't find resource for \"{version}, Resource={}\"", resource.plural))
            })?,
        };
        let document = openapi::document(context, resource).await?;
        let Some(kind) = document.kind(resource) else {
            return Err(Error::message(format!("couldn't find resource for \"{}\"", resource.kind)));
        };
        let group = if resource.group.is_empty() { String::new() } else { format!("GROUP:      {}\n", resource.group) };
        context.print(format!("{group}KIND:       {}\nVERSION:    {}\n\n", resource.kind, resource.version))?;
        context.print(document.explain(kind, path, flag(matches, "recursive"))?)
    }
}
