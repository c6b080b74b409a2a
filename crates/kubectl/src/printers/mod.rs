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
pub use json::{event as json_event, to_string as json_string};

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
    JsonPath { path: JsonPath, template: String, as_json: bool },
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
            rest.filter(|r| !r.is_empty()).ok_or_else(|| {
                Error::message(match name {
                    "custom-columns" => "custom-columns format specified but no custom columns given",
                    "custom-columns-file" => "custom-columns-file format specified but no template file given",
                    _ => "template format specified but no template given",
                })
            })
        };
        let file = || -> Result<String> {
            let path = template()?;
            std::fs::read_to_string(path)
                .map_err(|e| Error::message(format!("error reading template {path}, open {path}: {}", go_text(&e))))
        };
        Ok(match name {
            "" => Format::Table { wide: false },
            "wide" => Format::Table { wide: true },
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "name" => Format::Name,
            "jsonpath" => json_path(template()?, false)?,
            "jsonpath-as-json" => json_path(template()?, true)?,
            "jsonpath-file" => json_path(file()?.trim_end_matches('\n'), false)?,
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
            Format::JsonPath { path, template, as_json: false } => {
                path.render(object).map_err(|error| not_executed(&error, template, object))?
            }
            Format::JsonPath { path, template, as_json: true } => {
                let values = path.values(object).map_err(|error| not_executed(&error, template, object))?;
                json::to_string(&Value::Array(values))
            }
            Format::Template { template } => template.render(object)?,
            Format::Columns { columns } => columns.render(std::slice::from_ref(object))?,
        })
    }
}

fn json_path(template: &str, as_json: bool) -> Result<Format> {
    let path = JsonPath::parse(template).map_err(|error| {
        let why = error.bare();
        let why = why.trim_start_matches("error parsing jsonpath: ");
        Error::message(format!("error parsing jsonpath {template}, {why}"))
    })?;
    Ok(Format::JsonPath { path, template: template.to_owned(), as_json })
}

/// Which template failed, and on what.
fn not_executed(error: &Error, template: &str, object: &Value) -> Error {
    let why = error.bare();
    let why = why.trim_start_matches("error executing jsonpath: ").trim_end();
    Error::message(format!(
        "error executing jsonpath \"{template}\": Error executing template: {why}. Printing more information for debugging \
         the template:\n\ttemplate was:\n\t\t{template}\n\tobject given to jsonpath engine was:\n\t\t{}\n\n",
        go_syntax(object)
    ))
}

/// A value in Go's syntax, as `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), go_syntax(value)));
            format!("map[string]interface {{}}{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A failure of the system in Go's words.
pub fn go_text(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "is a directory".into(),
        ErrorKind::NotADirectory => "not a directory".into(),
        _ => error.to_string(),
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
