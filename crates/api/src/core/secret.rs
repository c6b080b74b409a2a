//! Secrets. `stringData` is for writing only: it is folded into `data`.
use crate::{
    cells,
    core::pod::defaults,
    data::{self, Data},
    kind::Kind,
    meta,
    resource::{Info, Target},
};
use apimachinery::{
    codec::json_syntax,
    field::{Error, ErrorList, Path},
    table::{Column, Row},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};

const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|v| v.0.as_slice())
}

fn validate_json(secret: &Secret, key: &str, errors: &mut ErrorList) {
    let path = Path::new("data").key(key);
    match value(secret, key) {
        None => errors.push(Error::required(&path, "")),
        Some(json) => {
            if let Err(e) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json) {
                let why = json_syntax::error(json).unwrap_or_else(|| match serde_json::from_slice(json) {
                    Ok(value) => format!(
                        "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                        json_syntax::kind(&value)
                    ),
                    Err(_) => e.to_string(),
                });
                errors.push(Error::invalid(&path, "<secret contents redacted>", why));
            }
        }
    }
}

fn validate_type(secret: &Secret, errors: &mut ErrorList) {
    let data = Path::new("data");
    match secret.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/service-account-token" => {
            let name = secret.metadata.annotations.as_ref().and_then(|a| a.get(SERVICE_ACCOUNT_NAME));
            if name.is_none_or(String::is_empty) {
                let path = Path::new("metadata").child("annotations").key(SERVICE_ACCOUNT_NAME);
                errors.push(Error::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => validate_json(secret, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => validate_json(secret, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if value(secret, "username").is_none() && value(secret, "password").is_none() => {
            errors.push(Error::required(&data.key("username"), ""));
            errors.push(Error::required(&data.key("password"), ""));
        }
        "kubernetes.io/ssh-auth" if value(secret, "ssh-privatekey").is_none_or(<[u8]>::is_empty) => {
            errors.push(Error::required(&data.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if value(secret, key).is_none() {
                    errors.push(Error::required(&data.key(key), ""));
                }
            }
        }
        _ => {}
    }
}

impl Kind for Secret {
    const COLUMNS: &'static [Column] = &[
        cells::NAME,
        cells::text(
            "Type",
            "Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
        ),
        cells::text(
            "Data",
            "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
        ),
        cells::AGE,
    ];

    fn info() -> Info {
        Info::new("", "v1", "Secret", "secrets").selectable(&["type"])
    }

    fn set_defaults(&mut self) {
        if let Some(texts) = self.string_data.take() {
            let data = self.data.get_or_insert_default();
            data.extend(texts.into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))));
        }
        defaults::text(&mut self.type_, "Opaque");
    }

    fn prepare_update(&mut self, _target: Target, old: &Self) {
        // Clients that do not know the type leave it as it is.
        if self.type_.as_ref().is_none_or(String::is_empty) {
            self.type_.clone_from(&old.type_);
        }
    }

    fn validate(&self, errors: &mut ErrorList) {
        let keys = Data {
            text: self.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.len())).collect(),
            binary: Vec::new(),
        };
        data::validate(&keys, errors);
        validate_type(self, errors);
    }

    fn validate_update(&self, _target: Target, old: &Self, errors: &mut ErrorList) {
        meta::immutable(&Path::new("type"), &self.type_, &old.type_, errors);
        if old.immutable == Some(true) {
            data::must_stay_immutable(self.immutable, errors);
            data::must_be_same("data", self.data == old.data, errors);
        }
    }

    fn field_values(&self) -> Vec<String> {
        vec![self.type_.clone().unwrap_or_default()]
    }

    fn row(&self, now: i64) -> Row {
        let count = self.data.as_ref().map_or(0, |d| d.len());
        vec![
            cells::name(&self.metadata),
            self.type_.as_deref().unwrap_or_default().into(),
            i64::try_from(count).unwrap_or_default().into(),
            cells::age(&self.metadata, now),
        ]
    }
}
