//! `-o custom-columns=NAME:.metadata.name,…`
use super::tabwriter::TabWriter;
use crate::{Error, Result, jsonpath::JsonPath};
use serde_json::Value;

#[derive(Debug)]
pub struct Columns {
    headers: Vec<String>,
    paths: Vec<JsonPath>,
    no_headers: bool,
}

/// `metadata.name`, `.metadata.name` and `{.metadata.name}` mean the same.
pub fn relaxed(text: &str) -> String {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let dotted = if inner.starts_with('.') || inner.starts_with('[') || inner.is_empty() {
        inner.to_owned()
    } else {
        format!(".{inner}")
    };
    format!("{{{dotted}}}")
}

impl Columns {
    /// # Errors
    /// A column is not `<header>:<json-path-expr>`.
    pub fn parse(spec: &str, no_headers: bool) -> Result<Self> {
        let (mut headers, mut paths) = (Vec::new(), Vec::new());
        for part in spec.split(',') {
            let Some((header, path)) = part.split_once(':') else {
                return Err(Error::message(format!(
                    "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                )));
            };
            headers.push(header.to_owned());
            paths.push(parsed(path)?);
        }
        Ok(Columns { headers, paths, no_headers })
    }

    /// Headers on the first line, paths below each.
    ///
    /// # Errors
    /// There are not two lines, or not as many paths as headers.
    pub fn parse_file(text: &str, no_headers: bool) -> Result<Self> {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
            return Err(Error::message(
                "invalid template, missing spec line. Expected format is one line of space separated column headers, one line of space separated column specs.",
            ));
        };
        if headers.len() != paths.len() {
            let (h, p) = (headers.len(), paths.len());
            return Err(Error::message(format!("number of headers ({h}) and field specifications ({p}) don't match")));
        }
        let paths = paths.into_iter().map(parsed).collect::<Result<_>>()?;
        Ok(Columns { headers: headers.into_iter().map(str::to_owned).collect(), paths, no_headers })
    }

    /// # Errors
    /// A path does not fit the object.
    pub fn render(&self, objects: &[Value]) -> Result<String> {
        let mut writer = TabWriter::new();
        if !self.no_headers {
            writer.row(self.headers.clone());
        }
        for object in objects {
            let items = match object["items"].as_array() {
                Some(items) => items.as_slice(),
                None => std::slice::from_ref(object),
            };
            for item in items {
                writer.row(self.paths.iter().map(|path| cell(path, item)).collect::<Result<Vec<_>>>()?);
            }
        }
        Ok(writer.take())
    }
}

/// A column's path; a mistake in it is told without saying that it is a JSONPath.
fn parsed(path: &str) -> Result<JsonPath> {
    JsonPath::parse(&relaxed(path))
        .map_err(|error| Error::message(error.bare().replace("error parsing jsonpath: ", "")))
}

fn cell(path: &JsonPath, item: &Value) -> Result<String> {
    let values = path.values_or_none(item)?;
    if values.is_empty() {
        return Ok("<none>".into());
    }
    Ok(values.iter().map(crate::gotemplate::shown).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let columns =
            Columns::parse("NAME:.metadata.name,IMAGES:spec.containers[*].image,X:.none", false).expect("a spec");
        let pod =
            serde_json::json!({"metadata": {"name": "web"}, "spec": {"containers": [{"image": "a"}, {"image": "b"}]}});
        assert_eq!(columns.render(&[pod]).expect("rendered"), "NAME   IMAGES   X\nweb    a,b      <none>\n");
    }
}
