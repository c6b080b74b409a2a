//! An object on its way, and what it was called before.
use crate::{Error, Result, manifests};
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Item {
    pub object: Value,
    /// Every name that it had, the first one first; references may use any.
    pub names: Vec<String>,
    /// Every namespace that it had.
    pub namespaces: Vec<String>,
    /// Its name gets a hash of its content.
    pub hashed: bool,
}

impl Item {
    /// # Errors
    /// It has no type or no name.
    pub fn new(object: Value) -> Result<Item> {
        manifests::type_of(&object)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() && !object["metadata"]["generateName"].is_string() {
            return Err(Error::message("missing metadata.name in object".to_owned()));
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        Ok(Item { object, names: vec![name], namespaces: vec![namespace], hashed: false })
    }

    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    pub fn group(&self) -> &str {
        self.object["apiVersion"].as_str().unwrap_or_default().split_once('/').map_or("", |(group, _)| group)
    }

    pub fn version(&self) -> &str {
        let version = self.object["apiVersion"].as_str().unwrap_or_default();
        version.split_once('/').map_or(version, |(_, version)| version)
    }

    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    pub fn rename(&mut self, name: String) {
        self.names.push(name.clone());
        self.object["metadata"]["name"] = name.into();
    }

    pub fn move_to(&mut self, namespace: &str) {
        self.namespaces.push(namespace.to_owned());
        self.object["metadata"]["namespace"] = namespace.into();
    }

    /// It is or was called so.
    pub fn was_called(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub fn is_like(&self, other: &Item) -> bool {
        let place = |item: &Item| match item.namespace() {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        self.kind() == other.kind()
            && self.group() == other.group()
            && self.name() == other.name()
            && place(self) == place(other)
    }

    pub fn finished(self) -> Value {
        self.object
    }
}

/// # Errors
/// There is such an object already.
pub fn append(items: &mut Vec<Item>, item: Item) -> Result<()> {
    if items.iter().any(|known| known.is_like(&item)) {
        return Err(Error::message(format!(
            "may not add resource with an already registered id: {}.{}.{}/{}.{}",
            item.kind(),
            item.version(),
            if item.group().is_empty() { "[noGrp]" } else { item.group() },
            item.name(),
            if item.namespace().is_empty() { "[noNs]" } else { item.namespace() }
        )));
    }
    items.push(item);
    Ok(())
}
