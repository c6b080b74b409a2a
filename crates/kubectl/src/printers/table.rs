//! Tables that the server computed (`meta.k8s.io/v1` `Table`), printed as kubectl prints them.
use super::tabwriter::TabWriter;
use serde_json::Value;

/// How a table is shown.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub wide: bool,
    pub no_headers: bool,
    pub with_namespace: bool,
    /// Prefix of names, such as `pod` or `deployment.apps`.
    pub kind: Option<String>,
    pub show_labels: bool,
    pub label_columns: Vec<String>,
}

/// Prints tables, one after another, in the same columns.
#[derive(Debug)]
pub struct TablePrinter {
    options: Options,
    writer: TabWriter,
    headed: bool,
    /// Definitions come with the first table of a watch only.
    columns: Vec<(String, bool)>,
}

/// A cell on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => match text.find(['\n', '\r', '\u{c}']) {
            Some(end) => format!("{}...", &text[..end]),
            None => text.clone(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(cell).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(object: &Value) -> String {
    let map = object["metadata"]["labels"].as_object();
    let pairs = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()));
    let text = pairs.collect::<Vec<_>>().join(",");
    if text.is_empty() { "<none>".into() } else { text }
}

impl TablePrinter {
    pub fn new(options: Options) -> Self {
        TablePrinter { options, writer: TabWriter::new(), headed: false, columns: Vec::new() }
    }

    /// Print the next table with a new header and columns of its own.
    pub fn restart(&mut self, options: Options) {
        *self = TablePrinter::new(options);
    }

    /// Take over a table's column definitions; later tables without any are printed in these.
    fn define(&mut self, table: &Value) {
        let definitions = table["columnDefinitions"].as_array().filter(|d| !d.is_empty());
        let Some(definitions) = definitions else { return };
        self.columns = definitions
            .iter()
            .map(|d| {
                let shown = self.options.wide || d["priority"].as_i64().unwrap_or(0) == 0;
                (d["name"].as_str().unwrap_or_default().to_uppercase(), shown)
            })
            .collect();
    }

    fn head(&mut self) {
        if self.headed || self.options.no_headers {
            return;
        }
        self.headed = true;
        let mut cells: Vec<String> = Vec::new();
        if self.options.with_namespace {
            cells.push("NAMESPACE".into());
        }
        cells.extend(self.columns.iter().filter(|(_, shown)| *shown).map(|(name, _)| name.clone()));
        // `-L a/b` heads its column with B.
        let label = |l: &String| l.rsplit('/').next().unwrap_or(l).to_uppercase();
        cells.extend(self.options.label_columns.iter().map(label));
        if self.options.show_labels {
            cells.push("LABELS".into());
        }
        self.writer.row(cells);
    }

    fn row(&mut self, row: &Value, first: Option<&str>) {
        let object = &row["object"];
        let mut cells: Vec<String> = Vec::new();
        cells.extend(first.map(str::to_owned));
        if self.options.with_namespace {
            cells.push(object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
        }
        let values = row["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (i, (name, shown)) in self.columns.iter().enumerate() {
            let text = values.get(i).map(cell).unwrap_or_default();
            match &self.options.kind {
                _ if !shown => {}
                Some(kind) if name == "NAME" && i == 0 => cells.push(format!("{kind}/{text}")),
                _ => cells.push(text),
            }
        }
        for label in &self.options.label_columns {
            cells.push(object["metadata"]["labels"][label].as_str().unwrap_or_default().to_owned());
        }
        if self.options.show_labels {
            cells.push(labels(object));
        }
        self.writer.row(cells);
    }

    /// The text of a table: its header when it is the first one, and its rows.
    pub fn print(&mut self, table: &Value) -> String {
        self.define(table);
        self.head();
        for row in table["rows"].as_array().into_iter().flatten() {
            self.row(row, None);
        }
        self.writer.take()
    }

    /// As [`Self::print`], each row after its event's type (`--output-watch-events`).
    pub fn print_event(&mut self, event: &str, table: &Value) -> String {
        self.define(table);
        if !self.headed && !self.options.no_headers {
            self.headed = true;
            let shown = self.columns.iter().filter(|(_, shown)| *shown).map(|(name, _)| name.clone());
            let names: Vec<String> = std::iter::once("EVENT".to_owned()).chain(shown).collect();
            self.writer.row(names);
        }
        for row in table["rows"].as_array().into_iter().flatten() {
            // As wide as the longest of them, MODIFIED.
            self.row(row, Some(&format!("{event:<8}")));
        }
        self.writer.take()
    }
}

/// A table for an object of a server that computes none: name and age.
pub fn fallback(objects: &[Value], now: i64) -> Value {
    let rows = objects.iter().map(|object| {
        let created = object["metadata"]["creationTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let age = created.map_or("<unknown>".to_owned(), |t| apimachinery::duration::human(now - t.as_second()));
        serde_json::json!({"cells": [object["metadata"]["name"], age], "object": object})
    });
    serde_json::json!({
        "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Age", "priority": 0}],
        "rows": rows.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_with_all_options() {
        let table = json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Ready"}, {"name": "Node", "priority": 1}],
            "rows": [{"cells": ["web", "1/1", "n1"], "object": {"metadata": {"namespace": "default", "labels": {"app": "web"}}}}],
        });
        let print = |options| TablePrinter::new(options).print(&table);
        assert_eq!(print(Options::default()), "NAME   READY\nweb    1/1\n");
        let options = Options {
            wide: true,
            with_namespace: true,
            kind: Some("pod".into()),
            show_labels: true,
            label_columns: vec!["x/app".into(), "app".into()],
            ..Options::default()
        };
        assert_eq!(
            print(options),
            "NAMESPACE   NAME      READY   NODE   APP   APP   LABELS\ndefault     pod/web   1/1     n1           web   app=web\n"
        );
    }
}
