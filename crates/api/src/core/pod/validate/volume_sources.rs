//! Rules for where a volume's contents come from.
use super::{check, env, set, volumes::descending_path};
use crate::{amounts, core::persistent_volume_claim, core::volume_defaults::volume_sources};
use apimachinery::{
    field::{Error, ErrorList, Path},
    validation,
};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const FILE_MODE_MAX: i32 = 0o777;
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Exactly one source, and that one in order.
pub fn validate(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    macro_rules! present {
        ($v:ident; $($field:ident $name:literal),*) => {
            [$($v.$field.is_some().then_some($name)),*]
        };
    }
    let found = volume_sources!(volume, present);
    let mut found = found.into_iter().flatten();
    if found.next().is_none() {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    for name in found {
        errors.push(Error::forbidden(&path.child(name), "may not specify more than 1 volume type"));
    }
    files(volume, path, errors);
    others(volume, path, errors);
}

fn mode(mode: Option<i32>, path: impl FnOnce() -> Path, errors: &mut ErrorList) {
    if let Some(mode) = mode.filter(|m| !(0..=FILE_MODE_MAX).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(Error::invalid(&path(), mode, detail));
    }
}

fn items(items: Option<&[KeyToPath]>, path: &Path, errors: &mut ErrorList) {
    for (i, item) in items.unwrap_or_default().iter().enumerate() {
        let at = || path.child("items").index(i);
        if item.key.is_empty() {
            errors.push(Error::required(&at().child("key"), ""));
        }
        if item.path.is_empty() {
            errors.push(Error::required(&at().child("path"), ""));
        } else {
            file_path(&item.path, at, errors);
        }
        mode(item.mode, || at().child("mode"), errors);
    }
}

/// The path of a file in a volume.
fn file_path(value: &str, at: impl Fn() -> Path, errors: &mut ErrorList) {
    if value.starts_with('/') || value.contains("..") {
        let at = at().child("path");
        descending_path(value, &at, errors);
        if value.starts_with("..") && !value.starts_with("../") {
            errors.push(Error::invalid(&at, value, "must not start with '..'"));
        }
    }
}

fn downward_files(files: Option<&[DownwardAPIVolumeFile]>, path: &Path, errors: &mut ErrorList) {
    for file in files.unwrap_or_default() {
        if file.path.is_empty() {
            errors.push(Error::required(&path.child("path"), ""));
        }
        file_path(&file.path, || path.clone(), errors);
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(field), None) => env::object_field(field, env::VOLUME_FIELDS, &path.child("fieldRef"), errors),
            (None, Some(field)) => env::resource_field(field, true, &path.child("resourceFieldRef"), errors),
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", detail));
            }
            (None, None) => {
                errors.push(Error::required(path, "one of fieldRef and resourceFieldRef is required"));
            }
        }
        mode(file.mode, || path.child("mode"), errors);
    }
}

fn files(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    if let Some(secret) = &volume.secret {
        let path = path.child("secret");
        if set(&secret.secret_name).is_none() {
            errors.push(Error::required(&path.child("secretName"), ""));
        }
        mode(secret.default_mode, || path.child("defaultMode"), errors);
        items(secret.items.as_deref(), &path, errors);
    }
    if let Some(map) = &volume.config_map {
        let path = path.child("configMap");
        if map.name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        mode(map.default_mode, || path.child("defaultMode"), errors);
        items(map.items.as_deref(), &path, errors);
    }
    if let Some(downward) = &volume.downward_api {
        let path = path.child("downwardAPI");
        mode(downward.default_mode, || path.child("defaultMode"), errors);
        downward_files(downward.items.as_deref(), &path, errors);
    }
    if let Some(projected) = &volume.projected {
        let path = path.child("projected");
        mode(projected.default_mode, || path.child("defaultMode"), errors);
        for (i, source) in projected.sources.iter().flatten().enumerate() {
            projection(source, &path.child("sources").index(i), errors);
        }
    }
}

