//! Reads OpenAPI v2 definitions (`_definitions.json` of the kubernetes-validate package).
use crate::model::{Definition, Field, Model};
use anyhow::Context;
use serde_json::Value;

const PREFIX: &str = "io.k8s.";

pub fn read(json: &[u8]) -> anyhow::Result<Model> {
    let document: Value = serde_json::from_slice(json)?;
    let definitions = document
        .get("$defs")
        .or_else(|| document.get("definitions"))
        .and_then(Value::as_object)
        .context("no definitions in the document")?;
    let mut model = Model::default();
    for (name, schema) in definitions {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        if scalar(name).is_some() || name.ends_with("meta.v1.Patch") {
            continue;
        }
        model.definitions.insert(name.to_owned(), definition(name, schema)?);
    }
    Ok(model)
}

/// Types that are written as a single code.
pub fn scalar(name: &str) -> Option<&'static str> {
    Some(match name {
        "apimachinery.pkg.apis.meta.v1.Time" => "t",
        "apimachinery.pkg.apis.meta.v1.MicroTime" => "m",
        "apimachinery.pkg.apis.meta.v1.Duration" => "D",
        "apimachinery.pkg.api.resource.Quantity" => "q",
        "apimachinery.pkg.util.intstr.IntOrString" => "x",
        "apimachinery.pkg.runtime.RawExtension" => "r",
        "apimachinery.pkg.apis.meta.v1.FieldsV1" => "f",
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON" => "j",
        _ => return None,
    })
}

fn definition(name: &str, schema: &Value) -> anyhow::Result<Definition> {
    let mut out = Definition {
        description: text(schema, "description"),
        atomic: text(schema, "x-kubernetes-map-type") == "atomic",
        any: name.contains("JSONSchemaPropsOr"),
        ..Definition::default()
    };
    for kind in schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array).into_iter().flatten() {
        let (group, version, kind) = (text(kind, "group"), text(kind, "version"), text(kind, "kind"));
        // These belong to every group; the table names them once.
        if !["DeleteOptions", "WatchEvent"].contains(&kind.as_str()) || group.is_empty() {
            out.kinds.push(format!("{group}/{version}/{kind}"));
        }
    }
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (field_name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut field = Field {
            type_: type_of(property).with_context(|| format!("{name}.{field_name}"))?,
            required: required.contains(&field_name.as_str()),
            description: text(property, "description"),
            default: property.get("default").map(Value::to_string),
            ..Field::default()
        };
        for (key, short) in [
            ("x-kubernetes-list-type", "lt"),
            ("x-kubernetes-map-type", "mt"),
            ("x-kubernetes-patch-merge-key", "pk"),
            ("x-kubernetes-patch-strategy", "ps"),
        ] {
            let value = text(property, key);
            if !value.is_empty() {
                field.attributes.push(format!("{short}={value}"));
            }
        }
        if let Some(keys) = property.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
            let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
            field.attributes.push(format!("mk={}", keys.join(",")));
        }
        out.fields.insert(field_name.clone(), field);
    }
    Ok(out)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn type_of(property: &Value) -> anyhow::Result<String> {
    if let Some(reference) = property.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().and_then(|n| n.strip_prefix(PREFIX)).context("odd reference")?;
        return Ok(scalar(name).map_or_else(|| format!("@{name}"), str::to_owned));
    }
    if let Some(items) = property.get("items") {
        return Ok(format!("[{}", type_of(items)?));
    }
    if let Some(values) = property.get("additionalProperties") {
        return Ok(format!("{{{}", type_of(values)?));
    }
    let first = match property.get("type") {
        Some(Value::String(one)) => one.as_str(),
        Some(Value::Array(many)) => many.first().and_then(Value::as_str).unwrap_or_default(),
        _ => "",
    };
    Ok(match (first, text(property, "format").as_str()) {
        ("string", "byte") => "y",
        ("string", "date-time") => "t",
        ("string", _) => "s",
        ("boolean", _) => "b",
        ("integer", "int32") => "i",
        ("integer", _) => "l",
        ("number", _) => "d",
        ("object", _) => "j",
        (other, format) => anyhow::bail!("unknown type {other:?} {format:?}"),
    }
    .to_owned())
}
