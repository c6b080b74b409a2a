//! `kubectl describe`.
use super::Command;
use crate::{
    Context, Error, Result, describe,
    http::with_query,
    select::{self, flag, text},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::Value;

pub struct Describe;

#[async_trait]
impl Command for Describe {
    fn words(&self) -> Words {
        select::add(Words::new("describe").about("Show details of a specific resource or group of resources"))
            .arg(select::all_namespaces())
            .arg(
                crate::global::boolean(Arg::new("show-events").long("show-events"))
                    .default_value("true")
                    .help("If true, display events related to the described object."),
            )
            .arg(
                Arg::new("chunk-size")
                    .long("chunk-size")
                    .value_parser(clap::value_parser!(u32))
                    .default_value("500")
                    .help("Return large lists in chunks rather than all at once."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let labels = text(matches, "selector");
        let api = context.api().await?;
        let mut first = true;
        let mut errors = Vec::new();
        if select::is_empty(matches) {
            return Err(Error::message(
                "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of \
                 supported resources.",
            ));
        }
        let targets = select::targets(context, matches).await?;
        let only_names = targets.iter().all(|t| t.name.is_some());
        let mut found: Vec<(Value, bool)> = Vec::new();
        for target in targets {
            let mut by_prefix = false;
            let objects = match &target.name {
                Some(name) => match api.get(&target.path()).await {
                    Ok(object) => vec![object],
                    // `describe pod we` shows every pod whose name starts so.
                    Err(error) if error.is_not_found() => {
                        by_prefix = true;
                        let mut found = Vec::new();
                        let collection = target.resource.collection(target.namespace.as_deref());
                        for object in items(api.get(&collection).await?, &target.resource) {
                            if object["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(name.as_str())) {
                                found.push(object);
                            }
                        }
                        if found.is_empty() {
                            errors.push(error);
                        }
                        found
                    }
                    Err(error) => {
                        errors.push(error);
                        continue;
                    }
                },
                None => {
                    let list = api.get(&with_query(&target.path(), &[("labelSelector", labels.as_str())])).await?;
                    items(list, &target.resource)
                }
            };
            found.extend(objects.into_iter().map(|object| (object, by_prefix)));
        }
        // Events of several objects at once are shown only to those who ask for them.
        let asked = matches.value_source("show-events") == Some(clap::parser::ValueSource::CommandLine);
        let several = found.len() > 1;
        for (object, by_prefix) in found {
            let events = flag(matches, "show-events") && (asked || !(several || by_prefix));
            let described = describe::describe(context, &object, events).await?;
            let separator = if first || by_prefix { "" } else { "\n\n" };
            first = false;
            let end = if by_prefix { "\n" } else { "" };
            context.print(format!("{separator}{described}{end}"))?;
        }
        if first && errors.is_empty() && !only_names {
            match context.namespace().await {
                Ok(namespace) if !flag(matches, "all-namespaces") => {
                    eprintln!("No resources found in {namespace} namespace.");
                }
                _ => eprintln!("No resources found"),
            }
        }
        Error::collect(errors)
    }
}

/// A list's items, which carry no kind of their own.
fn items(mut list: Value, resource: &crate::mapper::Resource) -> Vec<Value> {
    let Value::Array(mut items) = list["items"].take() else { return Vec::new() };
    for item in &mut items {
        item["apiVersion"] = resource.group_version().into();
        item["kind"] = resource.kind.clone().into();
    }
    items
}
