//! Objects from files, folders, standard input: `-f`.
use crate::{
    Context, Error, Result,
    printers::go_text,
    select::{flag, text, words},
};
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::Value;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Larger input is no manifest.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
const MAX_DEPTH: usize = 32;

pub fn file_flag() -> Arg {
    Arg::new("filename")
        .short('f')
        .long("filename")
        .action(ArgAction::Append)
        .value_delimiter(',')
        .help("Filename, directory, or - for standard input")
}

/// `apiVersion` and `kind` of an object.
///
/// # Errors
/// One of them is missing.
pub fn type_of(object: &Value) -> Result<(String, String)> {
    let text = |field: &str| object[field].as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    match (text("apiVersion"), text("kind")) {
        (Some(version), Some(kind)) => Ok((version, kind)),
        (None, None) => Err(Error::message("error validating data: [apiVersion not set, kind not set]")),
        (_, None) => Err(Error::message("error validating data: kind not set")),
        (None, _) => Err(Error::message("error validating data: apiVersion not set")),
    }
}

/// What is the matter with a manifest before any server has seen it, said as the official one says it.
///
/// # Errors
/// It has no type, or one that the server does not know.
pub async fn target(context: &Context, manifest: &Manifest, validate: bool) -> Result<crate::select::Target> {
    let Manifest { source, object } = manifest;
    let (api_version, kind) = type_of(object).map_err(|error| match validate {
        true => Error::message(format!(
            "error validating \"{source}\": {}; if you choose to ignore these errors, turn validation off with \
             --validate=false",
            error.bare()
        )),
        false => error,
    })?;
    if context.mapper().await?.kind(&api_version, &kind).is_err() {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        return Err(Error::message(format!(
            "resource mapping not found for name: \"{}\" namespace: \"{}\" from \"{source}\": no matches for kind \
             \"{kind}\" in version \"{api_version}\"\nensure CRDs are installed first",
            text("name"),
            text("namespace")
        )));
    }
    crate::select::of_object(context, object).await
}

/// An object, and the name of the file that it came from.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub source: String,
    pub object: Value,
}

/// Whether `-f` or `-k` was given.
pub fn given(matches: &ArgMatches) -> bool {
    !words(matches, "filename").is_empty() || !text(matches, "kustomize").is_empty()
}

/// All objects of `-f`, `-R` and `-k`, lists unfolded, in order; the first mistake ends it.
///
/// # Errors
/// A file cannot be read or parsed; the message names it.
pub async fn read(context: &Context, matches: &ArgMatches) -> Result<Vec<Value>> {
    let (manifests, errors) = read_sourced(context, matches).await?;
    Error::collect(errors)?;
    Ok(manifests.into_iter().map(|manifest| manifest.object).collect())
}

/// As [`read`], with where each object came from, and what is wrong with the files that could not be read to their
/// end: what stands before a mistake counts.
///
/// # Errors
/// A file is not there, or flags contradict each other.
pub async fn read_sourced(context: &Context, matches: &ArgMatches) -> Result<(Vec<Manifest>, Vec<Error>)> {
    let (files, recursive) = (words(matches, "filename"), flag(matches, "recursive"));
    let kustomization = text(matches, "kustomize");
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    if !kustomization.is_empty() {
        if !files.is_empty() {
            return Err(Error::message("only one of -f or -k can be specified"));
        }
        let built = crate::kustomize::build(Path::new(&kustomization), true, true).map_err(|error| match error {
            // Only `kubectl kustomize` says itself that this is an error.
            Error::Plain(text) => Error::Plain(text.trim_start_matches("error: ").to_owned()),
            other => other,
        });
        for object in built? {
            found.push(Manifest { source: kustomization.clone(), object });
        }
        return Ok((found, errors));
    }
    for file in &files {
        if file == "-" {
            let mut text = String::new();
            std::io::stdin().take(MAX_BYTES).read_to_string(&mut text)?;
            parse(&text, "STDIN", &mut found, &mut errors);
            continue;
        }
        if file.starts_with("http://") || file.starts_with("https://") {
            let text = context.fetch(file).await?;
            parse(&text, file, &mut found, &mut errors);
            continue;
        }
        let path = Path::new(file);
        if !path.exists() {
            return Err(Error::message(format!("the path \"{file}\" does not exist")));
        }
        for path in expand(path, recursive, 0)? {
            let size = fs::metadata(&path).map(|m| m.len()).unwrap_or(0);
            if size > MAX_BYTES {
                return Err(Error::message(format!("{}: larger than {MAX_BYTES} bytes", path.display())));
            }
            let text = fs::read_to_string(&path)
                .map_err(|e| Error::message(format!("open {}: {}", path.display(), go_text(&e))))?;
            parse(&text, &path.display().to_string(), &mut found, &mut errors);
        }
    }
    Ok((found, errors))
}

