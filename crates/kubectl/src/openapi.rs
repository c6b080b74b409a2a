//! The server's OpenAPI v3: schemas of kinds, and how `explain` shows them. Pure but for the download.
use crate::{Context, Error, Result, mapper::Resource};
use serde_json::Value;

/// Columns of a description, without its indentation.
const WIDTH: usize = 76;
/// Schemas nested deeper than that are not followed: some contain themselves.
const MAX_DEPTH: usize = 32;

/// The document of one group and version.
#[derive(Debug)]
pub struct Document(Value);

/// Download the document that has a resource's schema.
///
/// # Errors
/// The server has none.
pub async fn document(context: &Context, resource: &Resource) -> Result<Document> {
    let api = context.api().await?;
    let index = api.get("/openapi/v3").await?;
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    let path = format!("{root}/{}", resource.group_version());
    let url = index["paths"][&path]["serverRelativeURL"].as_str();
    let url = url.ok_or_else(|| Error::message(format!("couldn't find resource for \"{}\"", resource.kind)))?;
    Ok(Document(api.get(url).await?))
}

impl Document {
    /// The schema of a kind.
    pub fn kind(&self, resource: &Resource) -> Option<&Value> {
        let schemas = self.0["components"]["schemas"].as_object()?;
        schemas.values().find(|schema| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            kinds.into_iter().flatten().any(|k| {
                k["group"].as_str().unwrap_or_default() == resource.group
                    && k["version"] == resource.version.as_str()
                    && k["kind"] == resource.kind.as_str()
            })
        })
    }

    fn referenced(&self, schema: &Value) -> Option<&Value> {
        self.0["components"]["schemas"].get(reference(schema)?.rsplit('/').next()?)
    }

    /// The schema that describes the fields: behind references, list items and map values.
    fn innermost<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut at = schema;
        for _ in 0..MAX_DEPTH {
            at = if let Some(behind) = self.referenced(at) {
                behind
            } else if at["items"].is_object() {
                &at["items"]
            } else if at["additionalProperties"].is_object() {
                &at["additionalProperties"]
            } else {
                break;
            };
        }
        at
    }

    /// `string`, `[]Container`, `map[string]string`.
    fn type_name(&self, schema: &Value) -> String {
        if let Some(reference) = reference(schema) {
            // A time is a string to the reader; a quantity is neither a string nor a number.
            if let Some(plain @ ("string" | "integer" | "number" | "boolean")) =
                self.referenced(schema).and_then(|behind| behind["type"].as_str())
            {
                return plain.to_owned();
            }
            return reference.rsplit(['.', '/']).next().unwrap_or_default().to_owned();
        }
        if schema["items"].is_object() {
            return format!("[]{}", self.type_name(&schema["items"]));
        }
        if schema["additionalProperties"].is_object() {
            return format!("map[string]{}", self.type_name(&schema["additionalProperties"]));
        }
        match schema["type"].as_str() {
            Some("object") | None => "Object".into(),
            Some(other) => other.to_owned(),
        }
    }

    /// Descriptions from the outside in.
    fn description(&self, schema: &Value) -> String {
        let mut parts: Vec<&str> = Vec::new();
        let mut at = schema;
        for _ in 0..MAX_DEPTH {
            parts.extend(at["description"].as_str());
            at = match self.referenced(at) {
                Some(behind) => behind,
                None if at["items"].is_object() => &at["items"],
                None if at["additionalProperties"].is_object() => &at["additionalProperties"],
                None => break,
            };
        }
        parts.join("\n")
    }

    /// What `explain` prints below the header; `path` leads from the kind to the field.
    ///
    /// # Errors
    /// There is no such field.
    pub fn explain(&self, kind: &Value, path: &[&str], recursive: bool) -> Result<String> {
        let mut out = String::new();
        let mut at = kind;
        for name in path {
            let field = self.innermost(at)["properties"].get(*name);
            at = field.ok_or_else(|| Error::message(format!("field \"{name}\" does not exist")))?;
        }
        if let Some(name) = path.last() {
            out.push_str(&format!("FIELD: {name} <{}>\n", self.type_name(at)));
            out.push_str(&enumeration(at));
            out.push_str("\n\n");
        }
        let description = match self.description(at) {
            none if none.is_empty() => "<empty>".to_owned(),
            some => some,
        };
        out.push_str(&format!("DESCRIPTION:\n{}    \n", wrapped(&description)));
        let inner = self.innermost(at);
        if inner["properties"].as_object().is_some_and(|p| !p.is_empty()) {
            out.push_str("FIELDS:\n");
            self.fields(inner, 1, recursive, &mut Vec::new(), &mut out);
        }
        out.push('\n');
        Ok(out)
    }

    fn fields(&self, schema: &Value, level: usize, recursive: bool, above: &mut Vec<String>, out: &mut String) {
        let required = |name: &str| schema["required"].as_array().into_iter().flatten().any(|r| r == name);
        let mut fields: Vec<_> = schema["properties"].as_object().into_iter().flatten().collect();
        fields.sort_by_key(|(name, _)| *name);
        for (name, field) in fields {
            let indent = "  ".repeat(level);
            let mark = if required(name) { " -required-" } else { "" };
            let kind = self.type_name(field);
            out.push_str(&format!("{indent}{name}\t<{kind}>{mark}\n"));
            let choices = enumeration(field);
            if !choices.is_empty() {
                out.push_str(&format!("{indent}{choices}"));
            }
            if !recursive {
                let description = match self.description_of_field(field) {
                    none if none.is_empty() => "<no description>".to_owned(),
                    some => some,
                };
                out.push_str(&wrapped(&description));
                out.push('\n');
                continue;
            }
            let name = kind.trim_start_matches("[]").trim_start_matches("map[string]").to_owned();
            if above.contains(&name) || above.len() >= MAX_DEPTH {
                continue;
            }
            above.push(name);
            self.fields(self.innermost(field), level + 1, recursive, above, out);
            above.pop();
        }
    }

    /// In a list of fields their own description is enough, that of their type the second best.
    fn description_of_field(&self, field: &Value) -> String {
        match field["description"].as_str() {
            Some(own) => own.to_owned(),
            None => self.description(field),
        }
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str())
}

