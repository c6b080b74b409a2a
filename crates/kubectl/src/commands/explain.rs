//! `kubectl explain`.
use super::Command;
use crate::{
    Context, Error, Result, openapi,
    select::{flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};

pub struct Explain;

/// The version that was asked for has no such resource; `served`: it has others.
fn unknown_version(version: &str, plural: &str, served: bool) -> Error {
    let slash = if version.contains('/') { "" } else { "/" };
    let resource = format!("{slash}{version}, Resource={plural}");
    Error::message(match served {
        true => format!("GVR ({resource}) not found in OpenAPI schema"),
        false => format!("couldn't find resource for \"{resource}\""),
    })
}

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
            version => match mapper.kind(version, &resource.kind) {
                Ok(resource) => resource,
                Err(_) => {
                    let served = mapper.all().iter().any(|known| known.group_version() == version);
                    return Err(unknown_version(version, &resource.plural, served));
                }
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_without_the_resource() {
        let cases = [
            ("v2", false, "error: couldn't find resource for \"/v2, Resource=pods\""),
            ("apps/v2", false, "error: couldn't find resource for \"apps/v2, Resource=pods\""),
            ("apps/v1", true, "error: GVR (apps/v1, Resource=pods) not found in OpenAPI schema"),
        ];
        for (version, served, want) in cases {
            assert_eq!(unknown_version(version, "pods", served).text(), want);
        }
    }
}
