//! A `Lookup` over a map, for this crate's tests.
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use storage::{Lookup, Revision, cache::Labels};

#[derive(Default)]
pub(crate) struct Objects {
    all: Mutex<BTreeMap<(String, String, String), Bytes>>,
    version: Mutex<Revision>,
}

impl Objects {
    pub fn put(&self, prefix: &str, namespace: &str, name: &str, json: &[u8]) {
        *self.version.lock() += 1;
        self.all.lock().insert((prefix.into(), namespace.into(), name.into()), Bytes::copy_from_slice(json));
    }

    pub fn remove(&self, prefix: &str, namespace: &str, name: &str) {
        *self.version.lock() += 1;
        self.all.lock().remove(&(prefix.into(), namespace.into(), name.into()));
    }

    pub fn read<T: serde::de::DeserializeOwned>(&self, prefix: &str, namespace: &str, name: &str) -> T {
        let json = self.get(prefix, namespace, name).expect("the object");
        serde_json::from_slice(&json).expect("its JSON")
    }
}

impl Lookup for Objects {
    fn get(&self, prefix: &str, namespace: &str, name: &str) -> Option<Bytes> {
        self.all.lock().get(&(prefix.into(), namespace.into(), name.into())).cloned()
    }

    fn labels(&self, prefix: &str, namespace: &str, name: &str) -> Option<Labels> {
        let object: serde_json::Value =
            serde_json::from_slice(&Lookup::get(self, prefix, namespace, name)?).expect("JSON");
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        Some(Labels::from_pairs(labels.map(|(key, value)| (key.as_str(), value.as_str().expect("a text")))))
    }

    fn list(&self, prefix: &str, namespace: Option<&str>) -> Vec<Bytes> {
        let all = self.all.lock();
        let wanted = |k: &(String, String, String)| k.0 == prefix && namespace.is_none_or(|n| n == k.1);
        all.iter().filter(|(k, _)| wanted(k)).map(|(_, v)| v.clone()).collect()
    }

    fn version(&self, _: &str) -> Revision {
        *self.version.lock()
    }
}