fn expand(path: &Path, recursive: bool, depth: usize) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if depth > MAX_DEPTH {
        return Err(Error::message(format!("{}: folders nested too deeply", path.display())));
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)?.flatten().map(|e| e.path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                found.extend(expand(&entry, recursive, depth + 1)?);
            }
        } else if entry.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml") {
            found.push(entry);
        }
    }
    Ok(found)
}

/// The documents of one file. A document that cannot be decoded is told of and left out; one that cannot be parsed ends
/// the file, and what stands before it counts.
fn parse(text: &str, name: &str, objects: &mut Vec<Manifest>, errors: &mut Vec<Error>) {
    if let Err(last) = parse_each(text, name, objects, errors) {
        errors.push(last);
    }
}

fn parse_each(text: &str, name: &str, objects: &mut Vec<Manifest>, errors: &mut Vec<Error>) -> Result<()> {
    let refused = |e: String| Error::message(format!("error parsing {name}: {e}"));
    if text.trim_start().starts_with('{') {
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            let value = value.map_err(|error| {
                refused(match error.is_eof() {
                    true => "unexpected EOF".into(),
                    false => {
                        apimachinery::codec::json_syntax::error(text.as_bytes()).unwrap_or_else(|| error.to_string())
                    }
                })
            })?;
            accept(value, name, objects, errors)?;
        }
        return Ok(());
    }
    for document in documents(text) {
        let (value, _) = apimachinery::codec::yaml::parse_tolerant(document)
            .map_err(|e| refused(format!("error converting YAML to JSON: {}", yaml_mistake(&e.to_string()))))?;
        if !value.is_null() {
            accept(value, name, objects, errors)?;
        }
    }
    Ok(())
}

/// The pieces between lines that begin with `---`.
fn documents(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        if line.strip_prefix("---").is_some_and(|rest| rest.trim().is_empty() || rest.starts_with(' ')) {
            found.push(&text[start..at]);
            // What stands behind the dashes belongs to the document.
            start = if line.trim_end() == "---" { at + line.len() } else { at + 3 };
        }
        at += line.len();
    }
    found.push(&text[start..]);
    found
        .retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    found
}

fn accept(value: Value, name: &str, objects: &mut Vec<Manifest>, errors: &mut Vec<Error>) -> Result<()> {
    if !value.is_object() {
        return Err(Error::message(format!(
            "error validating \"{name}\": error validating data: invalid object to validate; if you choose to ignore these \
             errors, turn validation off with --validate=false"
        )));
    }
    for field in ["labels", "annotations"] {
        let values = value["metadata"][field].as_object().into_iter().flatten();
        let kinds = values.filter_map(|(_, value)| match value {
            Value::Bool(_) => Some("bool"),
            Value::Number(_) => Some("number"),
            Value::Array(_) => Some("array"),
            Value::Object(_) => Some("object"),
            Value::Null | Value::String(_) => None,
        });
        // Go maps have no order: any of the wrong ones may be told of.
        if let Some(kind) = kinds.into_iter().next() {
            errors.push(Error::message(format!(
                "unable to decode \"{name}\": json: cannot unmarshal {kind} into Go struct field ObjectMeta.metadata.{field} \
                 of type string"
            )));
            return Ok(());
        }
    }
    unfold(value, name, objects);
    Ok(())
}

