//! `objects/*.yaml` in; out comes what the server added to each object, what is wrong with it, its warnings and its
//! row of the table.
use crate::support::{NOW, create, json};
use apimachinery::{codec::yaml, table::Cell};
use serde_json::Value;
use std::{fmt::Write, fs, path::Path};

/// Lines for everything in `after` that `before` has not, or has otherwise.
fn added(path: &str, before: Option<&Value>, after: &Value, out: &mut String) {
    match (before, after) {
        (Some(before), after) if before == after => {}
        (_, Value::Object(map)) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                added(&path, before.and_then(|b| b.get(key)), value, out);
            }
        }
        (Some(Value::Array(_)), Value::Array(items)) => {
            for (i, value) in items.iter().enumerate() {
                added(&format!("{path}[{i}]"), before.and_then(|b| b.get(i)), value, out);
            }
        }
        _ => writeln!(out, "+ {path}: {after}").unwrap(),
    }
}

fn shown(given: &Value) -> String {
    let created = create(given);
    let name = created.object.metadata().name.clone().unwrap_or_default();
    let mut out = format!("## {} {name}\n", given["kind"].as_str().unwrap());
    added("", Some(given), &json(&*created.object), &mut out);
    for error in created.errors.iter() {
        writeln!(out, "! {error}").unwrap();
    }
    for warning in created.resource.warnings(&*created.object, None) {
        writeln!(out, "? {warning}").unwrap();
    }
    // The table shows what clients stored, status included.
    let mut stored = created.resource.decode(given.to_string().as_bytes()).unwrap().object;
    created.resource.default(&mut *stored);
    let cells = created.resource.row(&*stored, NOW);
    let columns = created.resource.columns().iter().map(|c| (c.name, c.priority));
    let mut row = Vec::new();
    for ((name, priority), cell) in columns.zip(cells) {
        let text = match cell {
            Cell::Text(text) => text,
            Cell::Integer(n) => format!("{n} (integer)"),
            Cell::Bool(b) => format!("{b} (boolean)"),
            Cell::Null => "null".into(),
        };
        row.push(if priority == 0 { format!("{name}={text}") } else { format!("({name}={text})") });
    }
    writeln!(out, "| {}", row.join(" | ")).unwrap();
    out
}

#[test]
fn every_object() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/objects");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let objects = yaml::parse_all(&fs::read_to_string(&file).unwrap()).unwrap();
        let text: String = objects.iter().map(shown).collect::<Vec<_>>().join("\n");
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, text);
        });
    }
}
