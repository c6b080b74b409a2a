//! `kubectl api-resources` and `kubectl api-versions`.
use super::Command;
use crate::{
    Context, Error, Result,
    global::boolean,
    mapper::Resource,
    printers::{Format, tabwriter::TabWriter},
    select::{flag, text, words},
};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use serde_json::{Value, json};

pub struct ApiResources;
pub struct ApiVersions;

#[async_trait]
impl Command for ApiResources {
    fn words(&self) -> Words {
        Words::new("api-resources")
            .about("Print the supported API resources on the server")
            .arg(Arg::new("api-group").long("api-group").help("Limit to resources in the specified API group."))
            .arg(Arg::new("categories").long("categories").value_delimiter(',').action(clap::ArgAction::Append).help("Limit to resources that belong to the specified categories."))
            .arg(boolean(Arg::new("namespaced").long("namespaced")).help("If false, non-namespaced resources will be returned, otherwise returning namespaced resources by default."))
            .arg(boolean(Arg::new("no-headers").long("no-headers")).default_value("false").help("When using the default or wide output format, don't print headers."))
            .arg(boolean(Arg::new("cached").long("cached")).default_value("false").help("Use the cached list of resources if available."))
            .arg(Arg::new("output").short('o').long("output").help("Output format. One of: (wide, name)."))
            .arg(Arg::new("sort-by").long("sort-by").help("If non-empty, sort list of resources using specified field."))
            .arg(Arg::new("verbs").long("verbs").value_delimiter(',').action(clap::ArgAction::Append).help("Limit to resources that support the specified verbs."))
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let output = text(matches, "output");
        if !["", "wide", "name", "json", "yaml", "kyaml"].contains(&output.as_str()) {
            return Err(Error::message(format!(
                "unable to match a printer suitable for the output format \"{output}\", allowed formats are: \
                 json,kyaml,name,wide,yaml"
            )));
        }
        if !["", "name", "kind"].contains(&text(matches, "sort-by").as_str()) {
            return Err(Error::message("--sort-by accepts only name or kind"));
        }
        let mapper = context.mapper().await?;
        let group = matches.get_one::<String>("api-group");
        let (verbs, categories) = (words(matches, "verbs"), words(matches, "categories"));
        let mut found: Vec<&Resource> = mapper
            .all()
            .iter()
            .filter(|r| r.preferred && !r.verbs.is_empty())
            .filter(|r| group.is_none_or(|g| *g == r.group))
            .filter(|r| matches.get_one::<bool>("namespaced").is_none_or(|n| *n == r.namespaced))
            .filter(|r| verbs.iter().all(|v| r.supports(v)))
            .filter(|r| categories.iter().all(|c| r.categories.contains(c)))
            .collect();
        match text(matches, "sort-by").as_str() {
            "name" => found.sort_by(|a, b| a.plural.cmp(&b.plural)),
            "kind" => found.sort_by(|a, b| a.kind.cmp(&b.kind)),
            _ => found.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
        }
        if ["json", "yaml", "kyaml"].contains(&output.as_str()) {
            let all: Vec<Value> = found.iter().map(|r| entry(r)).collect();
            let list = json!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "", "resources": all});
            return context.print(Format::of(matches)?.typed_object(&list, None)?);
        }
        if output == "name" {
            return found.iter().try_for_each(|r| context.line(r.qualified()));
        }
        let wide = output == "wide";
        let mut writer = TabWriter::new();
        if !flag(matches, "no-headers") {
            let more = if wide { "\tVERBS\tCATEGORIES" } else { "" };
            writer.line(&format!("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND{more}"));
        }
        for r in &found {
            let more =
                if wide { format!("\t{}\t{}", r.verbs.join(","), r.categories.join(",")) } else { String::new() };
            let line = [
                r.plural.clone(),
                r.short_names.join(","),
                r.group_version(),
                r.namespaced.to_string(),
                r.kind.clone(),
            ];
            writer.line(&format!("{}{more}", line.join("\t")));
        }
        context.print(writer.take())
    }
}

/// One resource as discovery tells of it.
fn entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "version": resource.version,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.group.is_empty() {
        entry["group"] = json!(resource.group);
    }
    for (field, words) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !words.is_empty() {
            entry[field] = json!(words);
        }
    }
    entry
}

#[async_trait]
impl Command for ApiVersions {
    fn words(&self) -> Words {
        Words::new("api-versions")
            .about("Print the supported API versions on the server, in the form of \"group/version\"")
    }

    async fn run(&self, context: &Context, _: &ArgMatches) -> Result<()> {
        let mut versions: Vec<String> = context.mapper().await?.all().iter().map(Resource::group_version).collect();
        versions.sort();
        versions.dedup();
        if versions.is_empty() {
            return Err(Error::message("the server serves no API"));
        }
        context.print(format!("{}\n", versions.join("\n")))
    }
}
