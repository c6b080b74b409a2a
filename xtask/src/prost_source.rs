//! Reads field numbers, types and `+default=` comments from the sources of the k8s-pb crate.
use crate::{
    definitions::scalar,
    model::{Encoding, Message, MessageField, Messages},
};
use anyhow::Context;
use std::path::Path;

pub fn read(root: &Path) -> anyhow::Result<Messages> {
    let mut messages = Messages::new();
    read_folder(root, &mut Vec::new(), &mut messages)?;
    Ok(messages)
}

fn read_folder(folder: &Path, module: &mut Vec<String>, out: &mut Messages) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            module.push(name);
            read_folder(&entry.path(), module, out)?;
            module.pop();
        } else if name == "mod.rs" {
            read_file(&std::fs::read_to_string(entry.path())?, module, out);
        }
    }
    Ok(())
}

fn definition_name(module: &[String], type_: &str) -> String {
    let dashed = |part: &String| match part.as_str() {
        "apiextensions_apiserver" => "apiextensions-apiserver".to_owned(),
        "kube_aggregator" => "kube-aggregator".to_owned(),
        other => other.to_owned(),
    };
    let mut parts: Vec<String> = module.iter().map(dashed).collect();
    parts.push(type_.to_owned());
    parts.join(".")
}

fn read_file(source: &str, module: &[String], out: &mut Messages) {
    let mut current: Option<(String, Message)> = None;
    let mut attribute = String::new();
    let mut default = None;
    let mut declaration = String::new();
    for line in source.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ") {
            let name = name.trim_end_matches("{}").trim_end_matches('{').trim();
            current = Some((definition_name(module, name), Message::default()));
            if line.ends_with('}') {
                out.extend(current.take());
            }
        } else if line == "}" {
            out.extend(current.take());
        } else if let Some(value) = line.strip_prefix("/// +default=") {
            default = Some(value.to_owned()).filter(|v| !v.starts_with("ref("));
        } else if line.starts_with("#[prost(") {
            attribute = line.to_owned();
        } else if !attribute.is_empty() && (line.starts_with("pub ") || !declaration.is_empty()) {
            declaration.push_str(line);
            if line.ends_with(',') {
                if let (Some((_, message)), Some(mut field)) = (&mut current, field(&attribute, &declaration, module)) {
                    field.default = default.take();
                    message.fields.push(field);
                }
                attribute.clear();
                declaration.clear();
            }
        }
    }
}

fn field(attribute: &str, declaration: &str, module: &[String]) -> Option<MessageField> {
    let number = attribute.split("tag = \"").nth(1)?.split('"').next()?.parse().ok()?;
    let (name, rust_type) = declaration.strip_prefix("pub ")?.trim_end_matches(',').split_once(':')?;
    let name = name.trim().trim_start_matches("r#").trim_end_matches('_').to_owned();
    let inside = attribute.strip_prefix("#[prost(")?;
    let kind = inside.split([',', ' ']).next()?;
    let type_ = match kind {
        "btree_map" => {
            let value = inside.split('"').nth(1)?.split(", ").nth(1)?;
            let value_type = rust_type.rsplit_once("String,").map_or("", |(_, v)| v);
            format!("{{{}", code(value, value_type, module)?)
        }
        kind if inside.contains("repeated") => format!("[{}", code(kind, rust_type, module)?),
        kind => code(kind, rust_type, module)?,
    };
    let encoding = Encoding { number, ..Encoding::default() };
    Some(MessageField { name, type_, encoding, inline: false, default: None, guessed_name: true })
}

fn code(kind: &str, rust_type: &str, module: &[String]) -> Option<String> {
    Some(match kind {
        "string" => "s".to_owned(),
        "bytes" => "y".to_owned(),
        "bool" => "b".to_owned(),
        "int32" => "i".to_owned(),
        "int64" => "l".to_owned(),
        "double" => "d".to_owned(),
        "message" => {
            // The innermost path: `super::super::meta::v1::Time` inside Option, Vec, Box.
            let path = rust_type.rsplit('<').next()?.trim_end_matches(['>', ' ', ',']).trim();
            let mut at: Vec<String> = module.to_vec();
            let mut parts: Vec<&str> = path.split("::").collect();
            let type_ = parts.pop()?;
            for part in parts {
                if part == "super" {
                    at.pop();
                } else {
                    at.push(part.to_owned());
                }
            }
            let name = definition_name(&at, type_);
            scalar(&name).map_or_else(|| format!("@{name}"), str::to_owned)
        }
        _ => return None,
    })
}
