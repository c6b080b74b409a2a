//! Rules for environment variables and where they come from.
use super::{check, set};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};

/// Fields of the pod that its environment can show, besides single labels and annotations.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a downward API volume can show, besides single labels and annotations.
pub const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub fn validate(env: &[EnvVar], path: &Path, errors: &mut ErrorList) {
    for (i, variable) in env.iter().enumerate() {
        let at = || path.child("env").index(i);
        if variable.name.is_empty() {
            errors.push(Error::required(&at().child("name"), ""));
        } else {
            check(&variable.name, validation::is_relaxed_env_var_name, || at().child("name"), errors);
        }
        if let Some(source) = &variable.value_from {
            let has_value = set(&variable.value).is_some();
            value_from(source, has_value, &at().child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &EnvVarSource, has_value: bool, path: &Path, errors: &mut ErrorList) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        object_field(field, ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(field) = &source.resource_field_ref {
        sources += 1;
        resource_field(field, false, &path.child("resourceFieldRef"), errors);
    }
    if let Some(key) = &source.config_map_key_ref {
        sources += 1;
        key_reference(&key.name, &key.key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(key) = &source.secret_key_ref {
        sources += 1;
        key_reference(&key.name, &key.key, &path.child("secretKeyRef"), errors);
    }
    if let Some(file) = &source.file_key_ref {
        sources += 1;
        let path = path.child("fileKeyRef");
        for (value, field) in [(&file.volume_name, "volumeName"), (&file.path, "path"), (&file.key, "key")] {
            if value.is_empty() {
                errors.push(Error::required(&path.child(field), ""));
            }
        }
    }
    match sources {
        0 => {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(Error::invalid(path, "", detail));
        }
        _ if has_value => {
            errors.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
        }
        1 => {}
        _ => errors.push(Error::invalid(path, "", "may not have more than one field specified at a time")),
    }
}

fn key_reference(name: &str, key: &str, path: &Path, errors: &mut ErrorList) {
    check(name, validation::is_dns1123_subdomain, || path.child("name"), errors);
    if key.is_empty() {
        errors.push(Error::required(&path.child("key"), ""));
    } else {
        check(key, validation::is_config_map_key, || path.child("key"), errors);
    }
}

/// `metadata.labels['key']`
fn subscript(field_path: &str) -> Option<(&str, &str)> {
    let (field, rest) = field_path.strip_suffix("']")?.split_once("['")?;
    Some((field, rest))
}

/// A reference to a field of the pod.
pub fn object_field(field: &ObjectFieldSelector, known: &[&str], path: &Path, errors: &mut ErrorList) {
    if set(&field.api_version).is_none() {
        errors.push(Error::required(&path.child("apiVersion"), ""));
        return;
    }
    if field.field_path.is_empty() {
        errors.push(Error::required(&path.child("fieldPath"), ""));
        return;
    }
    let at = || path.child("fieldPath");
    match subscript(&field.field_path) {
        Some(("metadata.annotations", key)) => {
            check(&key.to_ascii_lowercase(), validation::is_qualified_name, || path.child("annotations"), errors);
        }
        Some(("metadata.labels", key)) => {
            check(key, validation::is_qualified_name, || path.child("labels"), errors);
        }
        Some((other, _)) => {
            errors.push(Error::invalid(path, other, "does not support subscript"));
        }
        None if !known.contains(&field.field_path.as_str()) => {
            errors.push(Error::not_supported(&at(), &field.field_path, known));
        }
        None => {}
    }
}

/// A reference to a resource amount of a container.
pub fn resource_field(field: &ResourceFieldSelector, in_volume: bool, path: &Path, errors: &mut ErrorList) {
    if in_volume && set(&field.container_name).is_none() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if field.resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&field.resource.as_str())
        && !field.resource.starts_with("limits.hugepages-")
        && !field.resource.starts_with("requests.hugepages-")
    {
        errors.push(Error::not_supported(&path.child("resource"), &field.resource, RESOURCES));
    }
}

pub fn validate_from(sources: &[EnvFromSource], path: &Path, errors: &mut ErrorList) {
    for (i, source) in sources.iter().enumerate() {
        let at = || path.child("envFrom").index(i);
        if let Some(prefix) = set(&source.prefix) {
            check(prefix, validation::is_relaxed_env_var_name, || at().child("prefix"), errors);
        }
        let mut count = 0;
        if let Some(map) = &source.config_map_ref {
            count += 1;
            check_name(&map.name, || at().child("configMapRef").child("name"), errors);
        }
        if let Some(secret) = &source.secret_ref {
            count += 1;
            check_name(&secret.name, || at().child("secretRef").child("name"), errors);
        }
        match count {
            0 => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(Error::invalid(&at(), "", detail));
            }
            1 => {}
            _ => errors.push(Error::invalid(&at(), "", "may not have more than one field specified at a time")),
        }
    }
}

fn check_name(name: &str, path: impl FnOnce() -> Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(Error::required(&path(), ""));
    } else {
        check(name, validation::is_dns1123_subdomain, path, errors);
    }
}
