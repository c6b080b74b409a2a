//! Output: `-o yaml`, `json`, `name`, `jsonpath`, `custom-columns`, and tables.
mod columns;
mod go_order;
mod json;
pub mod table;
pub mod tabwriter;

use crate::{Context, Error, Result, gotemplate::Template, jsonpath::JsonPath, mapper::Resource};
use clap::Arg;
use serde_json::Value;

pub use go_order::to_string as json_typed;
pub use json::to_string as json_string;

/// The formats a command can print an object in, for its error message.
const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,\
                       kyaml,name,template,templatefile,wide,yaml";

/// `-o`.
pub fn output_flag() -> Arg {
    Arg::new("output").short('o').long("output").help(format!("Output format. One of: ({FORMATS})."))
}

/// What `-o` says.
#[derive(Debug)]
pub enum Format {
    Table { wide: bool },
    Json,
    Yaml,
    Name,
    JsonPath { path: JsonPath, as_json: bool },
    Columns { columns: columns::Columns },
    Template { template: Template },
}

impl Format {
    /// # Errors
    /// An unknown format, or a template that cannot be parsed.
    pub fn parse(text: &str, no_headers: bool) -> Result<Format> {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let template = || {
            rest.filter(|r| !r.is_empty())
                .ok_or_else(|| Error::message(format!("{name} format specified but no template given")))
        };
        let file = || -> Result<String> {
            let path = template()?;
            std::fs::read_to_string(path).map_err(|e| Error::message(format!("error reading template {path}, {e}")))
        };
        Ok(match name {
            "" => Format::Table { wide: false },
            "wide" => Format::Table { wide: true },
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "name" => Format::Name,
            "jsonpath" => Format::JsonPath { path: JsonPath::parse(template()?)?, as_json: false },
            "jsonpath-as-json" => Format::JsonPath { path: JsonPath::parse(template()?)?, as_json: true },
            "jsonpath-file" => {
                Format::JsonPath { path: JsonPath::parse(file()?.trim_end_matches('\n'))?, as_json: false }
            }
            "custom-columns" => Format::Columns { columns: columns::Columns::parse(template()?, no_headers)? },
            "custom-columns-file" => Format::Columns { columns: columns::Columns::parse_file(&file()?, no_headers)? },
            "go-template" | "template" => Format::Template { template: Template::parse(template()?)? },
            "go-template-file" | "templatefile" => Format::Template { template: Template::parse(&file()?)? },
            "kyaml" => {
                return Err(Error::message(format!("output format \"{name}\" is not implemented yet")));
            }
            other => {
                return Err(Error::message(format!(
                    "unable to match a printer suitable for the output format \"{other}\", allowed formats are: {FORMATS}"
                )));
            }
        })
    }

    pub fn is_table(&self) -> bool {
        matches!(self, Format::Table { .. })
    }

    /// The text of one object (or list) in a format that is not a table. `resource` names it in `-o name`.
    ///
    /// # Errors
    /// A JSONPath leads nowhere.
    pub fn object(&self, object: &Value, resource: Option<&Resource>) -> Result<String> {
        Ok(match self {
            Format::Json => json::to_string(object),
            Format::Yaml => apimachinery::codec::yaml::to_string(object),
            Format::Name | Format::Table { .. } => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                match resource {
                    Some(resource) => format!("{}\n", resource.object_name(name)),
                    None => format!("{}/{name}\n", name_of_kind(object)),
                }
            }
            Format::JsonPath { path, as_json: false } => path.render(object)?,
            Format::JsonPath { path, as_json: true } => json::to_string(&Value::Array(path.values(object)?)),
            Format::Template { template } => template.render(object)?,
            Format::Columns { columns } => columns.render(std::slice::from_ref(object))?,
        })
    }
}

/// `pod`, `deployment.apps`, from an object alone.
fn name_of_kind(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let version = object["apiVersion"].as_str().unwrap_or_default();
    match version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}"),
        None => kind,
    }
}

/// What a command that changed an object says: `pod/web created`, or the object in the format asked for.
///
/// # Errors
/// The format cannot be printed, or nobody reads.
pub fn changed(context: &Context, format: &Format, resource: &Resource, object: &Value, what: &str) -> Result<()> {
    if format.is_table() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return context.line(format!("{} {what}", resource.object_name(name)));
    }
    let text = format.object(object, Some(resource))?;
    if matches!(format, Format::Yaml) { context.document(&text) } else { context.print(text) }
}

/// Drop what nobody wants to read unless it is asked for.
pub fn strip_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip_managed_fields(item);
    }
}