fn enumeration(schema: &Value) -> String {
    let values: Vec<&str> = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if values.is_empty() { String::new() } else { format!("enum: {}\n", values.join(", ")) }
}

/// Lines of words no longer than [`WIDTH`], four blanks in.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let (mut width, mut is_wrapped) = (0, false);
        for (i, word) in paragraph.split(' ').enumerate() {
            let length = word.chars().count();
            if width > 0 && width + 1 + length > WIDTH {
                out.push_str(&format!("    {}\n", line.trim_end()));
                line.clear();
                width = 0;
                is_wrapped = true;
            } else if width > 0 || (i > 0 && !is_wrapped) {
                // Blanks at the start of a paragraph stay, those at the start of a further line do not.
                line.push(' ');
                width += 1;
            }
            line.push_str(word);
            width += length;
        }
        out.push_str(&format!("    {line}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_and_its_type_are_described() {
        let document = Document(json!({"components": {"schemas": {
            "io.k8s.Foo": {"properties": {"spec": {"allOf": [{"$ref": "#/components/schemas/io.k8s.Spec"}], "description": "Of foo."}}},
            "io.k8s.Spec": {"description": "A spec.", "required": ["a"], "properties": {"a": {"type": "array", "items": {"type": "string"}, "description": "Words."}}},
        }}}));
        let foo = &document.0["components"]["schemas"]["io.k8s.Foo"];
        assert_eq!(
            document.explain(foo, &["spec"], false).expect("explained"),
            "FIELD: spec <Spec>\n\n\nDESCRIPTION:\n    Of foo.\n    A spec.\n    \nFIELDS:\n  a\t<[]string> -required-\n    Words.\n\n\n"
        );
        assert_eq!(document.explain(foo, &["x"], false).expect_err("none").text(), "error: field \"x\" does not exist");
    }
}
