//! Which nodes hold which images.
use super::NodeIndex;
use crate::objects::Image;
use foldhash::HashMap;
use std::sync::Arc;

/// An image by one of its names.
#[derive(Default)]
pub struct ImageState {
    /// Bytes.
    pub size: i64,
    /// How many nodes hold it.
    pub nodes: usize,
    holders: Vec<u64>,
}

impl ImageState {
    pub fn is_on(&self, index: NodeIndex) -> bool {
        self.holders.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    fn set(&mut self, index: NodeIndex, on: bool) {
        if self.is_on(index) == on {
            return;
        }
        if self.holders.len() <= index / 64 {
            self.holders.resize(index / 64 + 1, 0);
        }
        self.holders[index / 64] ^= 1 << (index % 64);
        self.nodes = if on { self.nodes + 1 } else { self.nodes - 1 };
    }
}

/// All images that any node reports.
#[derive(Default)]
pub struct Images {
    by_name: HashMap<Arc<str>, ImageState>,
    of_node: HashMap<NodeIndex, Vec<Arc<str>>>,
}

impl Images {
    pub fn get(&self, name: &str) -> Option<&ImageState> {
        self.by_name.get(name)
    }

    /// What the node in this slot reports now.
    pub(super) fn set(&mut self, index: NodeIndex, images: &[Image]) {
        for name in self.of_node.remove(&index).unwrap_or_default() {
            if let Some(state) = self.by_name.get_mut(&name) {
                state.set(index, false);
                if state.nodes == 0 {
                    self.by_name.remove(&name);
                }
            }
        }
        let mut names = Vec::new();
        for image in images {
            for name in &image.names {
                let name = self
                    .by_name
                    .get_key_value(name.as_str())
                    .map_or_else(|| Arc::from(name.as_str()), |(k, _)| k.clone());
                let state = self.by_name.entry(name.clone()).or_default();
                state.size = image.size_bytes;
                state.set(index, true);
                names.push(name);
            }
        }
        if !names.is_empty() {
            self.of_node.insert(index, names);
        }
    }
}