fn projection(source: &VolumeProjection, path: &Path, errors: &mut ErrorList) {
    let mut sources = 0;
    if let Some(secret) = &source.secret {
        sources += 1;
        let path = path.child("secret");
        if secret.name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        items(secret.items.as_deref(), &path, errors);
    }
    if let Some(map) = &source.config_map {
        sources += 1;
        let path = path.child("configMap");
        if map.name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        items(map.items.as_deref(), &path, errors);
    }
    if let Some(downward) = &source.downward_api {
        sources += 1;
        downward_files(downward.items.as_deref(), &path.child("downwardAPI"), errors);
    }
    if let Some(token) = &source.service_account_token {
        sources += 1;
        let path = path.child("serviceAccountToken");
        let seconds = token.expiration_seconds.unwrap_or_default();
        if seconds < TOKEN_SECONDS_MIN {
            let detail = "may not specify a duration less than 10 minutes";
            errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, detail));
        }
        if seconds > TOKEN_SECONDS_MAX {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, detail));
        }
        if token.path.is_empty() {
            errors.push(Error::required(&path.child("path"), ""));
        }
    }
    sources += usize::from(source.cluster_trust_bundle.is_some()) + usize::from(source.pod_certificate.is_some());
    if sources > 1 {
        errors.push(Error::forbidden(path, "may not specify more than 1 volume type per source"));
    }
}

fn others(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    if let Some(empty) = &volume.empty_dir
        && let Some(limit) = &empty.size_limit
    {
        let at = path.child("emptyDir").child("sizeLimit");
        if amounts::validate_non_negative(limit, &at, &mut ErrorList::default()).is_none_or(|a| a.is_negative()) {
            errors.push(Error::forbidden(&at, "SizeLimit field must be a valid resource quantity"));
        }
    }
    if let Some(host) = &volume.host_path {
        let path = path.child("hostPath");
        if host.path.is_empty() {
            errors.push(Error::required(&path.child("path"), ""));
        } else if host.path.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&path.child("path"), &host.path, "must not contain '..'"));
        }
        if let Some(type_) = host.type_.as_deref().filter(|t| !HOST_PATH_TYPES.contains(t)) {
            errors.push(Error::not_supported(&path.child("type"), type_, HOST_PATH_TYPES));
        }
    }
    if let Some(claim) = &volume.persistent_volume_claim
        && claim.claim_name.is_empty()
    {
        errors.push(Error::required(&path.child("persistentVolumeClaim").child("claimName"), ""));
    }
    if let Some(nfs) = &volume.nfs {
        let path = path.child("nfs");
        if nfs.server.is_empty() {
            errors.push(Error::required(&path.child("server"), ""));
        }
        if nfs.path.is_empty() {
            errors.push(Error::required(&path.child("path"), ""));
        } else if !nfs.path.starts_with('/') {
            errors.push(Error::invalid(&path.child("path"), &nfs.path, "must be an absolute path"));
        }
    }
    if let Some(csi) = &volume.csi {
        let path = path.child("csi");
        if csi.driver.is_empty() {
            errors.push(Error::required(&path.child("driver"), ""));
        } else {
            let rule = |name: &str| validation::is_dns1123_subdomain(&name.to_ascii_lowercase());
            check(&csi.driver, rule, || path.child("driver"), errors);
        }
    }
    if let Some(ephemeral) = &volume.ephemeral {
        let path = path.child("ephemeral").child("volumeClaimTemplate");
        match &ephemeral.volume_claim_template {
            None => errors.push(Error::required(&path, "")),
            Some(template) => persistent_volume_claim::validate_spec(&template.spec, &path.child("spec"), errors),
        }
    }
    if let Some(image) = &volume.image {
        let path = path.child("image");
        if set(&image.reference).is_none() {
            errors.push(Error::required(&path.child("reference"), ""));
        }
        if let Some(policy) = set(&image.pull_policy).filter(|p| !matches!(*p, "Always" | "Never" | "IfNotPresent")) {
            let known = ["Always", "IfNotPresent", "Never"];
            errors.push(Error::not_supported(&path.child("pullPolicy"), policy, &known));
        }
    }
}