/// A parser's mistake in the words of Go's: `yaml: line 4: did not find expected key`. Go counts lines from 0 in what
/// its parser, from 1 in what its scanner finds.
fn yaml_mistake(text: &str) -> String {
    const SCANNED: [(&str, &str); 4] = [
        ("tabs disallowed", "found character that cannot start any token"),
        ("mapping values are not allowed", "mapping values are not allowed in this context"),
        ("unknown escape", "found unknown escape character"),
        ("could not find expected ':'", "could not find expected ':'"),
    ];
    let text = text.lines().next().unwrap_or_default();
    let text = text.trim_start_matches("error converting YAML to JSON: ").trim_start_matches("error: ");
    let Some((place, why)) = text.split_once(": ").filter(|(place, _)| place.starts_with("line ")) else {
        return format!("yaml: {text}");
    };
    let line: usize = place.split(' ').nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
    let (line, why) = match SCANNED.iter().find(|(ours, _)| why.contains(ours)) {
        Some((_, theirs)) => (line, *theirs),
        None => (line.saturating_sub(1), why.rsplit_once(" mapping, ").map_or(why, |(_, why)| why)),
    };
    let place = if line == 0 { String::new() } else { format!("line {line}: ") };
    format!("yaml: {place}{why}")
}

/// A `List` is its items.
fn unfold(object: Value, source: &str, objects: &mut Vec<Manifest>) {
    let is_list = object["kind"].as_str().is_some_and(|k| k.ends_with("List")) && object["items"].is_array();
    match object {
        Value::Object(mut map) if is_list => {
            if let Some(Value::Array(items)) = map.remove("items") {
                items.into_iter().for_each(|item| unfold(item, source, objects));
            }
        }
        object => objects.push(Manifest { source: source.to_owned(), object }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kinds that were found, and what is said of the rest.
    fn parsed(text: &str, name: &str) -> (Vec<String>, Vec<String>) {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        parse(text, name, &mut found, &mut errors);
        let kinds = found.iter().map(|m| m.object["kind"].as_str().unwrap_or_default().to_owned()).collect();
        (kinds, errors.iter().map(Error::text).collect())
    }

    #[test]
    fn what_stands_before_a_mistake_counts() {
        let (found, errors) =
            parsed("kind: A\n---\n# nothing\n---\nkind: B\na: {b: c\nd: e}\n---\nkind: C\n", "x.yaml");
        assert_eq!(found, ["A"]);
        assert!(
            errors.len() == 1
                && errors[0].starts_with("error: error parsing x.yaml: error converting YAML to JSON: yaml: line 2: "),
            "{errors:?}"
        );
        assert_eq!(parsed("{\"kind\": \"A\"}\n{\"kind\": \"B\"}", "x.json").0, ["A", "B"]);
        assert_eq!(parsed("{\"kind\": ", "x.json").1, ["error: error parsing x.json: unexpected EOF"]);
    }

    #[test]
    fn what_cannot_be_decoded_is_left_out_alone() {
        let cases = [
            ("labels: {a: y}", "bool", "labels"),
            ("labels: {a: true}", "bool", "labels"),
            ("annotations: {a: 1}", "number", "annotations"),
            ("annotations: {a: [b]}", "array", "annotations"),
        ];
        for (metadata, kind, field) in cases {
            let text = format!("kind: A\n---\nkind: B\nmetadata: {{{metadata}}}\n---\nkind: C\n");
            let (found, errors) = parsed(&text, "x.yaml");
            assert_eq!(found, ["A", "C"], "{metadata}");
            let want = format!(
                "error: unable to decode \"x.yaml\": json: cannot unmarshal {kind} into Go struct field \
                 ObjectMeta.metadata.{field} of type string"
            );
            assert_eq!(errors, [want], "{metadata}");
        }
    }
}
