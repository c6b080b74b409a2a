//! `-o go-template`: the part of Go's `text/template` that templates over objects use.
//!
//! Fields, variables, `range`, `if`, `with`, `define`, `template`, pipes, trimming, comments, and the functions of
//! [`eval`]. What is not here (`block`, methods) is refused when the template is parsed.
mod eval;
mod parse;

pub use eval::shown;

use crate::{Error, Result};
use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    text: String,
    nodes: Vec<Node>,
    /// Fields that are not there are an error.
    strict: bool,
}

#[derive(Debug)]
enum Node {
    Text(String),
    /// `{{ pipe }}`
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    /// `{{range $i, $v := pipe}}`
    Range(Vec<String>, Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    /// `{{define "name"}}…{{end}}`
    Define(String, Vec<Node>),
    /// `{{template "name" pipe}}`
    Call(String, Option<Pipe>),
    Break,
    Continue,
}

/// `$x := a | b`: each step takes the result of the one before as its last argument.
#[derive(Debug)]
struct Pipe {
    assigned: Option<(String, bool)>,
    steps: Vec<Vec<Term>>,
}

#[derive(Debug)]
enum Term {
    Literal(Value),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a`
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipe).a`
    Inner(Box<Pipe>, Vec<String>),
}

impl Template {
    /// # Errors
    /// The template is malformed, or uses what is not supported.
    pub fn parse(text: &str, strict: bool) -> Result<Template> {
        let nodes = parse::template(text)
            .map_err(|why| Error::message(format!("error parsing template {text}, template: output:1: {why}")))?;
        Ok(Template { text: text.to_owned(), nodes, strict })
    }

    /// # Errors
    /// A function does not fit its arguments.
    pub fn render(&self, value: &Value) -> Result<String> {
        eval::render(&self.nodes, value, self.strict).map_err(|why| {
            Error::message(format!("error executing template \"{}\": template: output:{why}", self.text))
        })
    }

    /// What is told on standard output besides, for whoever wrote the template.
    pub fn help(&self, value: &Value, error: &Error) -> String {
        let why = error.bare();
        let why = why.split_once("\": ").map_or(why.as_str(), |(_, why)| why);
        format!(
            "Error executing template: {why}. Printing more information for debugging the template:\n\ttemplate \
             was:\n\t\t{}\n\traw data was:\n\t\t{value}\n\tobject given to template engine was:\n\t\t{}\n\n",
            self.text,
            shown(value)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates() {
        let list = json!({"kind": "List", "n": 3, "empty": [], "on": true, "items": [
            {"metadata": {"name": "a", "labels": {"app": "x", "b.c/d": "y"}}}, {"metadata": {"name": "b"}}]});
        let cases = [
            ("{{.kind}}", "List"),
            ("{{ .items | len }}", "2"),
            ("{{range .items}}{{.metadata.name}}\n{{end}}", "a\nb\n"),
            ("{{range $i, $x := .items}}{{$i}}={{$x.metadata.name}} {{end}}", "0=a 1=b "),
            ("{{range .empty}}x{{else}}none{{end}}", "none"),
            ("{{if .on}}yes{{else}}no{{end}}", "yes"),
            ("{{range.items}}{{.metadata.name}};{{end}}{{if.on}}y{{end}}{{with.kind}}{{.}}{{end}}", "a;b;yList"),
            ("{{if not .on}}yes{{else if eq .n 3}}three{{end}}", "three"),
            ("{{if and .on (gt .n 2)}}both{{end}}", "both"),
            ("{{if or .empty .missing}}x{{else}}neither{{end}}", "neither"),
            ("{{(index .items 0).metadata.name}}", "a"),
            ("{{index (index .items 0).metadata.labels \"b.c/d\"}}", "y"),
            ("{{printf \"%s-%d %v %q\" .kind .n .on .kind}}", "List-3 true \"List\""),
            ("{{.missing}}", "<no value>"),
            ("a {{- \" b \" -}} c", "a b c"),
            ("{{/* nothing */}}x", "x"),
            ("{{with .kind}}{{.}}{{$.n}}{{end}}", "List3"),
            ("{{$x := .n}}{{$x}}{{println 1 2}}", "31 2\n"),
            ("{{range $k, $v := (index .items 0).metadata.labels}}{{$k}}:{{$v}};{{end}}", "app:x;b.c/d:y;"),
            ("{{(index .items 0).metadata.labels}}", "map[app:x b.c/d:y]"),
            ("{{\"YQ==\" | base64decode}}", "a"),
            ("{{slice .kind 1 3}}", "is"),
            ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .kind}}{{template \"t\" .n}}", "<List><3>"),
            (
                "{{range .items}}{{if eq .metadata.name \"a\"}}{{continue}}{{end}}{{.metadata.name}}{{break}}x{{end}}",
                "b",
            ),
            ("{{js \"a'b\"}} {{html \"<a>\"}} {{print 1 2 \"x\" \"y\" 3}}", "a\\'b &lt;a&gt; 1 2xy3"),
        ];
        for (template, want) in cases {
            let parsed = Template::parse(template, false).unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(parsed.render(&list).unwrap_or_else(|e| panic!("{template}: {e}")), want, "{template}");
        }
        for template in ["{{.a", "{{if .a}}", "{{end}}", "{{nothing .a}}", "{{block \"x\" .}}{{end}}", "{{\"x}}"] {
            assert!(Template::parse(template, false).is_err(), "{template}");
        }
    }
}
