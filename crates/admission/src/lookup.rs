//! Typed reads of what is stored.
use serde::de::DeserializeOwned;
use storage::Lookup;

/// One object; `None` when it is not there or cannot be read.
pub(crate) fn get<T: DeserializeOwned>(lookup: &dyn Lookup, prefix: &str, namespace: &str, name: &str) -> Option<T> {
    parse(prefix, &lookup.get(prefix, namespace, name)?)
}

/// All that can be read.
pub(crate) fn list<T: DeserializeOwned>(lookup: &dyn Lookup, prefix: &str, namespace: Option<&str>) -> Vec<T> {
    lookup.list(prefix, namespace).iter().filter_map(|json| parse(prefix, json)).collect()
}

fn parse<T: DeserializeOwned>(prefix: &str, json: &[u8]) -> Option<T> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::error!(%error, prefix, "a stored object cannot be read"))
        .ok()
}
