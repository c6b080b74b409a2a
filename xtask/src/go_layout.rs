//! Writes how Go lays out the pod template: every struct reachable from it, its fields' names in Go and in JSON, and
//! the types as Go prints them. The controllers' hashes are taken over such a print.
//!
//! Notation: `@type` opens a struct; its lines are `GoName jsonName type`, where `-` stands for a field whose own fields
//! are the JSON's, and `,omitempty` or `,omitzero` follow the JSON name as in the tag.
//! `=type underlying` is a named type that is no struct.
use crate::go_types::{GoField, Image, KIND_MAP, KIND_POINTER, KIND_SLICE, KIND_STRUCT, TYPE_SIZE};
use anyhow::{Context, bail};
use std::{collections::BTreeMap, fmt::Write as _};

const ROOT: &str = "api.core.v1.PodTemplateSpec";
/// Written by hand where they are printed: their contents are no API fields.
const SPECIAL: [&str; 4] = ["resource.Quantity", "v1.Time", "v1.FieldsV1", "intstr.IntOrString"];

/// The layout of everything below the pod template.
pub fn pod_template(executable: &[u8]) -> anyhow::Result<String> {
    let image = Image::new(executable)?;
    let root = image.definitions()?.remove(ROOT).with_context(|| format!("{ROOT} is not in the executable"))?;
    let (mut todo, mut known, mut blocks) = (vec![root], BTreeMap::new(), BTreeMap::new());
    while let Some(at) = todo.pop() {
        let name = image.type_name(at)?;
        if let Some(other) = known.insert(name.clone(), at) {
            if other != at && image.is_named(at)? {
                bail!("two types are printed as {name}");
            }
            continue;
        }
        if SPECIAL.contains(&name.as_str()) {
            continue;
        }
        let (block, inner) = block(&image, at, &name)?;
        blocks.insert(name, block);
        todo.extend(inner);
    }
    Ok(blocks.into_values().collect())
}

/// A type's lines, and the types it is made of.
fn block(image: &Image<'_>, at: u64, name: &str) -> anyhow::Result<(String, Vec<u64>)> {
    let named = |underlying: String| if name == underlying { String::new() } else { format!("={name} {underlying}\n") };
    Ok(match image.kind(at)? {
        KIND_STRUCT => {
            let fields = image.fields(at)?;
            let mut block = format!("@{name}\n");
            for field in &fields {
                let type_ = image.type_name(field.type_at)?;
                let _ = writeln!(block, "{} {} {type_}", field.name, json_name(field));
            }
            (block, fields.iter().map(|field| field.type_at).collect())
        }
        KIND_POINTER => (String::new(), vec![image.u64(at + TYPE_SIZE)?]),
        KIND_SLICE => {
            let item = image.u64(at + TYPE_SIZE)?;
            (named(format!("[]{}", image.type_name(item)?)), vec![item])
        }
        KIND_MAP => {
            let (key, value) = (image.u64(at + TYPE_SIZE)?, image.u64(at + TYPE_SIZE + 8)?);
            (named(format!("map[{}]{}", image.type_name(key)?, image.type_name(value)?)), vec![key, value])
        }
        1 => (named("bool".to_owned()), Vec::new()),
        2 => (named("int".to_owned()), Vec::new()),
        5 => (named("int32".to_owned()), Vec::new()),
        6 => (named("int64".to_owned()), Vec::new()),
        24 => (named("string".to_owned()), Vec::new()),
        kind => bail!("{name}: no notation for kind {kind}"),
    })
}

fn json_name(field: &GoField) -> String {
    let tag = field.tag("json").unwrap_or_default();
    let (name, options) = tag.split_once(',').unwrap_or((tag, ""));
    let kept = ["omitempty", "omitzero"].iter().filter(|option| options.split(',').any(|given| given == **option));
    let kept: String = kept.map(|option| format!(",{option}")).collect();
    if name.is_empty() { "-".to_owned() } else { format!("{name}{kept}") }
}
