//! Objects for tests, from YAML.
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// One object.
pub fn object<K: DeserializeOwned>(yaml: &str) -> K {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// Objects separated by `---`.
pub fn objects<K: DeserializeOwned>(yaml: &str) -> Vec<Arc<K>> {
    yaml.split("---\n").filter(|part| !part.trim().is_empty()).map(|part| Arc::new(object(part))).collect()
}

/// The time at which tests plan: 2026-01-01T00:00:00Z.
pub fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}
