//! The plugins, one file each, and the registry that knows them by name.
//!
//! Adding one: write the file, add its line to [`REGISTRY`] and, if it shall be on by default, to [`DEFAULT`].
//! `docs/adding-a-scheduler-plugin.md` walks through it.
mod default_binder;
mod default_preemption;
mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
pub mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use crate::{config::Error, framework::Plugin};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What the configuration says to one plugin: its `args`, if any.
pub struct Args<'a> {
    pub plugin: &'static str,
    pub value: Option<&'a serde_json::Value>,
}

impl Args<'_> {
    /// The arguments as the plugin's own type; the default when there are none.
    ///
    /// # Errors
    /// A field is unknown or of the wrong type.
    pub fn decode<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        let Some(value) = self.value else { return Ok(T::default()) };
        let mut value = value.clone();
        if let Some(fields) = value.as_object_mut() {
            let kind = fields.remove("kind");
            fields.remove("apiVersion");
            let expected = format!("{}Args", self.plugin);
            if kind.as_ref().and_then(|k| k.as_str()).is_some_and(|k| k != expected) {
                return Err(self.invalid(format!("kind must be {expected}")));
            }
        }
        serde_json::from_value(value).map_err(|error| self.invalid(error.to_string()))
    }

    pub fn invalid(&self, why: String) -> Error {
        Error::PluginArgs { plugin: self.plugin.to_owned(), why }
    }
}

type Factory = fn(&Args<'_>) -> Result<Arc<dyn Plugin>, Error>;

/// Every plugin there is.
pub const REGISTRY: &[(&str, Factory)] = &[
    (default_binder::NAME, default_binder::new),
    (default_preemption::NAME, default_preemption::new),
    (dynamic_resources::NAME, dynamic_resources::new),
    (image_locality::NAME, image_locality::new),
    (inter_pod_affinity::NAME, inter_pod_affinity::new),
    (node_affinity::NAME, node_affinity::new),
    (node_name::NAME, node_name::new),
    (node_ports::NAME, node_ports::new),
    (node_resources::BALANCED, node_resources::new_balanced),
    (node_resources::FIT, node_resources::new_fit),
    (node_unschedulable::NAME, node_unschedulable::new),
    (node_volume_limits::NAME, node_volume_limits::new),
    (pod_topology_spread::NAME, pod_topology_spread::new),
    (priority_sort::NAME, priority_sort::new),
    (scheduling_gates::NAME, scheduling_gates::new),
    (taint_toleration::NAME, taint_toleration::new),
    (volume_binding::NAME, volume_binding::new),
    (volume_restrictions::NAME, volume_restrictions::new),
    (volume_zone::NAME, volume_zone::new),
];

/// What a profile has unless it says otherwise, in this order, with weights. Upstream's `getDefaultPlugins`.
pub const DEFAULT: &[(&str, i64)] = &[
    (scheduling_gates::NAME, 0),
    (priority_sort::NAME, 0),
    (node_unschedulable::NAME, 0),
    (node_name::NAME, 0),
    (taint_toleration::NAME, 3),
    (node_affinity::NAME, 2),
    (node_ports::NAME, 0),
    (node_resources::FIT, 1),
    (volume_restrictions::NAME, 0),
    (node_volume_limits::NAME, 0),
    (volume_binding::NAME, 0),
    (volume_zone::NAME, 0),
    (pod_topology_spread::NAME, 2),
    (inter_pod_affinity::NAME, 2),
    (dynamic_resources::NAME, 0),
    (default_preemption::NAME, 0),
    (node_resources::BALANCED, 1),
    (image_locality::NAME, 1),
    (default_binder::NAME, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_answers_to_its_name_and_defaults_exist() {
        for (name, factory) in REGISTRY {
            let plugin = factory(&Args { plugin: name, value: None }).map(|p| p.name());
            assert_eq!(plugin.ok(), Some(*name));
        }
        for (name, _) in DEFAULT {
            assert!(REGISTRY.iter().any(|(n, _)| n == name), "{name}");
        }
    }
}
