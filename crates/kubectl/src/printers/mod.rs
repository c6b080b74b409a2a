//! Output: `-o yaml`, `json`, `name`, `jsonpath`, `custom-columns`, and tables.
mod columns;
mod go_order;
mod json;
mod kyaml;
pub mod table;
pub mod tabwriter;

use crate::{
    Context, Error, Result,
    gotemplate::Template,
    jsonpath::JsonPath,
    mapper::Resource,
    select::{flag, text},
};
use clap::{Arg, ArgMatches};
use serde_json::Value;

pub use columns::relaxed as relaxed_path;
pub use go_order::{
    compact as compact_typed, fill, list as json_list, ordered as json_ordered, to_string as json_typed,
};
pub use json::{escaped as html_escaped, event as json_event, to_string as json_string};

/// Formats of every command that prints objects, for its error message.
const FORMATS: &str =
    "go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,yaml";

/// Those of `get`, which prints tables, too.
const TABLE_FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,\
                             kyaml,name,template,templatefile,wide,yaml";

/// `-o`.
pub fn output_flag() -> Arg {
    Arg::new("output").short('o').long("output")
}

/// What `-o` says.
#[derive(Debug)]
pub enum Format {
    Table { wide: bool },
    Json,
    Yaml,
    Kyaml,
    Name,
    JsonPath { path: JsonPath, template: String, as_json: bool },
    Columns { columns: columns::Columns },
    Template { template: Template },
}

impl Format {
    /// What the flags `-o`, `--template` and `--allow-missing-template-keys` ask for.
    ///
    /// # Errors
    /// An unknown format, or a template that cannot be parsed.
    pub fn of(matches: &ArgMatches) -> Result<Format> {
        let format = Self::of_table(matches, false, FORMATS)?;
        match format {
            Format::Table { wide: true } | Format::Columns { .. } => Err(unknown(&text(matches, "output"), FORMATS)),
            format => Ok(format),
        }
    }

    /// As [`Self::of`], for commands that print tables and columns.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_get(matches: &ArgMatches) -> Result<Format> {
        Self::of_table(matches, flag(matches, "no-headers"), TABLE_FORMATS)
    }

    fn of_table(matches: &ArgMatches, no_headers: bool, formats: &str) -> Result<Format> {
        let (mut output, template) = (text(matches, "output"), text(matches, "template"));
        // The template may stand in a flag of its own.
        if !template.is_empty() {
            output = match output.as_str() {
                "" => format!("go-template={template}"),
                output => format!("{output}={template}"),
            };
        }
        let strict = matches.try_get_one::<bool>("allow-missing-template-keys").ok().flatten() == Some(&false);
        Self::parse(&output, no_headers, strict, formats)
    }

    fn parse(text: &str, no_headers: bool, strict: bool, formats: &str) -> Result<Format> {
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
            let what = if name == "custom-columns-file" { "template" } else { "--template" };
            std::fs::read_to_string(path)
                .map_err(|e| Error::message(format!("error reading {what} {path}, open {path}: {}", go_text(&e))))
        };
        if rest.is_some() && ["", "wide", "json", "yaml", "kyaml", "name"].contains(&name) {
            return Err(unknown(text, formats));
        }
        Ok(match name {
            "" => Format::Table { wide: false },
            "wide" => Format::Table { wide: true },
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "name" => Format::Name,
            "jsonpath" => json_path(template()?, false, strict)?,
            "jsonpath-as-json" => json_path(template()?, true, strict)?,
            "jsonpath-file" => json_path(file()?.trim_end_matches('\n'), false, strict)?,
            "custom-columns" => Format::Columns { columns: columns::Columns::parse(template()?, no_headers)? },
            "custom-columns-file" => Format::Columns { columns: columns::Columns::parse_file(&file()?, no_headers)? },
            "go-template" | "template" => Format::Template { template: Template::parse(template()?, strict)? },
            "go-template-file" | "templatefile" => Format::Template { template: Template::parse(&file()?, strict)? },
            "kyaml" => Format::Kyaml,
            _ => return Err(unknown(text, formats)),
        })
    }

    pub fn is_table(&self) -> bool {
        matches!(self, Format::Table { .. })
    }

    /// For objects that this program made up: their members stand in the order of Go's structures.
    ///
    /// # Errors
    /// A template does not fit.
    pub fn typed_object(&self, object: &Value, resource: Option<&Resource>) -> Result<String> {
        match self {
            Format::Json => Ok(json_typed(object)),
            Format::Kyaml => Ok(kyaml::to_string(object, true)),
            other => other.object(object, resource),
        }
    }

    /// The text of one object (or list) in a format that is not a table. `resource` names it in `-o name`.
    ///
    /// # Errors
    /// A JSONPath leads nowhere.
    pub fn object(&self, object: &Value, resource: Option<&Resource>) -> Result<String> {
        Ok(match self {
            Format::Json => json::to_string(object),
            Format::Yaml => apimachinery::codec::yaml::to_string(object),
            Format::Kyaml => kyaml::to_string(object, false),
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
            Format::Template { template } => template.render(object).inspect_err(|error| {
                print!("{}", template.help(object, error));
            })?,
            Format::Columns { columns } => columns.render(std::slice::from_ref(object))?,
        })
    }
}

fn unknown(format: &str, formats: &str) -> Error {
    Error::message(format!(
        "unable to match a printer suitable for the output format \"{format}\", allowed formats are: {formats}"
    ))
}

fn json_path(template: &str, as_json: bool, strict: bool) -> Result<Format> {
    let path = JsonPath::parse(template).map(|path| if strict { path.strict() } else { path }).map_err(|error| {
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
